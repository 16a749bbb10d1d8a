"""Paths into messages: a topic, then field names down to a number, an array of numbers, a text, or a group of numbers.

`/joint_states.position`, `/ee_pose.pose.position.x`, `/ee_pose.pose` (x, y, z, then the quaternion x, y, z, w), `/action.data`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rt2data.read.log import Column
from rt2data.read.ros.container import Topic
from rt2data.read.ros.values import MessageFault, MissingJoints, Stamp, Value, ros_type

_WIDEST = 4096
"""Maximum length of an array treated as a vector; longer ones are images, point clouds and the like."""
_MOST = 200
"""Maximum columns of a topic."""
JOINT_STATE = "sensor_msgs/msg/JointState"
_JOINTS = ("position", "velocity", "effort")


class Field(NamedTuple):
    """A field in each message of a topic."""

    topic: str
    keys: tuple[str, ...]  # empty for all numbers of the message

    @property
    def path(self) -> str:
        return ".".join((self.topic, *self.keys))


def find_field(path: str, topics: Mapping[str, Topic]) -> Field | None:
    """The topic and keys of a path; None if there is no such topic. Topic names may contain dots."""
    found = max((name for name in topics if path == name or path.startswith(f"{name}.")), key=len, default=None)
    return None if found is None else Field(found, tuple(path[len(found) + 1 :].split(".")) if len(path) > len(found) else ())


def columns_of(topic: Topic, message: Mapping[str, Value]) -> list[Column]:
    """Columns for every number, array, group and text in a topic's first message."""
    found = list(_columns(topic.name, message))
    if ros_type(topic.type) == JOINT_STATE:
        names = tuple(message.get("name", ()))
        found = [each._replace(names=names) if each.path.endswith(_JOINTS) and each.width == len(names) else each for each in found]
    elif labels := _labels(message):
        found = [
            each._replace(names=labels) if each.path.endswith(".data") and each.width == len(labels) else each for each in found
        ]
    return found[:_MOST]


def _columns(path: str, value: Mapping[str, Value]) -> Iterator[Column]:
    """Columns of a group: first the group itself, if it has only numbers."""
    names = list(_numbers_in(value))
    if len(names) > 1 and _only_numbers(value):
        yield Column(path, "numbers", len(names), f"{len(names)} numbers", tuple(names))
    for key, each in value.items():
        below = f"{path}.{key}"
        if key in ("header", "layout") or isinstance(each, Stamp):
            continue
        if isinstance(each, dict):
            yield from _columns(below, each)
        elif isinstance(each, str):
            yield Column(below, "words", detail="text")
        elif isinstance(each, np.ndarray) and each.ndim == 1 and 0 < each.size <= _WIDEST:
            yield Column(below, "numbers", each.size, f"{each.dtype}[{each.size}]")
        elif isinstance(each, int | float):
            yield Column(below, "numbers", 1, type(each).__name__)


def _numbers_in(value: Value, above: str = "") -> Iterator[str]:
    """Names of the numbers in a group, without times and headers."""
    if isinstance(value, dict):
        for key, each in value.items():
            if key != "header":
                yield from _numbers_in(each, f"{above}.{key}" if above else key)
    elif isinstance(value, np.ndarray) and value.ndim == 1 and value.size <= _WIDEST:
        yield from (f"{above}_{number}" for number in range(value.size))
    elif isinstance(value, int | float) and not isinstance(value, Stamp):
        yield above


def _only_numbers(value: Value) -> bool:
    """Whether a group has only numbers, times and headers."""
    if isinstance(value, dict):
        return all(key == "header" or _only_numbers(each) for key, each in value.items())
    return isinstance(value, int | float) or (isinstance(value, np.ndarray) and value.size <= _WIDEST)


def _labels(message: Mapping[str, Value]) -> tuple[str, ...]:
    """Names of a MultiArray's numbers, if the label of its dimension lists them."""
    layout = message.get("layout")
    dims = layout.get("dim") if isinstance(layout, dict) else None
    label = dims[0].get("label", "") if dims and isinstance(dims[0], dict) else ""
    names = tuple(part.strip() for part in label.split(",")) if isinstance(label, str) else ()
    return names if len(names) > 1 and all(names) else ()


# Extraction


def numbers_at(message: Mapping[str, Value], keys: Sequence[str]) -> NDArray[np.float64]:
    """The numbers at a path; those of a group in the order of its definition. Raises MessageFault."""
    return np.array(list(_flat(_at(message, keys), keys)), np.float64)


def joints_at(message: Mapping[str, Value], keys: Sequence[str], joints: Sequence[str]) -> NDArray[np.float64] | None:
    """The numbers of some joints, by name; None if the message is about other joints. Raises MessageFault if some are missing."""
    names = list(message.get("name", ()))
    values = _at(message, keys)
    missing = [joint for joint in joints if joint not in names]
    if len(missing) == len(joints):
        return None
    if missing:
        raise MissingJoints(f"joints are missing: {', '.join(missing[:8])}")
    if len(values) != len(names):
        raise MessageFault(f"{len(values)} values of {keys[-1]} for {len(names)} joints")
    return np.array([values[names.index(joint)] for joint in joints], np.float64)


def text_at(message: Mapping[str, Value], keys: Sequence[str]) -> str:
    """The text at a path. Raises MessageFault."""
    found = _at(message, keys)
    if not isinstance(found, str):
        raise MessageFault(f"{'.'.join(keys)} holds no text")
    return found


def _at(value: Any, keys: Sequence[str]) -> Value:
    for key in keys:
        if not isinstance(value, dict) or key not in value:
            raise MessageFault(f"there is no {'.'.join(keys)}")
        value = value[key]
    return value


def _flat(value: Value, keys: Sequence[str]) -> Iterator[float]:
    if isinstance(value, dict):
        for key, each in value.items():
            if key != "header" and not isinstance(each, Stamp):
                yield from _flat(each, (*keys, key))
    elif isinstance(value, np.ndarray):
        yield from value.tolist()
    elif isinstance(value, int | float):
        yield float(value)
    elif not (isinstance(value, list) and not value):  # an empty array has no numbers
        raise MessageFault(f"{'.'.join(keys)} holds no numbers")


# Times


def stamp_of(message: Mapping[str, Value]) -> int | None:
    """The time stamp in a message's header, in nanoseconds; None if it has none."""
    header = message.get("header", message)
    found = header.get("stamp", header.get("timestamp")) if isinstance(header, dict) else None
    return int(found) if isinstance(found, Stamp) else None
