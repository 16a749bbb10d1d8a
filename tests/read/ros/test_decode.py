"""Messages as values: every type that ROS brings, as rosbags decodes it; JSON and protocol buffers; definitions that attack."""

from __future__ import annotations

import json
import time
import tracemalloc
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from google.protobuf import descriptor_pb2, timestamp_pb2
from hypothesis import given
from hypothesis import strategies as st
from rosbags.interfaces import Nodetype

from rt2data.io.inflate import InflateError
from rt2data.read.ros.container import Topic
from rt2data.read.ros.decode import decoder_of
from rt2data.read.ros.values import MessageFault, Stamp, UnreadableError, ros_type
from tests.read.ros.test_containers import same
from tests.read.ros.writing import ROS1, ROS2, START, floats, joint_state


def cdr(kind: str, definition: str, language: str = "ros2msg") -> Topic:
    return Topic("/x", kind, "cdr", definition.encode(), language)


def topic_of(store: Any, kind: str, encoding: str) -> Topic:
    """A topic of a known type, with its definition written out."""
    version = 1 if encoding == "ros1" else 2
    definition = store.generate_msgdef(kind, ros_version=version)[0].encode()
    return Topic("/x", kind, encoding, definition, f"ros{version}msg")


def made(store: Any, kind: str, random: np.random.Generator) -> Any:
    """A message with random values."""
    if kind == "builtin_interfaces/msg/Time":
        return store.types[kind](sec=int(random.integers(2**31)), nanosec=int(random.integers(10**9)))
    return store.types[kind](**{name: _value(store, field, random) for name, field in store.fielddefs[kind][1]})


def _value(store: Any, field: Any, random: np.random.Generator) -> Any:
    node, what = field
    if node == Nodetype.NAME:
        return made(store, what, random)
    if node == Nodetype.BASE:
        return _scalar(what[0], random)
    inner, size = what
    length = size if node == Nodetype.ARRAY else int(random.integers(0, 4))
    values = [_value(store, inner, random) for _ in range(length)]
    if inner[0] == Nodetype.BASE and inner[1][0] != "string":
        return np.array(values, _dtype(inner[1][0]))
    return values


def _dtype(name: str) -> Any:
    return np.dtype({"bool": "?", "byte": "i1", "char": "u1"}.get(name, name))


def _scalar(name: str, random: np.random.Generator) -> Any:
    if name == "string":
        return "".join(random.choice(list("abc é"), int(random.integers(0, 6))))
    if name == "bool":
        return bool(random.integers(2))
    if name.startswith("float"):
        return float(np.float32(random.normal()))
    if name == "byte":  # rosbags gives it a sign, ROS none
        return int(random.integers(128))
    limit = np.iinfo(_dtype(name))
    return int(random.integers(max(limit.min, -(2**31)), min(limit.max, 2**31)))


KINDS = sorted(kind for kind in ROS2.fielddefs if kind not in ("builtin_interfaces/msg/Time", "builtin_interfaces/msg/Duration"))
BOTH = [kind for kind in KINDS if kind in ROS1.fielddefs]


@pytest.mark.parametrize("little", [True, False])
@pytest.mark.parametrize("kind", [*KINDS[::7], *(pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS)])
def test_types_of_ros_2(kind: str, little: bool) -> None:
    random = np.random.default_rng(len(kind))
    decode, short = decoder_of(topic_of(ROS2, kind, "cdr")), decoder_of(Topic("/x", kind, "cdr"))
    for _ in range(3):
        data = ROS2.serialize_cdr(made(ROS2, kind, random), kind, little_endian=little)
        wanted = ROS2.deserialize_cdr(bytes(data), kind)
        for each in (decode, short):  # with its definition, and as of a database without any
            same(each(memoryview(bytes(data))), wanted)


@pytest.mark.parametrize("kind", [*BOTH[::9], *(pytest.param(kind, marks=pytest.mark.slow) for kind in BOTH)])
def test_types_of_ros_1(kind: str) -> None:
    random = np.random.default_rng(len(kind))
    decode = decoder_of(topic_of(ROS1, kind, "ros1"))
    for _ in range(3):
        data = bytes(ROS1.serialize_ros1(made(ROS1, kind, random), kind))
        same(decode(memoryview(data)), ROS1.deserialize_ros1(data, kind))


@pytest.mark.parametrize("kind", ["sensor_msgs/msg/JointState", "sensor_msgs/msg/Image", "trajectory_msgs/msg/JointTrajectory"])
def test_a_message_cut_anywhere_is_a_fault(kind: str) -> None:
    decode = decoder_of(topic_of(ROS2, kind, "cdr"))
    data = bytes(ROS2.serialize_cdr(made(ROS2, kind, np.random.default_rng(3)), kind))
    whole = decode(memoryview(data))
    assert whole
    for length in range(len(data) - 4):
        with pytest.raises(MessageFault):
            decode(memoryview(data[:length]))


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_a_fault(data: bytes) -> None:
    for topic in (topic_of(ROS2, "sensor_msgs/msg/JointState", "cdr"), topic_of(ROS1, "sensor_msgs/msg/JointState", "ros1")):
        for content in (data, b"\0\1\0\0" + data):
            with suppress(MessageFault, InflateError):
                assert isinstance(decoder_of(topic)(memoryview(content)), dict)
    with suppress(MessageFault, InflateError):
        assert isinstance(decoder_of(Topic("/x", "x", "json"))(memoryview(data)), dict)


def test_idl() -> None:
    text = "=" * 80 + "\nIDL: pkg/msg/Pair\nmodule pkg { module msg { struct Pair { double left; sequence<float> right; }; }; };\n"
    decode = decoder_of(cdr("pkg/msg/Pair", text, "ros2idl"))
    data = b"\0\1\0\0" + np.float64(1.5).tobytes() + np.uint32(2).tobytes() + np.array([2, 3], "<f4").tobytes()
    found = decode(memoryview(data))
    assert found["left"] == 1.5 and found["right"].tolist() == [2, 3]


# What attacks


BOMBS = {
    "holds itself": "A a\n" + "=" * 80 + "\nMSG: p/A\nB b\n" + "=" * 80 + "\nMSG: p/B\nA a\n",
    "more than 10,000 fields": "".join(
        f"A{n + 1} a\nA{n + 1} b\nA{n + 1} c\nA{n + 1} d\n" + "=" * 80 + f"\nMSG: p/A{n + 1}\n" for n in range(20)
    ),
    "nested too deep": "".join(f"A{n + 1} a\n" + "=" * 80 + f"\nMSG: p/A{n + 1}\n" for n in range(60)),
    "cannot be parsed": "int32\n",
    "no definition": "Missing m\n",
    "characters is not read": "int8 x\n" * 30_000,
}


@pytest.mark.parametrize("why", BOMBS)
def test_definitions_that_attack(why: str) -> None:
    begun = time.perf_counter()
    with pytest.raises(UnreadableError, match=why):
        decoder_of(cdr("p/msg/X", BOMBS[why]))
    assert time.perf_counter() - begun < 2


def test_definitions_run_nothing(tmp_path: Any) -> None:
    """rosbags would make Python of these."""
    marker = tmp_path / "ran"
    for text in (
        f"string x __import__('pathlib').Path('{marker}').touch()\n",
        f"string X=__import__('pathlib').Path('{marker}').touch()\n",
        f'string x """+str(__import__(\'pathlib\').Path(\'{marker}\').touch())+"""\n',
    ):
        with suppress(UnreadableError, MessageFault):
            decoder_of(cdr("p/msg/X", text))(memoryview(b"\0\1\0\0\1\0\0\0\0"))
    assert not marker.exists()


@pytest.mark.parametrize(
    ("definition", "data"),
    [
        ("uint8[] data", b"\xff\xff\xff\xff"),
        ("float64[] data", b"\xff\xff\xff\xff"),
        ("string data", b"\xff\xff\xff\xff"),
        ("string[] data", b"\xff\xff\xff\xff"),
        ("float64[1000000000] data", b"\0" * 64),
        ("std_msgs/Empty[] data", b"\xff\xff\xff\xff"),
        ("E[1000000000] data\n" + "=" * 80 + "\nMSG: p/E\n", b"\0" * 64),
    ],
)
@pytest.mark.parametrize("encoding", ["cdr", "ros1"])
def test_lengths_that_attack(definition: str, data: bytes, encoding: str) -> None:
    if encoding == "ros1" and "Empty" in definition:
        definition += "\n" + "=" * 80 + "\nMSG: std_msgs/Empty\n"
    topic = Topic("/x", "p/msg/X", encoding, definition.encode(), "ros1msg" if encoding == "ros1" else "ros2msg")
    decode = decoder_of(topic)
    tracemalloc.start()
    with pytest.raises(MessageFault):
        decode(memoryview((b"\0\1\0\0" if encoding == "cdr" else b"") + data))
    assert tracemalloc.get_traced_memory()[1] < 4e6
    tracemalloc.stop()


@pytest.mark.parametrize("encoding", ["flatbuffer", "capnproto", "cbor", "msgpack", ""])
def test_unknown_encodings_are_named(encoding: str) -> None:
    with pytest.raises(UnreadableError, match=f"'{encoding}' are not read: known are cdr, ros1, json and protobuf"):
        decoder_of(Topic("/x", "x", encoding))
    with pytest.raises(UnreadableError, match="definitions in 'omg'"):
        decoder_of(Topic("/x", "p/msg/X", "cdr", b"x", "omg"))


def test_other_forms_of_cdr_are_named() -> None:
    with pytest.raises(MessageFault, match="not plain CDR: it begins with 00030000"):
        decoder_of(topic_of(ROS2, "std_msgs/msg/String", "cdr"))(memoryview(b"\0\3\0\0\1\0\0\0\0"))


# JSON


def test_json() -> None:
    message = {
        "stamp": {"sec": 3, "nsec": 5},
        "values": [1, 2.5, True],
        "deep": {"x": 1, "name": "a"},
        "mixed": [1, "a"],
        "none": None,
    }
    found = decoder_of(Topic("/x", "x", "json"))(memoryview(json.dumps(message).encode()))
    assert found["stamp"] == 3 * 10**9 + 5 and isinstance(found["stamp"], Stamp)
    assert found["values"].tolist() == [1, 2.5, 1] and found["deep"] == {"x": 1, "name": "a"}
    assert found["mixed"] == [1, "a"] and found["none"] is None


@pytest.mark.parametrize("data", [b"{", b"\xff", b"[" * 100_000, b"[1" + b"0" * 400 + b"]", b""])
def test_json_that_is_none(data: bytes) -> None:
    with pytest.raises(MessageFault):
        decoder_of(Topic("/x", "x", "json"))(memoryview(data))


# Protocol buffers


def file_set(recursive: bool = False) -> bytes:
    """Definition of robot.Action {Timestamp stamp; repeated double values; Inner inner {float x; string name; bytes raw}}."""
    files = descriptor_pb2.FileDescriptorSet()
    timestamp_pb2.DESCRIPTOR.CopyToProto(files.file.add())
    file = files.file.add(name="robot.proto", package="robot", syntax="proto3", dependency=["google/protobuf/timestamp.proto"])
    kinds = descriptor_pb2.FieldDescriptorProto
    action = file.message_type.add(name="Action")
    action.field.add(name="timestamp", number=1, type=kinds.TYPE_MESSAGE, label=1, type_name=".google.protobuf.Timestamp")
    action.field.add(name="values", number=2, type=kinds.TYPE_DOUBLE, label=3)
    action.field.add(name="inner", number=3, type=kinds.TYPE_MESSAGE, label=1, type_name=".robot.Inner")
    inner = file.message_type.add(name="Inner")
    inner.field.add(name="x", number=1, type=kinds.TYPE_FLOAT, label=1)
    inner.field.add(name="name", number=2, type=kinds.TYPE_STRING, label=1)
    inner.field.add(name="raw", number=3, type=kinds.TYPE_BYTES, label=1)
    if recursive:
        inner.field.add(name="again", number=4, type=kinds.TYPE_MESSAGE, label=1, type_name=".robot.Inner")
    return files.SerializeToString()


def message_class(definition: bytes, name: str) -> Any:
    from google.protobuf import descriptor_pool, message_factory

    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(definition).file:
        pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))


def test_protobuf() -> None:
    decode = decoder_of(Topic("/x", "robot.Action", "protobuf", file_set(), "protobuf"))
    message = message_class(file_set(), "robot.Action")(values=[1, 2.5], inner={"x": 3, "name": "a", "raw": b"\1\2"})
    message.timestamp.seconds, message.timestamp.nanos = 7, 9
    found = decode(memoryview(message.SerializeToString()))
    assert found["timestamp"] == 7 * 10**9 + 9
    assert found["values"].tolist() == [1, 2.5]
    assert found["inner"]["x"] == 3 and found["inner"]["name"] == "a" and found["inner"]["raw"].tolist() == [1, 2]
    assert decode(memoryview(b""))["values"].tolist() == []
    with pytest.raises(MessageFault, match="not robot"):
        decode(memoryview(b"\xff\xff"))


def test_protobuf_that_attacks() -> None:
    decode = decoder_of(Topic("/x", "robot.Action", "protobuf", file_set(recursive=True), "protobuf"))
    data = b""
    for _ in range(60):
        data = b"\x22" + bytes([len(data)] if len(data) < 128 else [len(data) & 127 | 128, len(data) >> 7]) + data
    with pytest.raises(MessageFault, match="too deep"):
        decode(memoryview(b"\x1a" + bytes([len(data) & 127 | 128, len(data) >> 7]) + data))
    for definition in (b"\xff", b"", file_set()[:100]):
        with pytest.raises(UnreadableError):
            decoder_of(Topic("/x", "robot.Action", "protobuf", definition, "protobuf"))


def test_packed_messages() -> None:
    import zstandard

    message = floats([1, 2])
    data = bytes(ROS2.serialize_cdr(message, "std_msgs/msg/Float64MultiArray"))
    decode = decoder_of(topic_of(ROS2, "std_msgs/msg/Float64MultiArray", "cdr"))
    assert decode(memoryview(zstandard.compress(data)))["data"].tolist() == [1, 2]
    with pytest.raises(InflateError):
        decode(memoryview(zstandard.compress(data)[:-3]))
    bomb = zstandard.compress(bytes(300 << 20))
    tracemalloc.start()
    with pytest.raises(InflateError, match="at most"):
        decode(memoryview(bomb))
    assert tracemalloc.get_traced_memory()[1] < 4e6
    tracemalloc.stop()


def test_times_are_recognized() -> None:
    found = decoder_of(topic_of(ROS2, "sensor_msgs/msg/JointState", "cdr"))(
        memoryview(bytes(ROS2.serialize_cdr(joint_state(START + 5, ("a",), [1]), "sensor_msgs/msg/JointState")))
    )
    assert found["header"]["stamp"] == START + 5
    assert ros_type("sensor_msgs/JointState") == "sensor_msgs/msg/JointState"
