"""What messages are decoded to, and what can be wrong with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Value = Any  # int, float, bool, str, Stamp, NumPy array of numbers, list, or a dict of these
Decode = Callable[[memoryview], dict[str, Value]]
LONGEST_DEFINITION = 1 << 17
"""Characters of a definition without its comments, or bytes; the longest in use have some tens of thousands."""
DEEPEST = 32
"""Levels of messages in messages."""


class Stamp(int):
    """Nanoseconds."""


class UnreadableError(Exception):
    """A topic that is not read, and why."""


class MessageFault(Exception):  # noqa: N818 (a finding about data, not an error of ours)
    """A message that does not hold what it should. `reason` is for the Reject."""

    reason = "damaged_message"


class MissingJoints(MessageFault):
    """A message about some of the joints only."""

    reason = "missing_joints"


def ros_type(name: str) -> str:
    """`sensor_msgs/msg/Image`, as ROS 2 writes a name that ROS 1 writes as `sensor_msgs/Image`."""
    package, sign, last = name.replace("::", "/").rpartition("/")
    return f"{package}/msg/{last}" if sign and "/" not in package else name.replace("::", "/")
