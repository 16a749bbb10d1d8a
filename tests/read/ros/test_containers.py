"""Every message of every log, as rosbags and mcap read it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mcap.reader import NonSeekingReader
from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_typestore

from rt2data.read.ros.container import Container, Message, Topic
from rt2data.read.ros.decode import decoder_of
from rt2data.read.ros.recordings import open_container
from rt2data.read.ros.values import Stamp, ros_type
from tests.read.ros.writing import ROS2, START, Robot, Sent, text, write, write_mcap

REAL = (
    "ros_bridge/bridge_10.bag",
    "ros_bridge/bridge_10_mcap/bridge_10_mcap.mcap",
    *(f"sim_metaworld_mcap/episode_00{number}.mcap" for number in ("00", "10", "20")),
    *(f"sim_language_table_mcap/episode_00{number}.mcap" for number in ("00", "05", "10", "15", "20")),
)
Written = Callable[[Path], Path]
WRITTEN: dict[str, Written] = {
    **{
        f"bag {packed}": lambda path, packed=packed: write(path / "x.bag", Robot().sent(ros=1), "bag", packed)
        for packed in ("", "bz2", "lz4")
    },
    "db3": lambda path: write(path / "x", Robot().sent(), "db3") / "x.db3",
    "db3 message": lambda path: write(path / "x", Robot().sent(), "db3", "message") / "x.db3",
    "mcap rosbags": lambda path: write(path / "x", Robot().sent(), "mcap") / "x.mcap",
    "mcap message": lambda path: write(path / "x", Robot().sent(), "mcap", "message") / "x.mcap",
    **{
        f"mcap {packed} {options}": lambda path, packed=packed, options=options: write_mcap(
            path / "x.mcap", Robot().sent(), packed, 3000, **options
        )
        for packed in ("", "zstd", "lz4")
        for options in ({}, {"use_chunking": False}, {"use_statistics": False}, {"repeat_channels": False, "repeat_schemas": False})
    },
}  # type: ignore[misc]


@pytest.fixture(params=[*REAL, *WRITTEN])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param in WRITTEN:
        return WRITTEN[request.param](tmp_path)
    path: Path = request.getfixturevalue("shared_data") / request.param
    return path


def theirs(path: Path) -> list[tuple[str, int, bytes, Any]]:
    """Topic, log time, content of each message, as the ecosystem's own reader has them."""
    if path.suffix == ".mcap" and not (path.parent / "metadata.yaml").exists():
        with path.open("rb") as file:
            return [
                (channel.topic, message.log_time, bytes(message.data), ROS2.deserialize_cdr(message.data, schema.name))
                for schema, channel, message in NonSeekingReader(file).iter_messages(log_time_order=False)
                if schema
            ]
    store = get_typestore(Stores.ROS2_HUMBLE)
    with AnyReader([path if path.suffix == ".bag" else path.parent], default_typestore=store) as reader:
        return [(c.topic, time, bytes(data), reader.deserialize(data, c.msgtype)) for c, time, data in reader.messages()]


def ours(file: Container) -> list[Message]:
    found = [
        each._replace(data=memoryview(bytes(each.data))) for each in file.messages(set(file.topics)) if isinstance(each, Message)
    ]
    return sorted(found, key=lambda each: each.log_time)


def same(mine: Any, other: Any, path: str = "") -> None:
    """Fails where a decoded value differs from what rosbags makes of it."""
    if isinstance(mine, dict):
        for key, each in mine.items():
            same(each, getattr(other, key), f"{path}.{key}")
    elif isinstance(mine, Stamp):
        assert mine == other.sec * 10**9 + other.nanosec, path
    elif isinstance(mine, list):
        assert len(mine) == len(other), path
        for one, another in zip(mine, other, strict=True):
            same(one, another, f"{path}[]")
    elif isinstance(mine, np.ndarray):
        assert mine.dtype.newbyteorder("=") == other.dtype or {mine.dtype.char, other.dtype.char} == {*"bB"}, (
            path
        )  # a `byte` has no sign
        assert np.array_equal(mine, other, equal_nan=mine.dtype.kind == "f"), path
    else:
        assert mine == other or mine != mine, path


def test_messages_are_those_of_other_readers(log: Path) -> None:
    with open_container(str(log)) as file:
        decoders = {name: decoder_of(topic) for name, topic in file.topics.items()}
        found, wanted = ours(file), sorted(theirs(log), key=lambda each: each[1])
        assert sorted((each.topic, each.log_time) for each in found) == sorted(each[:2] for each in wanted)
        for mine, other in zip(sorted(found, key=lambda m: (m[1], m[0])), sorted(wanted, key=lambda m: (m[1], m[0])), strict=True):
            same(decoders[mine.topic](mine.data), other[3], mine.topic)


def test_messages_are_found_again(log: Path) -> None:
    """By reference, in an open file and a closed one; and those that lie as they are, in the file itself."""
    with open_container(str(log)) as file:
        found = ours(file)
        content = log.read_bytes()
        for each in found:
            assert file.data(each.ref) == each.data
            place = file.place(each.ref, 2, len(each.data) - 2)
            assert place is None or content[place.offset : place.offset + place.length] == each.data[2:]
    for each in found[:3]:
        assert file.data(each.ref) == each.data


def test_counts_and_first_messages(log: Path) -> None:
    with open_container(str(log)) as file:
        found, firsts = ours(file), file.firsts()
        for name, topic in file.topics.items():
            mine = [each for each in found if each.topic == name]
            assert topic.messages in (None, len(mine))
            assert firsts[name].log_time == mine[0].log_time
            assert bytes(firsts[name].data) == bytes(mine[0].data)


def test_first_messages_cost_one_chunk(tmp_path: Path) -> None:
    """Where the index says which chunks hold what."""
    late = Sent("/late", START + 10**12, "std_msgs/msg/String", text("x"))
    path = write_mcap(tmp_path / "x.mcap", [*Robot(steps=200).sent(), late], "zstd", chunk=4000)
    with open_container(str(path)) as file:
        read, unpack = [], file.unpack  # type: ignore[attr-defined]
        file.unpack = lambda at: (read.append(at), unpack(at))[1]  # type: ignore[attr-defined]
        assert set(file.firsts()) == set(file.topics)
        assert len(read) <= 4


def test_a_topic_of_several_types_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "x.mcap"
    path.parent.mkdir(exist_ok=True)
    from mcap.writer import Writer

    with path.open("wb") as stream:
        writer = Writer(stream)
        writer.start()
        for kind in ("std_msgs/msg/String", "std_msgs/msg/Float64"):
            schema = writer.register_schema(kind, "ros2msg", ROS2.generate_msgdef(kind, ros_version=2)[0].encode())
            writer.add_message(writer.register_channel("/x", "cdr", schema), 1, b"\0\1\0\0\1\0\0\0\0", 1)
        writer.finish()
    with open_container(str(path)) as file:
        assert file.topics["/x"].encoding == "several"
        assert file.topics["/x"].messages == 2


def test_names_of_types() -> None:
    assert ros_type("sensor_msgs/Image") == ros_type("sensor_msgs/msg/Image") == "sensor_msgs/msg/Image"
    assert ros_type("sensor_msgs::msg::Image") == "sensor_msgs/msg/Image"
    assert ros_type("foxglove.RawImage") == "foxglove.RawImage"
    assert Topic("/x", "a/B", "cdr")._replace(messages=3).messages == 3
