"""Compares our statistics with those published for a dataset: one TOML file in schemas/statistics per dataset."""

from __future__ import annotations

import re
import tomllib
from functools import cache
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass

from rt2data.io import location
from rt2data.io.installation import schemas
from rt2data.look.check.log import Log
from rt2data.look.check.result import Result, judged, passed, skipped

OFF, FAR_OFF = 2.0, 5.0
"""Limits for the width of a dimension, as a factor of the published one. The first ten steps of 13 episodes of Bridge have factors
of .31 to 1.3, so for so few steps only the larger limit applies."""
FEW, MANY = 50, 1000


@dataclass(frozen=True)
class Published:
    """What was published about a dataset."""

    name: str
    source: str
    datasets: tuple[str, ...]  # names of its folders
    q01: tuple[float, ...]  # of each action dimension
    q99: tuple[float, ...]
    mask: tuple[bool, ...]  # which dimensions are compared
    transitions: int
    trajectories: int


@cache
def published() -> tuple[Published, ...]:
    """All published statistics, by name."""
    folder = schemas() / "statistics"
    paths = sorted(each.name for each in location.children(folder) if each.name.endswith(".toml"))
    return tuple(TypeAdapter(Published).validate_python(tomllib.loads(location.read_text(folder / name))) for name in paths)


def known(log: Log) -> Published | None:
    """What was published about a log, found by the names of its folders."""
    words = {re.sub(r"[^a-z0-9]+", "_", part.lower()) for part in Path(log.name).parts}
    return next((each for each in published() if words & set(each.datasets) and len(each.q01) == log.dims), None)


def agrees(log: Log) -> Result:
    """Whether the ranges of the actions match those published for this dataset."""
    found = known(log)
    if found is None:
        return skipped("no statistics of it are published here")
    if len(log.steps) < FEW:
        return skipped(f"only {len(log.steps)} steps")
    low, high = np.nanquantile(log.steps.action.astype(np.float64), (0.01, 0.99), axis=0)
    theirs = np.array(found.q99) - np.array(found.q01)
    ratios = {log.space.names[i]: float((high - low)[i] / theirs[i]) for i, used in enumerate(found.mask) if used}
    measured = f"{found.name}: {min(ratios.values()):.2g} to {max(ratios.values()):.2g} of its ranges"
    off = OFF if len(log.steps) >= MANY else FAR_OFF
    wrong = {name: ratio for name, ratio in ratios.items() if not 1 / off < ratio < off}
    if not wrong:
        return passed(measured)
    said = ", ".join(f"{name} {ratio:.2g}" for name, ratio in wrong.items())
    failed = 2 * sum(not 1 / FAR_OFF < ratio < FAR_OFF for ratio in wrong.values()) > len(ratios)
    return judged(failed, measured, f"ranges differ from those published: {said}", "check units, or that it is this dataset")
