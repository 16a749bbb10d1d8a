"""Logs for tests, written by the ecosystem's own writers: rosbags and mcap."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from mcap.writer import CompressionType
from mcap.writer import Writer as McapWriter
from rosbags.rosbag1 import Writer as BagWriter
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin
from rosbags.rosbag2 import Writer as Rosbag2Writer
from rosbags.typesys import Stores, get_typestore

from tests.contract.toy import jpeg

ROS1, ROS2 = get_typestore(Stores.ROS1_NOETIC), get_typestore(Stores.ROS2_HUMBLE)
Form = Literal["bag", "db3", "mcap"]
START = 1_700_000_000 * 10**9
MS = 10**6


class Sent(NamedTuple):
    """A message to write; times in nanoseconds."""

    topic: str
    time: int
    kind: str  # sensor_msgs/msg/Image
    message: Any
    published: int | None = None


class Robot(NamedTuple):
    """What a small robot records."""

    steps: int = 6
    period: int = 100 * MS
    joints: tuple[str, ...] = ("shoulder", "elbow", "hand")
    words: str = "lift block"
    seed: int = 0

    def joint(self, step: int) -> list[float]:
        return [step + number / 10 for number, _ in enumerate(self.joints)]

    def action(self, step: int) -> list[float]:
        return [self.seed + step, -step, step / 2]

    def pixels(self, step: int) -> np.ndarray[Any, Any]:
        """RGB uint8[6, 5, 3]"""
        return np.random.default_rng(1000 * self.seed + step).integers(0, 256, (6, 5, 3), dtype=np.uint8)

    def picture(self, step: int) -> bytes:
        return jpeg(1000 * self.seed + step)

    def sent(self, ros: int = 2) -> list[Sent]:
        """Its messages in the order of their log times: a state at once, a command 20 ms later, an image 30 ms late."""
        return sorted(self._sent(ros), key=lambda each: each.time)

    def _sent(self, ros: int) -> Iterator[Sent]:
        yield Sent("/instruction", START - MS, "std_msgs/msg/String", text(self.words, ros))
        for step in range(self.steps):
            time = START + step * self.period
            yield Sent("/joint_states", time, "sensor_msgs/msg/JointState", joint_state(time, self.joints, self.joint(step), ros))
            yield Sent(
                "/camera/eye/image_raw", time + 30 * MS, "sensor_msgs/msg/Image", raw(time, self.pixels(step), "bgr8", 3, ros)
            )
            encoded = compressed(time, self.picture(step), ros=ros)
            yield Sent("/camera/wrist/image_raw/compressed", time + 35 * MS, "sensor_msgs/msg/CompressedImage", encoded)
            yield Sent("/action", time + 20 * MS, "std_msgs/msg/Float64MultiArray", floats(self.action(step), ros=ros))


# Messages


def types(ros: int) -> Any:
    return (ROS1 if ros == 1 else ROS2).types


def header(time: int, ros: int = 2, frame: str = "base") -> Any:
    kinds = types(ros)
    stamp = kinds["builtin_interfaces/msg/Time"](sec=time // 10**9, nanosec=time % 10**9)
    more = {"seq": 0} if ros == 1 else {}
    return kinds["std_msgs/msg/Header"](stamp=stamp, frame_id=frame, **more)


def text(words: str, ros: int = 2) -> Any:
    return types(ros)["std_msgs/msg/String"](data=words)


def floats(values: Sequence[float], label: str = "", ros: int = 2) -> Any:
    kinds = types(ros)
    dims = [kinds["std_msgs/msg/MultiArrayDimension"](label=label, size=len(values), stride=len(values))] if label else []
    layout = kinds["std_msgs/msg/MultiArrayLayout"](dim=dims, data_offset=0)
    return kinds["std_msgs/msg/Float64MultiArray"](layout=layout, data=np.array(values, np.float64))


def joint_state(time: int, names: Sequence[str], position: Sequence[float], ros: int = 2) -> Any:
    empty = np.empty(0)
    return types(ros)["sensor_msgs/msg/JointState"](
        header=header(time, ros), name=list(names), position=np.array(position, np.float64), velocity=empty, effort=empty
    )


def raw(time: int, pixels: np.ndarray[Any, Any], encoding: str, padding: int = 0, ros: int = 2) -> Any:
    """An Image of RGB pixels, written in another order of channels and in rows with bytes behind them."""
    height, width = pixels.shape[:2]
    order = {"r": 0, "g": 1, "b": 2}
    named = [order[letter] for letter in encoding[:3]] if encoding[0] in order else [0]
    planes = [pixels[:, :, channel] for channel in named] + [np.full((height, width), 7, np.uint8)] * ("a" in encoding[3:4])
    rows = np.stack(planes, axis=2).reshape(height, -1)
    padded = np.pad(rows, ((0, 0), (0, padding)), constant_values=99)
    return types(ros)["sensor_msgs/msg/Image"](
        header=header(time, ros),
        height=height,
        width=width,
        encoding=encoding,
        is_bigendian=0,
        step=padded.shape[1],
        data=padded.ravel(),
    )


def compressed(time: int, data: bytes, form: str = "jpeg", ros: int = 2) -> Any:
    return types(ros)["sensor_msgs/msg/CompressedImage"](
        header=header(time, ros), format=form, data=np.frombuffer(data, np.uint8).copy()
    )


def pose(time: int, values: Sequence[float]) -> Any:
    """x, y, z and the quaternion x, y, z, w."""
    kinds = types(2)
    point = kinds["geometry_msgs/msg/Point"](*values[:3])
    quaternion = kinds["geometry_msgs/msg/Quaternion"](*values[3:])
    return kinds["geometry_msgs/msg/PoseStamped"](header(time), kinds["geometry_msgs/msg/Pose"](point, quaternion))


def twist(time: int, values: Sequence[float]) -> Any:
    kinds = types(2)
    vectors = [kinds["geometry_msgs/msg/Vector3"](*values[at : at + 3]) for at in (0, 3)]
    return kinds["geometry_msgs/msg/TwistStamped"](header(time), kinds["geometry_msgs/msg/Twist"](*vectors))


# Files


def write(path: Path, sent: Iterable[Sent], form: Form, packed: str = "", definitions: bool = True) -> Path:
    """A recording at a path: a file for `bag`, a folder for the others. `packed` is how its chunks or messages are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if form == "bag":
        write_bag(path, sent, packed)
    else:
        write_rosbag2(path, sent, form, packed)
    return path


def write_bag(path: Path, sent: Iterable[Sent], packed: str = "") -> None:
    writer = BagWriter(path)
    if packed:
        writer.set_compression(getattr(BagWriter.CompressionFormat, packed.upper()))
    with writer:
        connections: dict[str, Any] = {}
        for each in sent:
            if each.topic not in connections:
                connections[each.topic] = writer.add_connection(each.topic, each.kind, typestore=ROS1)
            writer.write(connections[each.topic], each.time, ROS1.serialize_ros1(each.message, each.kind))


def write_rosbag2(path: Path, sent: Iterable[Sent], form: Form, packed: str = "") -> None:
    writer = Rosbag2Writer(path, version=9, storage_plugin=StoragePlugin.SQLITE3 if form == "db3" else StoragePlugin.MCAP)
    if packed:
        writer.set_compression(CompressionMode[packed.upper()], CompressionFormat.ZSTD)
    with writer:
        connections: dict[str, Any] = {}
        for each in sent:
            if each.topic not in connections:
                connections[each.topic] = writer.add_connection(each.topic, each.kind, typestore=ROS2)
            writer.write(connections[each.topic], each.time, ROS2.serialize_cdr(each.message, each.kind))


def write_mcap(path: Path, sent: Iterable[Sent], packed: str = "zstd", chunk: int = 1 << 20, **options: Any) -> Path:
    """One MCAP file of CDR messages; a message that is a dict is written as JSON, bytes as they are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        compression = {"": CompressionType.NONE, "zstd": CompressionType.ZSTD, "lz4": CompressionType.LZ4}[packed]
        writer = McapWriter(file, chunk_size=chunk, compression=compression, **options)
        writer.start()
        channels: dict[str, int] = {}
        for number, each in enumerate(sent):
            if each.topic not in channels:
                channels[each.topic] = _channel(writer, each)
            data = (
                json.dumps(each.message).encode() if isinstance(each.message, dict) else ROS2.serialize_cdr(each.message, each.kind)
            )
            writer.add_message(
                channels[each.topic], each.time, bytes(data), each.time if each.published is None else each.published, number
            )
        writer.finish()
    return path


def _channel(writer: McapWriter, each: Sent) -> int:
    if isinstance(each.message, dict):
        return writer.register_channel(each.topic, "json", writer.register_schema(each.kind, "jsonschema", b"{}"))
    definition = ROS2.generate_msgdef(each.kind, ros_version=2)[0].encode()
    return writer.register_channel(each.topic, "cdr", writer.register_schema(each.kind, "ros2msg", definition))


def write_robots(folder: Path) -> Path:
    """The same kind of recording in every form, and one that was cut behind its first chunks."""
    write(folder / "a.bag", Robot(seed=1).sent(ros=1), "bag", "lz4")
    write(folder / "b", Robot(seed=2).sent(), "db3")
    write(folder / "c", Robot(seed=3).sent(), "mcap")
    write_mcap(folder / "d.mcap", Robot(seed=4).sent(), "")
    whole = write_mcap(folder / "e10.mcap", Robot(seed=5, steps=12).sent(), "zstd", chunk=2000)
    whole.write_bytes(whole.read_bytes()[:-9000])
    return folder
