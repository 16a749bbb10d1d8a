"""Read a corpus of conversations, or parse its JSON whole with orjson; print rows per second and peak memory. One process each."""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path


def write(path: Path, size: int) -> int:
    """Conversations of several turns, about no image, as one JSON array of about `size` bytes; how many there are."""
    said = [
        {"from": ("human", "gpt")[n % 2], "value": f"Sentence {n}: " + 'some words, {braces} and "quotes" ' * 6} for n in range(6)
    ]
    body = json.dumps(said)
    count = 0
    with path.open("w") as file:
        while file.tell() < size:
            lead = "[" if count == 0 else ",\n"
            rows = [f'{{"id": "{count + n}", "conversations": {body}}}' for n in range(1000)]
            file.write(lead + ",\n".join(rows))
            count += 1000
        file.write("]")
    return count


def ours(path: str) -> int:
    """Examples of all units, one after another."""
    from rt2data.read.corpus.conversations import Conversations
    from rt2data.records import Example

    source = Conversations.model_validate({"data": path})
    return sum(isinstance(record, Example) for unit in source.units() for record in source.read(unit))


def plain(path: str) -> int:
    """The whole file at once."""
    import orjson

    return len(orjson.loads(Path(path).read_bytes()))


if __name__ == "__main__":
    way = {"ours": ours, "plain": plain}[sys.argv[1]]
    started, used = time.perf_counter(), time.process_time()
    rows = way(sys.argv[2])
    seconds, cpu = time.perf_counter() - started, time.process_time() - used
    peak = int(re.findall(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())[0]) / 1024
    print(json.dumps({"rows": rows, "rows_per_s": rows / seconds, "cpu_us": 1e6 * cpu / rows, "peak_mb": peak}))
