"""Joins small work orders: each unit costs a few milliseconds, however small it is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from rt2data.records import Unit

UNIT_BYTES = 64 << 20
"""The approximate size of a unit."""


def whole_units(parts: Sequence[Unit]) -> list[Unit]:
    """Units of about UNIT_BYTES."""
    return put_together(parts, UNIT_BYTES)


def put_together(units: Iterable[Unit], limit: int) -> list[Unit]:
    """Neighbouring units of the same split joined up to `limit` bytes, numbered from 0."""
    runs: list[list[Unit]] = []
    left = 0
    for unit in units:
        if not runs or unit.split != runs[-1][0].split or unit.bytes > left:
            runs.append([])
            left = limit
        runs[-1].append(unit)
        left -= unit.bytes
    return [_joined(run, index) for index, run in enumerate(runs)]


def _joined(run: Sequence[Unit], index: int) -> Unit:
    if len(run) == 1:
        return replace(run[0], index=index)
    return replace(run[0], index=index, bytes=sum(part.bytes for part in run), parts=tuple(run))
