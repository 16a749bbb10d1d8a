"""What a robot source's filters keep of an episode: by name or origin, by ranges of steps, by motion."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rt2data.read.filters import LISTS, Filters, Idle, Ranges
from rt2data.records import F32, Fact, Step
from rt2data.standardize.reasons import NO_KEEP_RANGES, OUTSIDE_KEEP_RANGES, Reason

Bools = NDArray[np.bool_]
FOUND, KNOWN, UNKNOWN = "filters.found", "filters.keep_ranges.known", "filters.keep_ranges.unknown"
"""Facts: `FOUND.SETTING.NAME`, a listed episode that exists; episodes that keep_ranges knows, and others."""
MISSING = "filters.missing"
"""Fact: `MISSING.SETTING` counts listed episodes that do not exist, `MISSING.SETTING.NAME` names some of them."""
NAMED = 100
"""How many missing episodes the facts name."""


class Called(NamedTuple):
    """What an episode can be called in lists and ranges, and where its first step is in its record."""

    name: str
    record: str  # name of its record, which differs if the record holds several episodes
    origin: str
    offset: int = 0

    @property
    def names(self) -> tuple[str, ...]:
        """From its own name to those it may share with others."""
        return tuple(dict.fromkeys(name for name in (self.name, self.record, self.origin) if name))


@dataclass(frozen=True)
class Choice:
    """The filters that select episodes by name, origin or ranges."""

    filters: Filters

    @cached_property
    def _lists(self) -> Mapping[str, frozenset[str] | None]:
        return {setting: self.filters.names(setting) for setting in LISTS}

    @cached_property
    def _path(self) -> re.Pattern[str] | None:
        return None if self.filters.path is None else re.compile(self.filters.path)

    @cached_property
    def _ranges(self) -> Ranges | None:
        return self.filters.ranges()

    def refusal(self, called: Called) -> str:
        """Why an episode is dropped, or ""."""
        wanted, unwanted = (self._lists[setting] for setting in LISTS)
        if wanted is not None and wanted.isdisjoint(called.names):
            return "not_in_episodes"
        if unwanted is not None and not unwanted.isdisjoint(called.names):
            return "excluded_episode"
        return "path_filter" if self._path is not None and not self._path.search(called.origin) else ""

    def listed(self, called: Called) -> Iterator[Fact]:
        """Which lists contain an episode, and under which of its names."""
        for setting, listed in self._lists.items():
            yield from (Fact(f"{FOUND}.{setting}.{name}") for name in called.names if name in (listed or ()))

    def matched(self, called: Called) -> Iterator[Fact]:
        """Whether keep_ranges knows an episode that is not dropped as a whole."""
        if self._ranges is not None:
            yield Fact(UNKNOWN if self._of(called) is None else KNOWN)

    def reasons(self, called: Called, steps: int) -> list[Reason | None]:
        """For each step, why ranges drop it, or None."""
        if self._ranges is None:
            return [None] * steps
        name = self._of(called)
        if name is None:
            return [NO_KEEP_RANGES] * steps
        first = called.offset if name != called.name else 0  # ranges of a record count from the record's first step
        inside = in_ranges(self._ranges[name], first + np.arange(steps))
        return [None if kept else OUTSIDE_KEEP_RANGES for kept in inside.tolist()]

    def _of(self, called: Called) -> str | None:
        return next((name for name in called.names if name in (self._ranges or {})), None)


def in_ranges(ranges: Sequence[tuple[int, int]], numbers: NDArray[np.int64]) -> Bools:
    """bool[n]: which of the numbers are in one of the ranges [start, stop)."""
    found = np.zeros(len(numbers), np.bool_)
    for start, stop in ranges:
        found |= (numbers >= start) & (numbers < stop)
    return found


def moving(actions: F32, rule: Idle) -> Bools:
    """bool[T]: which steps of an episode are kept. `actions` is f32[T, D], without gripper and terminate.

    First long runs of idle steps are dropped, then short runs of the remaining steps, then the ends of the remaining runs.
    """
    idle = np.zeros(len(actions), np.bool_)
    with np.errstate(invalid="ignore"):  # for infinite numbers, which are rejected as faults
        idle[1:] = (np.abs(np.diff(actions, axis=0)) < rule.below).all(axis=1)
    kept = ~_long(idle, rule.min_idle)
    kept = _long(kept, rule.min_non_idle)
    for start, stop in true_runs(kept):
        kept[max(start, stop - rule.drop_last) : stop] = False
    return kept


def _long(flags: Bools, least: int) -> Bools:
    """The flags without runs shorter than `least`."""
    found = np.zeros_like(flags)
    for start, stop in true_runs(flags):
        found[start:stop] = stop - start >= least
    return found


def true_runs(flags: Bools) -> list[tuple[int, int]]:
    """Where runs of True start and stop (exclusive)."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return [(int(start), int(stop)) for start, stop in edges.reshape(-1, 2)]


def called(episode: Sequence[Step], record: str, offset: int) -> Called:
    """What an episode of a record can be called."""
    return Called(episode[0].episode, record, episode[0].origin, offset)


def settled(filters: Filters, facts: dict[str, int]) -> dict[str, int]:
    """The facts of a whole source; FOUND names become counts, and the listed episodes it lacks are added."""
    if not any(getattr(filters, setting) is not None for setting in LISTS):
        return facts
    found = {name: count for name, count in facts.items() if not name.startswith(f"{FOUND}.")}
    for setting in LISTS:
        listed = filters.names(setting)
        if listed is not None:
            missing = sorted(name for name in listed if f"{FOUND}.{setting}.{name}" not in facts)
            found |= {f"{FOUND}.{setting}": len(listed) - len(missing), f"{MISSING}.{setting}": len(missing)}
            found |= {f"{MISSING}.{setting}.{name}": 1 for name in missing[:NAMED]}
    return dict(sorted((name, count) for name, count in found.items() if count or name.startswith(FOUND)))
