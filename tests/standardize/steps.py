"""Episodes made by hand, and what standardizing makes of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from rt2data.read.source import RobotSource
from rt2data.records import Fact, Reject, Row, Step
from rt2data.standardize import standardize
from tests.contract.toy import ToyRobot


def source(**settings: Any) -> RobotSource:
    return ToyRobot(path="x", **{"action_space": "widowx_bridge", **settings})


def episode(steps: int = 4, name: str = "e0", words: Sequence[str] | str = "lift the cup", **changed: Sequence[Any]) -> list[Step]:
    """Steps that move; `changed` are columns of one value for each step."""
    said = [words] * steps if isinstance(words, str) else words
    actions = np.random.default_rng(steps).normal(0, 0.01, (steps, 7)).astype(np.float32)
    made = []
    for at in range(steps):
        own = {key: column[at] for key, column in changed.items()}
        base: dict[str, Any] = {"action": actions[at], "is_first": at == 0, "is_last": at == steps - 1}
        made.append(Step(name, at, steps, "train", said[at], images=(), **(base | own)))
    return made


def found(records: Sequence[Step], **settings: Any) -> list[Row | Fact | Reject]:
    return list(standardize(source(**settings), records))


def rows(records: Sequence[Step], **settings: Any) -> list[Row]:
    return [each for each in found(records, **settings) if isinstance(each, Row)]


def lost(records: Sequence[Step], **settings: Any) -> dict[tuple[str, bool], int]:
    """(reason, fault) -> steps."""
    counts: Counter[tuple[str, bool]] = Counter()
    for each in found(records, **settings):
        if isinstance(each, Reject):
            counts[each.reason, each.fault] += each.count
    return dict(counts)


def facts(records: Sequence[Step], **settings: Any) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for each in found(records, **settings):
        if isinstance(each, Fact):
            counts[each.name] += each.count
    return dict(counts)
