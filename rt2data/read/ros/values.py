"""The values that messages are decoded to, and their faults."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Value = Any  # int, float, bool, str, Stamp, NumPy array of numbers, list, or a dict of these
Decode = Callable[[memoryview], dict[str, Value]]
LONGEST_DEFINITION = 1 << 17
"""Maximum characters (without comments) or bytes of a definition; the longest in use have some tens of thousands."""
DEEPEST = 32
"""Maximum nesting of messages."""


class Stamp(int):
    """Nanoseconds."""


class UnreadableError(Exception):
    """A topic that cannot be read, and why."""


class MessageFault(Exception):  # noqa: N818 (a finding about data, not an error of ours)
    """A message with unexpected content. `reason` is for the Reject."""

    reason = "damaged_message"


class MissingJoints(MessageFault):
    """A message about only some of the joints."""

    reason = "missing_joints"


def ros_type(name: str) -> str:
    """A type name in ROS 2 form: `sensor_msgs/msg/Image` for ROS 1's `sensor_msgs/Image`."""
    package, sign, last = name.replace("::", "/").rpartition("/")
    return f"{package}/msg/{last}" if sign and "/" not in package else name.replace("::", "/")
