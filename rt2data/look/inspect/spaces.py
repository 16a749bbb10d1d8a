"""Finds the action space that fits a log, by the names of its numbers, its robot or its name; and writes a new one from the
data.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from rt2data.errors import UsageError
from rt2data.read.action_space import load_space, space_names
from rt2data.read.source import Source
from rt2data.records import F32, Step

GENERIC = "generic_nd"
SHARED = "oxe"
"""Prefix of spaces shared by many datasets, so that a dataset name containing it means nothing."""
LOOKED_AT = 2_000
"""Steps whose actions are read to describe the numbers of a new space."""


class Guess(NamedTuple):
    """The action space that fits best."""

    space: str
    why: str  # empty if it was chosen only because it accepts any number of dimensions
    others: tuple[str, ...]  # other spaces with the same number of dimensions


def guess_space(name: str, facts: Mapping[str, Any]) -> Guess:
    """The action space of a log, from the facts of `describe`: decided by the names of the numbers, then the robot, then the
    dataset's name.
    """
    size = (facts.get("first_episode") or {}).get("action")
    fitting = [space for space in map(load_space, space_names()) if space.name != GENERIC and space.size == size]
    said, robot = facts.get("action_names") or (), str(facts.get("robot_type") or "")
    for why, fits in (
        ("the names of its numbers", [space for space in fitting if said and _plain(space.names) == _plain(said)]),
        (f"robot type {robot}", [space for space in fitting if robot and _has(robot, space.name)]),
        ("its name", [space for space in fitting if space.name.partition("_")[0] != SHARED and shares_a_word(space.name, name)]),
    ):
        if fits:
            return Guess(fits[0].name, why, tuple(space.name for space in fitting if space is not fits[0]))
    return Guess(GENERIC, "", tuple(space.name for space in fitting))


def _plain(names: Sequence[str]) -> list[str]:
    return [re.sub(r"[^a-z0-9]", "", str(name).lower()) for name in names]


def _has(robot: str, space: str) -> bool:
    return space.replace("_", "") in re.sub(r"[^a-z0-9]", "", robot.lower())


def shares_a_word(space: str, name: str) -> bool:
    """Whether the names of an action space and a dataset have a word in common, as widowx_bridge and bridge_dataset."""
    common = {"robot", "dataset", "data", "set", "sim", "table", "language"}
    words = [set(re.findall(r"[a-z0-9]{3,}", text.replace("_", " "))) - common for text in (space, name)]
    return bool(words[0] & words[1]) or space.replace("_", "") in name.replace("_", "")


# A new space


def new_space(name: str, source: Source, facts: Mapping[str, Any]) -> str:
    """TOML of an action space for a log: a dimension per number, with the values in the first steps as a comment.

    Anything not known from the data is left out: units, what is commanded, which value opens a gripper. Raises UsageError if the
    log has no actions.
    """
    actions = _first_actions(source)
    said = [str(each) for each in facts.get("action_names") or ()]
    names = _names(said if len(said) == actions.shape[1] else [f"a_{i}" for i in range(actions.shape[1])])
    hz = facts.get("fps")
    lines = [
        f"# What the numbers of {name} mean. Written from its first {len(actions):,} steps: complete what data cannot say.",
        f"name = {json.dumps(name)}",
        f"title = {json.dumps(str(facts.get('robot_type') or name), ensure_ascii=False)}",
        f"control_hz = {hz:g}" if hz else "# control_hz = 10  # actions a second",
        '# control_mode = "delta_eef"  # or absolute_eef, velocity_eef, delta_joint, absolute_joint, velocity_joint, velocity_body',
        '# rotation = "rpy"  # of an end effector: rpy, axis_angle, quaternion or r6',
        *(line for i, dim in enumerate(names) for line in _dim_lines(dim, actions[:, i])),
    ]
    return "\n".join(lines) + "\n"


def _first_actions(source: Source) -> F32:
    steps = (record for unit in source.units() for record in source.read(unit) if isinstance(record, Step))
    found = [step.action for step in islice(steps, LOOKED_AT)]
    if not found:
        raise UsageError("no action can be read here", do="name a robot log")
    if len({each.shape for each in found}) > 1:
        raise UsageError("the actions have different numbers of dimensions", do="name the features that are the action")
    return np.stack(found)


def _names(said: Sequence[str]) -> list[str]:
    """Valid, distinct names for an action space."""
    found: list[str] = []
    for number, each in enumerate(said):
        name = re.sub(r"[^A-Za-z0-9_]+", "_", each).strip("_")[:60] or f"a_{number}"
        name = name if name[0].isalpha() else f"a_{name}"
        found.append(name if name not in found else f"{name}_{number}")
    return found


def _dim_lines(name: str, values: F32) -> Iterator[str]:
    finite = values[np.isfinite(values)]
    yield ""
    yield "[[dim]]"
    yield f"name = {json.dumps(name)}"
    yield '# unit = "rad"'
    few = np.unique(finite[:10_000])
    seen = ", ".join(f"{value:g}" for value in few) if len(few) <= 3 else f"from {finite.min():.4g} to {finite.max():.4g}"
    yield f'bounds = "q01q99"  # seen: {seen or "no number"}'
    if "grip" in name.lower() or len(few) == 2:
        low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
        yield f"# open = {high:g}    # of a gripper: the value that opens it,"
        yield f"# closed = {low:g}  # and the one that closes it"
