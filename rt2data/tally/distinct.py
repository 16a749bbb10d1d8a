"""How many different numbers there are, of any number of them, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np

from rt2data.order import U64

AT_ONCE = 1 << 22
"""Numbers held at a time: 32 MB."""


def count_distinct(parts: Iterable[U64], most: int, folder: Path) -> int:
    """Different numbers in all parts, which hold `most` at most and are spread evenly, as hashes are.

    They wait in unnamed files in `folder`, each with its own remainder, and are counted file by file.
    """
    files = max(1, -(-most // AT_ONCE))
    with ExitStack() as stack:
        waiting = [stack.enter_context(TemporaryFile(dir=folder)) for _ in range(files)]
        for part in parts:
            which = part % np.uint64(files)
            for i, file in enumerate(waiting):
                file.write(part[which == i].tobytes())
        found = 0
        for file in waiting:
            file.seek(0)
            found += len(np.unique(np.frombuffer(file.read(), np.uint64)))
        return found
