"""Decoders for the messages of a topic: ROS, JSON, protocol buffers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from rt2data.io.inflate import ZSTD, inflate, zstd_size
from rt2data.read.ros.container import SEVERAL, Topic
from rt2data.read.ros.protobuf import protobuf_decoder
from rt2data.read.ros.values import Decode, MessageFault, Stamp, UnreadableError, Value
from rt2data.read.ros.wire import wire_decoder


def decoder_of(topic: Topic) -> Decode:
    """The decoder for a topic's messages; it raises MessageFault and InflateError. Raises UnreadableError."""
    if topic.encoding in ("cdr", "ros1"):
        decode = wire_decoder(topic.type, topic.encoding, topic.definition, topic.language)
    elif topic.encoding == "json":
        decode = _from_json
    elif topic.encoding == "protobuf":
        decode = protobuf_decoder(topic.type, topic.definition)
    elif topic.encoding == SEVERAL:
        raise UnreadableError("its messages are of several types")
    else:
        raise UnreadableError(f"messages encoded as {topic.encoding[:40]!r} are not read: known are cdr, ros1, json and protobuf")
    return partial(_decoded, decode)


def _decoded(decode: Decode, data: memoryview) -> dict[str, Value]:
    """Decode a message that rosbag2 compressed individually: it is decompressed first."""
    return decode(memoryview(inflate("zstd", data, zstd_size(data))) if data[:4] == ZSTD else data)


# JSON


def _from_json(data: memoryview) -> dict[str, Value]:
    try:
        found = json.loads(bytes(data))
    except (ValueError, RecursionError) as error:
        raise MessageFault(f"not JSON: {error}") from None
    value = _plain(found)
    return value if isinstance(value, dict) else {"data": value}


def _plain(value: Any) -> Value:
    """The value with times and arrays of numbers converted."""
    if isinstance(value, dict):
        times = {"sec", "secs", "seconds", "nsec", "nsecs", "nanosec", "nanos"}
        if value and value.keys() <= times and all(type(each) is int for each in value.values()):
            return Stamp(sum(each * (10**9 if key[0] == "s" else 1) for key, each in value.items()))
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        numbers = value and all(type(each) in (int, float, bool) for each in value)
        return _array(value) if numbers else [_plain(each) for each in value]
    return value


def _array(values: Sequence[Any]) -> Value:
    try:
        return np.array(values, np.float64)
    except OverflowError:
        raise MessageFault("a number is too large") from None
