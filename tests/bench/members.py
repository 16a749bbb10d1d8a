"""Read a JSON object of questions as a worker does, or decode the whole file at once; print what it took. A process of its own."""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path

from rt2data.read.corpus.json_tables import json_table
from rt2data.read.corpus.vqa import VQA


def whole(path: str) -> int:
    """The plain way: all of it in memory."""
    import orjson

    return len(orjson.loads(Path(path).read_bytes()))


def parts(path: str) -> int:
    """The pass that cuts a file into work orders: every bracket and key is looked at."""
    return len(json_table(path, VQA.reads, 1 << 21, None, None).parts())


def rows(path: str) -> int:
    """Every row decoded."""
    table = json_table(path, VQA.reads, 1 << 21, None, None)
    return sum(1 for _ in table.rows(1, Path(path).stat().st_size))


def drafts(path: str) -> int:
    """Every row made a question with its answers."""
    source = VQA(data=(path,))
    return sum(len(list(source.drafts(row.values))) for row in source.table(path).rows(1, Path(path).stat().st_size))  # type: ignore[arg-type]


if __name__ == "__main__":
    what = {each.__name__: each for each in (whole, parts, rows, drafts)}[sys.argv[1]]
    started = time.process_time()
    count = what(sys.argv[2])
    seconds = time.process_time() - started
    peak = int(re.findall(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())[0]) / 1024
    print(json.dumps({"count": count, "seconds": seconds, "peak_mb": peak}))
