"""Sorts any number of rows by a number in little memory, using sorted runs in a temporary file."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from tempfile import TemporaryFile
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

RUN = 1 << 17
"""Approximate rows in a run, and in a part of the result."""
SAMPLE = 1 << 10
"""One key per this many rows of a run is kept in memory."""


class _Run(NamedTuple):
    """A run of sorted rows in the file."""

    start: int  # first row
    rows: int
    keys: NDArray[Any]  # of rows 0, SAMPLE, 2 SAMPLE ...


def sorted_parts(rows: Iterable[tuple[Any, ...]], dtype: DTypeLike) -> Iterator[NDArray[Any]]:
    """Tuples as structured arrays of `dtype`, sorted by its first field, a number. The sort is stable.

    All rows with the same key are in one part. Memory holds about two parts, and a key for every 1,024 rows.
    """
    fields = np.dtype(dtype)
    with TemporaryFile() as file:
        runs = list(_write_runs(iter(rows), fields, file))
        yield from _merged(runs, fields, file)


def _write_runs(rows: Iterator[tuple[Any, ...]], dtype: np.dtype[Any], file: IO[bytes]) -> Iterator[_Run]:
    start = 0
    while len(run := np.fromiter(islice(rows, RUN), dtype)):
        run = run[np.argsort(_keys(run), kind="stable")]
        file.write(run.data)
        yield _Run(start, len(run), _keys(run)[::SAMPLE].copy())
        start += len(run)
    file.flush()


def _merged(runs: Sequence[_Run], dtype: np.dtype[Any], file: IO[bytes]) -> Iterator[NDArray[Any]]:
    def read(run: _Run, start: int, stop: int) -> NDArray[Any]:
        size = dtype.itemsize
        return np.frombuffer(os.pread(file.fileno(), (stop - start) * size, (run.start + start) * size), dtype)

    def first_from(run: _Run, key: Any) -> int:
        """The first row of a run whose key is not below the given one."""
        start = max(int(np.searchsorted(run.keys, key)) - 1, 0) * SAMPLE
        return start + int(np.searchsorted(_keys(read(run, start, min(start + SAMPLE, run.rows))), key))

    starts = [0] * len(runs)
    for edge in [*_edges(runs), None]:
        stops = [run.rows if edge is None else first_from(run, edge) for run in runs]
        part = np.concatenate([read(*each) for each in zip(runs, starts, stops, strict=True)] or [np.empty(0, dtype)])
        if len(part):
            yield part[np.argsort(_keys(part), kind="stable")]
        starts = stops


def _edges(runs: Sequence[_Run]) -> list[Any]:
    """The keys at which the second and later parts begin."""
    if len(runs) < 2:
        return []
    keys = np.sort(np.concatenate([run.keys for run in runs]))
    return list(np.unique(keys[RUN // SAMPLE :: RUN // SAMPLE]))


def _keys(rows: NDArray[Any]) -> NDArray[Any]:
    return rows[rows.dtype.names[0]]  # type: ignore[index]
