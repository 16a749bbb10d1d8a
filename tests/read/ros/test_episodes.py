"""Recordings as episodes: against what was recorded otherwise, by every clock, with joints, images and words as they come."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from rt2data.errors import UsageError
from rt2data.images.headers import ImageFault
from rt2data.read.ros.source import Ros
from rt2data.records import Fact, Reject, Step
from tests.read.ros.test_decode import file_set, message_class
from tests.read.ros.writing import (
    MS,
    ROS2,
    START,
    Robot,
    Sent,
    compressed,
    floats,
    joint_state,
    pose,
    raw,
    text,
    twist,
    types,
    write,
    write_mcap,
)


def read(path: Path | str, space: str = "generic_nd", **settings: Any) -> list[Any]:
    source = Ros(path=str(path), action_space=space, **settings)
    return [record for unit in source.units() for record in source.read(unit)]


def steps_of(records: Sequence[Any]) -> list[Step]:
    return [record for record in records if isinstance(record, Step)]


def rejects(records: Sequence[Any]) -> dict[str, int]:
    return {record.reason: record.count for record in records if isinstance(record, Reject)}


def facts(records: Sequence[Any]) -> Counter[str]:
    found: Counter[str] = Counter()
    for record in records:
        if isinstance(record, Fact):
            found[record.name] += record.count
    return found


def pixels(step: Step, camera: str) -> Any:
    return next(image for image in step.images if image.camera == camera).content()


# Real logs


def test_metaworld_is_what_was_recorded_beside_it(shared_data: Path) -> None:
    """The same episode in robomimic's HDF5: each image has the state that it was taken at and the action that followed."""
    h5py = pytest.importorskip("h5py")
    path = shared_data / "sim_metaworld_mcap" / "episode_0000.mcap"
    found = steps_of(read(path, "metaworld", cameras="all"))
    with h5py.File(shared_data / "sim_metaworld_hdf5" / "metaworld.hdf5") as file:
        demo = file["data/demo_0"]
        numbers = [step.step for step in found]
        assert numbers == [number for number in range(91) if number != 61]  # whose image was lost
        assert np.array_equal([step.action for step in found], demo["actions"][:][numbers])
        assert np.array_equal([step.state for step in found], demo["obs/robot0_proprio"][:][numbers].astype(np.float32))
        assert np.allclose([step.reward for step in found], demo["rewards"][:][numbers])
        for camera in ("corner2", "gripperPOV"):
            images = demo[f"obs/{camera}_image"][:].astype(float)
            for step in found[::9]:
                seen = Pillow.open(io.BytesIO(bytes(pixels(step, camera)))).resize((128, 128), Pillow.Resampling.BOX)
                assert np.argmin(((images - np.asarray(seen)) ** 2).mean((1, 2, 3))) == step.step
    assert {step.instruction for step in found} == {"Open a drawer"}


def test_metaworld_episodes_lack_what_was_lost(shared_data: Path) -> None:
    found = read(shared_data / "sim_metaworld_mcap", "metaworld", cameras="all")
    lacking: dict[str, set[int]] = {}
    for step in steps_of(found):
        lacking.setdefault(step.episode, set(range(step.steps))).discard(step.step)
    assert lacking == {"episode_0000": {61}, "episode_0010": {9, 50}, "episode_0020": {39, 45, 48, 83, 146}}
    counted = facts(found)
    assert counted["ros.missing_steps"] == 5 and counted["ros.late_messages"] > 0
    assert 5_000 < counted["ros.skew_us"] / counted["ros.stamped_messages"] < 16_000
    assert len(steps_of(read(shared_data / "sim_metaworld_mcap", "metaworld"))) == 345  # of one camera


def test_language_table_acts_on_what_it_sees(shared_data: Path) -> None:
    """The command that follows an image moves the arm before the next image; the one before has moved it already."""
    found = steps_of(read(shared_data / "sim_language_table_mcap", "language_table"))
    assert len({step.episode for step in found}) == 5 and len(found) == 223
    assert _lag(found) == 0
    assert _lag(steps_of(read(shared_data / "sim_language_table_mcap", "language_table", commands="hold"))) == 1


def _lag(found: Sequence[Step]) -> int:
    """By how many steps actions come too late: where they agree best with the motion of the state."""
    pairs = {lag: ([], []) for lag in (-1, 0, 1)}  # type: ignore[var-annotated]
    by_step = {(step.episode, step.step): step for step in found}
    for (episode, number), step in by_step.items():
        after = by_step.get((episode, number + 1))
        for lag, (actions, motions) in pairs.items():
            if after is not None and (other := by_step.get((episode, number + lag))):
                actions.append(other.action[:2])
                motions.append(np.subtract(after.state, step.state)[:2])
    agreement = {lag: sum(np.corrcoef(np.array(a)[:, i], np.array(m)[:, i])[0, 1] for i in (0, 1)) for lag, (a, m) in pairs.items()}
    return max(agreement, key=lambda lag: agreement[lag])


def test_bridge_is_the_same_by_ros_1_and_ros_2(shared_data: Path) -> None:
    one, two = (read(shared_data / "ros_bridge" / name, "widowx_bridge") for name in ("bridge_10.bag", "bridge_10_mcap"))
    assert rejects(one) == rejects(two) == {"no_action": 1}
    first, second = steps_of(one), steps_of(two)
    assert len(first) == len(second) == 23 and _lag(first) == 0
    for mine, other in zip(first, second, strict=True):
        assert np.array_equal(mine.action, other.action) and np.array_equal(mine.state, other.state)
        assert (mine.instruction, mine.timestamp, mine.step) == (other.instruction, other.timestamp, other.step)
        assert bytes(pixels(mine, "color")) == bytes(pixels(other, "color"))
        assert mine.images[0].place and other.images[0].place
    assert facts(one) == facts(two)


# Forms


@pytest.mark.parametrize("form", ["bag", "bag lz4", "bag bz2", "db3", "db3 message", "mcap", "mcap message"])
def test_every_form_reads_alike(form: str, tmp_path: Path) -> None:
    robot, (name, _, packed) = Robot(), form.partition(" ")
    path = write(tmp_path / "x.bag" if name == "bag" else tmp_path / "x", robot.sent(1 + (name != "bag")), name, packed)  # type: ignore[arg-type]
    found = read(path, cameras="all")
    assert rejects(found) == {}
    for number, step in enumerate(steps_of(found)):
        assert step.action.tolist() == robot.action(number)
        assert np.allclose(np.asarray(step.state), robot.joint(number))
        assert np.array_equal(pixels(step, "eye"), robot.pixels(number))
        assert bytes(pixels(step, "wrist")) == robot.picture(number)
        assert (step.instruction, step.timestamp) == (robot.words, (START + number * robot.period) / 1e9)
    assert len(steps_of(found)) == robot.steps


def test_databases_before_iron_have_no_definitions(tmp_path: Path) -> None:
    import sqlite3

    path = write(tmp_path / "x", Robot().sent(), "db3")
    database = sqlite3.connect(path / "x.db3")
    with database:
        database.execute("DROP TABLE message_definitions")
    database.close()
    assert len(steps_of(read(path))) == 6


def test_a_recording_of_several_files(tmp_path: Path) -> None:
    robot = Robot(steps=12)
    path = write(tmp_path / "x", robot.sent(), "mcap")
    whole, sent = steps_of(read(path)), robot.sent()
    for number, part in enumerate((sent[:20], sent[20:45], sent[45:])):
        write_mcap(path / f"x_{number}.mcap", part)
    (path / "x.mcap").unlink()
    text_of = (path / "metadata.yaml").read_text()
    (path / "metadata.yaml").write_text(text_of.replace("  - x.mcap", "  - x_0.mcap\n  - x_1.mcap\n  - x_2.mcap"))
    for rewritten in (True, False):  # also where the recorder died before it wrote the metadata
        if not rewritten:
            (path / "metadata.yaml").unlink()
        found = steps_of(read(tmp_path))
        assert [step.action.tolist() for step in found] == [step.action.tolist() for step in whole]
        assert [bytes(pixels(step, "wrist")) for step in found] == [robot.picture(number) for number in range(12)]


def test_json(tmp_path: Path) -> None:
    from base64 import b64encode

    robot, sent = Robot(), []
    for step in range(4):
        time = START + step * robot.period
        stamp = {"sec": time // 10**9, "nsec": time % 10**9}
        image = {"timestamp": stamp, "format": "jpeg", "data": b64encode(robot.picture(step)).decode()}
        sent += [
            Sent("/camera/front", time + 30 * MS, "foxglove.CompressedImage", image),
            Sent("/arm", time, "Arm", {"stamp": stamp, "joints": [1.0 * step, 2], "gripper": {"open": True}}),
            Sent("/cmd", time + 20 * MS, "Command", {"delta": {"x": step, "y": -1}, "grip": 0.5}),
            Sent("/task", time, "Task", {"prompt": f"lift {step // 2}"}),
        ]
    path = write_mcap(tmp_path / "x.mcap", sorted(sent, key=lambda each: each.time))
    found = steps_of(read(path, state="/arm"))
    assert [step.action.tolist() for step in found] == [[step, -1, 0.5] for step in range(4)]
    assert [np.asarray(step.state).tolist() for step in found] == [[step, 2, 1] for step in range(4)]
    assert [step.instruction for step in found] == ["lift 0", "lift 0", "lift 1", "lift 1"]
    assert bytes(pixels(found[2], "front")) == robot.picture(2)


def test_protobuf(tmp_path: Path) -> None:
    from mcap.writer import Writer

    kind = message_class(file_set(), "robot.Action")
    with (tmp_path / "x.mcap").open("wb") as file:
        writer = Writer(file)
        writer.start()
        schema = writer.register_schema("robot.Action", "protobuf", file_set())
        channel = writer.register_channel("/action", "protobuf", schema)
        for step in range(3):
            message = kind(values=[step, 2], inner={"x": 3})
            message.timestamp.seconds = 100 + step
            writer.add_message(channel, (200 + step) * 10**9, message.SerializeToString(), (200 + step) * 10**9)
        writer.finish()
    found = steps_of(read(tmp_path / "x.mcap", action="/action.values", state="/action.inner.x"))
    assert [step.action.tolist() for step in found] == [[0, 2], [1, 2], [2, 2]]
    assert [step.timestamp for step in found] == [100, 101, 102]


def test_numbers_of_other_types(tmp_path: Path) -> None:
    """Poses with x, y, z, w, twists, single numbers and flags, by the path of a number or of a group."""
    sent = []
    for step in range(3):
        time = START + step * 100 * MS
        sent += [
            Sent("/ee_pose", time, "geometry_msgs/msg/PoseStamped", pose(time, [step, 1, 2, 0.1, 0.2, 0.3, 0.9])),
            Sent("/cmd_vel", time + MS, "geometry_msgs/msg/TwistStamped", twist(time + MS, [step, 1, 2, 3, 4, 5])),
            Sent("/gripper", time, "std_msgs/msg/Float64", types(2)["std_msgs/msg/Float64"](data=step / 4)),
            Sent("/done", time, "std_msgs/msg/Bool", types(2)["std_msgs/msg/Bool"](data=step == 2)),
            Sent("/success", time, "std_msgs/msg/Bool", types(2)["std_msgs/msg/Bool"](data=step == 2)),
        ]
    path = write_mcap(tmp_path / "x.mcap", sent)
    state = ("/ee_pose.pose", "/ee_pose.pose.position.x", "/gripper.data", "/done.data")
    found = steps_of(read(path, state=state, clock_topic="/ee_pose", action=("/cmd_vel", "/cmd_vel.twist.angular[1:3]")))
    assert np.allclose(np.asarray(found[1].state), [1, 1, 2, 0.1, 0.2, 0.3, 0.9, 1, 0.25, 0])
    assert found[1].action.tolist() == [1, 1, 2, 3, 4, 5, 4, 5]
    assert found[-1].success is True and found[0].success is None
    names = {column.path: column.names for column in Ros(path=str(path), action_space="generic_nd").columns()}
    assert names["/ee_pose.pose"][3:] == ("orientation.x", "orientation.y", "orientation.z", "orientation.w")


def test_labels_name_numbers(shared_data: Path) -> None:
    source = Ros(path=str(shared_data / "sim_metaworld_mcap"), action_space="metaworld")
    names = {column.path: column.names for column in source.columns()}
    assert names["/action.data"] == ("dx", "dy", "dz", "gripper")
    assert names["/joint_states.position"] == ("hand_x", "hand_y", "hand_z", "gripper")


# Times


def skewed(lag: int = 0, steps: int = 6, epoch: int = 0) -> list[Sent]:
    """Images with stamps that are logged late, by `lag`; commands without stamps 20 ms after each image was taken."""
    robot, sent = Robot(), []
    for step in range(steps):
        time = START + step * 100 * MS
        image = compressed(time + epoch, robot.picture(step))
        sent.append(Sent("/cam/compressed", time + lag, "sensor_msgs/msg/CompressedImage", image, time + 5 * MS))
        sent.append(Sent("/action", time + 20 * MS, "std_msgs/msg/Float64MultiArray", floats([step]), time + 20 * MS))
    return sorted(sent, key=lambda each: each.time)


def actions(records: Sequence[Any]) -> list[tuple[int, float]]:
    return [(record.step, float(record.action[0])) for record in steps_of(records)]


def test_the_clock_decides(tmp_path: Path) -> None:
    """Images that are logged 130 ms late: by the log the command is that of a later step."""
    path = write_mcap(tmp_path / "x.mcap", skewed(130 * MS))
    right = [(step, float(step)) for step in range(6)]
    assert actions(read(path)) == actions(read(path, clock="header")) == actions(read(path, clock="publish")) == right
    assert actions(read(path, clock="log")) == [(step, step + 2.0) for step in range(4)]
    assert facts(read(path))["ros.skew_us"] == 6 * 130_000


def test_commands_that_follow_or_are_held(tmp_path: Path) -> None:
    path = write_mcap(tmp_path / "x.mcap", skewed())
    assert actions(read(path, commands="hold")) == [(step, float(step)) for step in range(5)]
    found = read(path, commands="hold")
    assert rejects(found) == {"no_action": 1} and steps_of(found)[0].timestamp == (START + 100 * MS) / 1e9


def test_stamps_of_another_clock_are_refused(tmp_path: Path) -> None:
    path = write_mcap(tmp_path / "x.mcap", skewed(epoch=-(10**17)))
    found = read(path)
    assert not steps_of(found) and rejects(found) == {"clocks_differ": 1}
    detail = next(record.detail for record in found if isinstance(record, Reject))
    assert "/cam/compressed is stamped 100,000,000.0 s before it is logged, and /action has no stamps: set `clock: log`" in detail
    assert len(actions(read(path, clock="log"))) == 6


def test_stamps_of_zero_are_none(tmp_path: Path) -> None:
    path = write_mcap(tmp_path / "x.mcap", skewed(epoch=-START - 10**12))  # sec and nanosec cannot be below 0
    assert Ros(path=str(path), action_space="generic_nd")


def test_even_steps_by_control_hz(tmp_path: Path) -> None:
    path = write_mcap(tmp_path / "x.mcap", skewed(steps=11))
    slow = read(path, control_hz=5)
    assert actions(slow) == [(step, 2.0 * step) for step in range(6)]
    assert facts(slow)["ros.unused_commands"] == 5
    fast = steps_of(read(path, control_hz=20, commands="hold"))
    assert [float(step.action[0]) for step in fast] == [n // 2 for n in range(20)]
    settings = Ros(path=str(path), action_space="generic_nd")
    assert settings.prepare_settings() != settings.model_copy(update={"control_hz": 5.0}).prepare_settings()


def test_steps_of_a_named_topic(tmp_path: Path) -> None:
    path = write_mcap(tmp_path / "x.mcap", skewed())
    found = read(path, clock_topic="/action")
    assert [step.timestamp for step in steps_of(found)] == [(START + step * 100 * MS + 20 * MS) / 1e9 for step in range(6)]
    with pytest.raises(UsageError, match="there is no topic '/nowhere'"):
        read(path, clock_topic="/nowhere")


def test_tolerance(tmp_path: Path) -> None:
    path = write(tmp_path / "x.bag", Robot().sent(ros=1), "bag")
    late = [
        each._replace(message=joint_state(each.time + 40 * MS, "ab", [1, 2], 1)) if each.topic == "/joint_states" else each
        for each in Robot().sent(1)
    ]
    write(tmp_path / "late.bag", late, "bag")
    assert len(steps_of(read(path, tolerance_ms=0.001))) == 6
    assert len(steps_of(read(tmp_path / "late.bag"))) == 6
    assert rejects(read(tmp_path / "late.bag", tolerance_ms=39)) == {"no_state": 6, "empty_episode": 6}


def test_times_that_go_back_and_repeat(tmp_path: Path) -> None:
    """Sorted by time; what is there twice is a step once."""
    sent = skewed()
    shuffled = [sent[n] for n in np.random.default_rng(0).permutation(len(sent))]
    path = write_mcap(tmp_path / "x.mcap", [*shuffled, *sent[:2]])
    found = read(path)
    assert actions(found) == [(step, float(step)) for step in range(6)]
    assert facts(found)["ros.repeated_times"] == 1 and facts(found)["ros.late_messages"] > 0


def test_a_lost_image_leaves_a_gap(tmp_path: Path) -> None:
    sent = [
        each for each in skewed(steps=10) if not (each.topic == "/cam/compressed" and (each.time - START) // (100 * MS) in (3, 4))
    ]
    found = read(write_mcap(tmp_path / "x.mcap", sent))
    assert actions(found) == [(step, float(step)) for step in (0, 1, 2, 5, 6, 7, 8, 9)]
    assert {step.steps for step in steps_of(found)} == {10}
    assert facts(found)["ros.missing_steps"] == 2


def test_a_lost_command_drops_its_step(tmp_path: Path) -> None:
    sent = [each for each in skewed(steps=6) if not (each.topic == "/action" and (each.time - START) // (100 * MS) == 2)]
    found = read(write_mcap(tmp_path / "x.mcap", sent))
    assert actions(found) == [(step, float(step)) for step in (0, 1, 3, 4, 5)]
    assert rejects(found) == {"no_action": 1}


def test_times_beyond_reason(tmp_path: Path) -> None:
    """The last second that a file can name, and negative stamps."""
    sent = [*skewed(), Sent("/action", 2**64 - 1, "std_msgs/msg/Float64MultiArray", floats([9]))]
    path = write_mcap(tmp_path / "x.mcap", sent)
    assert len(actions(read(path))) == 6
    sent.append(Sent("/cam/compressed", 2**64 - 1, "sensor_msgs/msg/CompressedImage", compressed(0, Robot().picture(1))))
    path = write_mcap(tmp_path / "y.mcap", sent)
    assert rejects(read(path, control_hz=1000)) == {"wild_times": 1}
    assert len(actions(read(path))) == 7


# Joints


def joints(*names: Sequence[str], **settings: Any) -> list[Sent]:
    sent = skewed(steps=len(names))
    for step, each in enumerate(names):
        time = START + step * 100 * MS
        message = joint_state(time, each, [ord(name) for name in each])
        sent.append(Sent("/joint_states", time, "sensor_msgs/msg/JointState", message))
    return sorted(sent, key=lambda each: each.time)


def states(records: Sequence[Any]) -> list[str]:
    return ["".join(chr(int(value)) for value in np.asarray(step.state)) for step in steps_of(records)]


def test_joints_are_matched_by_name(tmp_path: Path) -> None:
    path = write_mcap(tmp_path / "x.mcap", joints("abc", "cba", "bca", "abcd"))
    assert states(read(path)) == ["abc"] * 4
    assert states(read(path, joints=("c", "a"))) == ["ca"] * 4


def test_missing_joints_are_a_fault(tmp_path: Path) -> None:
    path = write_mcap(tmp_path / "x.mcap", joints("abc", "ab", "abc", "abc"))
    found = read(path)
    assert states(found) == ["abc"] * 3 and [step.step for step in steps_of(found)] == [0, 2, 3]
    lost = [record for record in found if isinstance(record, Reject)]
    assert [(each.reason, each.fault, each.count) for each in lost] == [("missing_joints", True, 1), ("no_state", False, 1)]
    assert lost[0].detail == "joints are missing: c"
    assert states(read(path, joints=("b", "a"))) == ["ba"] * 4


def test_joints_of_other_writers_are_passed_over(tmp_path: Path) -> None:
    sent = sorted(
        [*joints("ab", "ab", "ab"), *[e for e in joints("xy", "xy", "xy") if e.topic == "/joint_states"]], key=lambda e: e.time
    )
    found = read(write_mcap(tmp_path / "x.mcap", sent))
    assert states(found) == ["ab"] * 3 and facts(found)["ros.other_joints"] == 3
    with pytest.raises(UsageError, match="no joint"):
        list(_raise_invalid(Ros(path=str(tmp_path / "x.mcap"), action_space="generic_nd", joints=("q",))))


def _raise_invalid(source: Ros) -> Any:
    for found in source.invalid_settings():
        raise UsageError(found.message)
    yield


# Images


def imaged(tmp_path: Path, *messages: Any, kind: str = "sensor_msgs/msg/Image") -> list[Any]:
    sent = []
    for step, message in enumerate(messages):
        sent.append(Sent("/cam", START + step * 100 * MS, kind, message))
        sent.append(Sent("/action", START + step * 100 * MS, "std_msgs/msg/Float64MultiArray", floats([step])))
    return read(write_mcap(tmp_path / "x.mcap", sent), camera_features={"cam": "/cam"})


@pytest.mark.parametrize("padding", [0, 1, 13])
@pytest.mark.parametrize("encoding", ["rgb8", "bgr8", "rgba8", "bgra8", "mono8"])
def test_raw_images_are_rgb(encoding: str, padding: int, tmp_path: Path) -> None:
    """Rows may have bytes behind them; a fourth channel is left out."""
    drawn = [Robot().pixels(step) for step in range(2)]
    found = steps_of(imaged(tmp_path, *(raw(START + n * 100 * MS, each, encoding, padding) for n, each in enumerate(drawn))))
    for step, wanted in zip(found, drawn, strict=True):
        seen = step.images[0].content()
        assert isinstance(seen, np.ndarray) and seen.dtype == np.uint8 and seen.flags.c_contiguous
        assert np.array_equal(seen, wanted[:, :, :1] if encoding == "mono8" else wanted)


def test_encodings_that_are_not_read_are_named(tmp_path: Path) -> None:
    good = raw(START, Robot().pixels(0), "rgb8")
    depth = types(2)["sensor_msgs/msg/Image"](
        header=raw(START + 100 * MS, Robot().pixels(0), "rgb8").header,
        height=2,
        width=2,
        encoding="16UC1",
        is_bigendian=0,
        step=4,
        data=np.zeros(8, np.uint8),
    )
    with pytest.raises(UsageError, match="there is no feature `/cam`"):
        imaged(tmp_path, depth)
    described = Ros(path=str(tmp_path / "x.mcap"), action_space="generic_nd").describe()
    assert described["not_read"] == {"/cam": "unknown_encoding: '16UC1': known are rgb8, bgr8, rgba8, bgra8, mono8, 8UC1"}
    later = steps_of(imaged(tmp_path, good, depth))
    with pytest.raises(ImageFault, match="16UC1"):
        later[1].images[0].content()


@pytest.mark.parametrize("change", [{"step": 2}, {"height": 9}, {"width": 2**31}, {"height": 0}, {"data": np.zeros(3, np.uint8)}])
def test_sizes_that_do_not_fit(change: dict[str, Any], tmp_path: Path) -> None:
    good, bad = (raw(START + n * 100 * MS, Robot().pixels(0), "rgb8") for n in range(2))
    for name, value in change.items():
        setattr(bad, name, value)
    found = steps_of(imaged(tmp_path, good, bad))
    with pytest.raises(ImageFault, match="_size"):
        found[1].images[0].content()


def test_what_only_claims_to_be_compressed(tmp_path: Path) -> None:
    good = compressed(START, Robot().picture(0))
    for data, form in ((b"", "jpeg"), (b"\0" * 12 + b"\x89PNG\r\n\x1a\n", "16UC1; compressedDepth png"), (b"\0\0\0\1g", "h264")):
        bad = compressed(START + 100 * MS, data, form)
        found = steps_of(imaged(tmp_path, good, bad, kind="sensor_msgs/msg/CompressedImage"))
        assert bytes(found[0].images[0].content()) == Robot().picture(0)
        assert found[1].images[0].place is None
        with pytest.raises(ImageFault):
            found[1].images[0].content()


def test_raw_images_of_a_camera_that_is_encoded_too(tmp_path: Path) -> None:
    robot, sent = Robot(), []
    for step in range(3):
        time = START + step * 100 * MS
        sent.append(Sent("/front/image_raw", time, "sensor_msgs/msg/Image", raw(time, robot.pixels(step), "rgb8")))
        encoded = compressed(time, robot.picture(step), "rgb8; jpeg compressed bgr8")
        sent.append(Sent("/front/image_raw/compressed", time, "sensor_msgs/msg/CompressedImage", encoded))
        sent.append(Sent("/action", time, "std_msgs/msg/Float64MultiArray", floats([step])))
    found = steps_of(read(write_mcap(tmp_path / "x.mcap", sent)))
    assert [image.camera for image in found[0].images] == ["front"]
    assert bytes(pixels(found[0], "front")) == robot.picture(0)


def test_a_camera_that_no_one_wants_costs_no_step(tmp_path: Path) -> None:
    robot = Robot(steps=6)
    sent = [each for each in robot.sent() if not (each.topic.startswith("/camera/wrist") and each.time > START + 250 * MS)]
    path = write_mcap(tmp_path / "x.mcap", sent)
    found = read(path, camera="eye")
    assert [len(step.images) for step in steps_of(found)] == [2, 2, 2, 1, 1, 1] and rejects(found) == {}
    assert len(steps_of(read(path, camera="wrist"))) == len(steps_of(read(path, cameras=("wrist", "eye")))) == 3


# Words


def worded(tmp_path: Path, *sent: tuple[int, str]) -> list[str]:
    words = [Sent("/instruction", START + time * MS, "std_msgs/msg/String", text(said)) for time, said in sent]
    path = write_mcap(tmp_path / "x.mcap", sorted([*skewed(), *words], key=lambda each: each.time))
    return [step.instruction for step in steps_of(read(path))]


def test_words(tmp_path: Path) -> None:
    assert worded(tmp_path, (-1000, "lift")) == ["lift"] * 6
    assert worded(tmp_path, (250, "lift")) == ["lift"] * 6  # one instruction is the episode's, whenever it was said
    assert worded(tmp_path, (-5, "lift"), (250, "put")) == ["lift"] * 3 + ["put"] * 3
    assert worded(tmp_path, (150, "lift"), (250, "put")) == ["", "", "lift", "put", "put", "put"]


def test_words_that_are_not_utf8(tmp_path: Path) -> None:
    path = write_mcap(
        tmp_path / "x.mcap", [*skewed(), Sent("/instruction", START, "std_msgs/msg/String", text("lift XX"))], "", enable_crcs=False
    )
    path.write_bytes(path.read_bytes().replace(b"lift XX", b"lift \xff\xfe"))
    found = read(path)
    assert rejects(found) == {"bad_text": 1} and not steps_of(found)


# Sizes


def test_numbers_of_different_widths(tmp_path: Path) -> None:
    sent = [
        each._replace(message=floats([1, 2])) if each.topic == "/action" and each.time > START + 300 * MS else each
        for each in skewed()
    ]
    found = read(write_mcap(tmp_path / "x.mcap", sent))
    assert not steps_of(found) and rejects(found) == {"ragged_episode": 1}


def test_an_empty_recording(tmp_path: Path) -> None:
    write_mcap(tmp_path / "a.mcap", skewed())
    write_mcap(tmp_path / "b.mcap", [])
    write_mcap(tmp_path / "c.mcap", [each for each in skewed() if each.topic == "/action"])
    found = read(tmp_path)
    assert len(steps_of(found)) == 6 and rejects(found) == {"missing_topic": 1}
    assert ROS2


def test_one_step(tmp_path: Path) -> None:
    assert actions(read(write_mcap(tmp_path / "x.mcap", skewed(steps=1)))) == [(0, 0.0)]
