"""Reads the episodes of a raw log: all, or some spread over it by seed."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby, islice

from rt2data.errors import DataError
from rt2data.look.check.episode import Episode, episode_of
from rt2data.look.check.log import Log
from rt2data.order import key64
from rt2data.read.action_space import ActionSpace, load_space
from rt2data.read.sample import shuffled
from rt2data.read.source import RobotSource
from rt2data.records import Reject, SourceRecord, Step, Unit


def read_log(source: RobotSource, name: str, most: int | None = None, seed: int = 0) -> Log:
    """A log with at most `most` of its episodes, a few KB each; all by default.

    Raises UsageError or DataError if the source cannot be read, has no episode, or has actions of different sizes.
    """
    space, rejects = load_space(source.action_space), list[Reject]()
    episodes = sorted(islice(_episodes(source, space, most, seed, rejects), most), key=lambda each: each.name)
    if not episodes:
        raise DataError("there are no episodes", name, f"the first fault: {rejects[0]}" if rejects else "check the path")
    sizes = {each.action.shape[1] for each in episodes}
    if len(sizes) > 1:
        what = f"actions have {' or '.join(map(str, sorted(sizes)))} dimensions"
        raise DataError(what, name, "name the features that are the action")
    hz = source.control_hz or space.control_hz
    return Log(episodes, space.sized(sizes.pop()), name, hz, source.state_names, tuple(rejects))


def _episodes(source: RobotSource, space: ActionSpace, most: int | None, seed: int, rejects: list[Reject]) -> Iterator[Episode]:
    """Episodes, each completed before the next is read. Rejects that are faults are added to `rejects`."""
    for unit in source.units() if most is None else _spread(source, most, seed):
        for name, records in groupby(_steps(source.read(unit), rejects), key=lambda step: step.episode):
            try:
                yield episode_of(records, source.images, space, source.gripper_open)
            except ValueError as error:
                raise DataError(f"its steps do not fit together: {error}", f"{unit.label}, {name}") from None


def _steps(records: Iterator[SourceRecord], rejects: list[Reject]) -> Iterator[Step]:
    for record in records:
        if isinstance(record, Step):
            yield record
        elif isinstance(record, Reject) and record.fault:
            rejects.append(record)


SMALLEST = 1
"""Bytes of a piece: so small that each piece is a single record, if the source can split its units."""


def _spread(source: RobotSource, most: int, seed: int) -> Iterator[Unit]:
    """Pieces of the source, shuffled by seed: first as many from each file as are needed, then the rest."""
    parts = shuffled([part for unit in source.units() for part in unit.each], key64("check", seed))
    rest = list[Unit]()
    for part in parts:
        pieces = shuffled(source.pieces(part, SMALLEST), key64("check", seed, part.path, part.start))
        share = -(-most // len(parts))
        yield from pieces[:share]
        rest += pieces[share:]
    yield from rest
