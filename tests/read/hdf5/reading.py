"""Sources over HDF5 logs, and all that they read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rt2data.read.hdf5.source import HDF5
from rt2data.records import Fact, Reject, Step


def log(path: Path, **settings: Any) -> HDF5:
    """A source over a path; any width of action."""
    return HDF5.model_validate({"path": str(path), "action_space": "generic_nd", **settings})


def read(source: HDF5) -> tuple[list[Step], list[Reject]]:
    """All steps and rejects, in the order of units."""
    found = [record for unit in source.units() for record in source.read(unit) if not isinstance(record, Fact)]
    return [each for each in found if isinstance(each, Step)], [each for each in found if isinstance(each, Reject)]


def by_episode(steps: list[Step]) -> dict[str, list[Step]]:
    found: dict[str, list[Step]] = {}
    for step in steps:
        found.setdefault(step.episode, []).append(step)
    return found
