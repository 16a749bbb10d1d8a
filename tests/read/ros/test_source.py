"""The source in recipes and commands: recognized, suggested, named, checked, built."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rt2data.build import Site, build_plainly
from rt2data.cli.app import app
from rt2data.errors import UsageError
from rt2data.look.verify import verify
from rt2data.plan.recipe import RecipeError, parse_recipe, read_recipe
from rt2data.plan.source_notes import times_line
from rt2data.read.rlds.source import open_dataset
from rt2data.read.ros.facts import commands_line
from rt2data.read.ros.recordings import natural, recordings
from rt2data.read.ros.source import Ros
from rt2data.read.source import recognize
from rt2data.records import Step
from tests.read.ros.test_episodes import read, skewed, steps_of
from tests.read.ros.writing import MS, START, Robot, Sent, compressed, floats, joint_state, raw, text, write, write_mcap

REAL = {
    "ros_bridge": (
        "/ee_state.data",
        "/language_instruction.data",
        {"color": "/camera/color/image_raw/compressed"},
        "widowx_bridge",
    ),
    "ros_bridge/bridge_10.bag": (
        *("/ee_state.data", "/language_instruction.data"),
        *({"color": "/camera/color/image_raw/compressed"}, "widowx_bridge"),
    ),
    "sim_metaworld_mcap": (
        *("/joint_states.position", "/instruction.data"),
        *({name: f"/camera/{name}/image/compressed" for name in ("corner2", "gripperPOV")}, "metaworld"),
    ),
    "sim_language_table_mcap": (
        *("/joint_states.position", "/instruction.data"),
        *({"rgb": "/camera/rgb/image/compressed"}, "language_table"),
    ),
}


@pytest.mark.parametrize("path", REAL)
def test_real_logs_are_suggested_whole(path: str, shared_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is suggested reads the log, with nothing added by hand."""
    state, instruction, cameras, space = REAL[path]
    assert not app(["inspect", str(shared_data / path), "--suggest"], standalone_mode=False)
    said = capsys.readouterr().out
    recipe = parse_recipe(f"robot_frac: 1\n{said}", "mixture.yaml", Path("/here"))
    (source,) = recipe.robot.values()
    assert isinstance(source, Ros)
    given = (source.action, source.state, source.instruction, source.camera_features, source.action_space)
    assert given == (("/action.data",), (state,), instruction, cameras, space)
    steps = [record for unit in source.units() for record in source.read(unit) if isinstance(record, Step)]
    assert len(steps) > 20 and all(step.instruction and step.images for step in steps)


def test_other_folders_are_not_taken(shared_data: Path, tmp_path: Path) -> None:
    for path in ("rlds_bridge", "hdf5_robomimic", "coco_web", "lerobot_v21_g1", "wds_img2dataset/shard-0013.tar"):
        assert Ros.recognize(shared_data / path) is None and Ros.hint(shared_data / path) is None
    (tmp_path / "x.db3").write_bytes(b"notes")
    assert Ros.recognize(tmp_path / "x.db3") is None


def test_a_log_in_another_place_is_named(shared_data: Path) -> None:
    with pytest.raises(UsageError, match="this is a folder of ROS bags or MCAP logs"):
        open_dataset(str(shared_data / "ros_bridge"))
    found = recognize(shared_data / "ros_bridge" / "bridge_10.bag")
    assert found is not None and (found.what, found.do) == ("a ROS 1 bag", "name it as a source of kind ros")


def test_what_is_no_log_is_named(shared_data: Path, tmp_path: Path) -> None:
    source = Ros(path=str(shared_data / "hdf5_robomimic"), action_space="generic_nd")
    with pytest.raises(UsageError, match=r"no \.mcap, \.bag or \.db3 file: this is a folder of HDF5 files"):
        source.units()


def test_help_and_other_recipes_stay_light() -> None:
    """The libraries are imported when a log is read."""
    script = (
        "import sys; from rt2data.read.source import source_class; source_class('ros');"
        "print(*[name for name in ('mcap', 'rosbags', 'lz4', 'zstandard', 'google.protobuf', 'apsw') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split() == []


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_mcap(tmp_path / "x.mcap", skewed())
    monkeypatch.setitem(sys.modules, "mcap", None)
    with pytest.raises(UsageError, match="read by the package mcap, which is not installed") as caught:
        read(path)
    assert caught.value.do == "pip install 'rt2data[ros]'"


# Which topic is what


def topics(tmp_path: Path, *names: str) -> Path:
    robot, sent = Robot(), []
    for step in range(3):
        time = START + step * 100 * MS
        sent.append(Sent("/cam/compressed", time, "sensor_msgs/msg/CompressedImage", compressed(time, robot.picture(step))))
        sent += [Sent(name, time + MS, "std_msgs/msg/Float64MultiArray", floats([step, 1.0])) for name in names]
    return write_mcap(tmp_path / "x.mcap", sent)


def test_two_topics_that_could_be_the_action(tmp_path: Path) -> None:
    """The recipe must name one; a suggestion takes the one that is called so."""
    path = topics(tmp_path, "/action", "/gripper_command")
    with pytest.raises(UsageError, match="2 topics could be the action: /action, /gripper_command"):
        read(path)
    found = list(Ros(path=str(path), action_space="generic_nd").invalid_settings())
    assert [each.setting for each in found] == [("action",)] and "/action, /gripper_command" in found[0].message
    assert len(steps_of(read(path, action="/action.data"))) == 3
    both = steps_of(read(path, action=("/action.data", "/gripper_command.data[0:1]")))
    assert both[2].action.tolist() == [2, 1, 2]
    suggested = Ros.recognize(path)
    assert suggested is not None and suggested.settings["action"] == "/action.data"


def test_no_topic_that_could_be_the_action(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no feature is known to be the action") as caught:
        read(topics(tmp_path, "/arm"))
    assert "/arm.data" in caught.value.where


@pytest.mark.parametrize(
    ("names", "action"),
    [
        (("/cmd_vel", "/joint_pose"), "/cmd_vel.data"),
        (("/arm/commands", "/arm/state"), "/arm/commands.data"),
        (("/desiredPose", "/tcp_pose"), "/desiredPose.data"),
        (("/left/action", "/right/action"), None),
    ],
)
def test_names_of_actions(names: tuple[str, ...], action: str | None, tmp_path: Path) -> None:
    found = Ros.recognize(topics(tmp_path, *names))
    assert found is not None and found.settings.get("action") == action


def test_few_commands_are_held(tmp_path: Path) -> None:
    robot, sent = Robot(), []
    for step in range(12):
        time = START + step * 100 * MS
        sent.append(Sent("/cam/compressed", time, "sensor_msgs/msg/CompressedImage", compressed(time, robot.picture(step))))
        if step % 4 == 0:
            sent.append(Sent("/action", time, "std_msgs/msg/Float64MultiArray", floats([step])))
    found = Ros.recognize(write_mcap(tmp_path / "x.mcap", sent))
    assert found is not None and found.settings["commands"] == "hold"
    records = read(tmp_path / "x.mcap", commands="hold")
    assert [float(step.action[0]) for step in steps_of(records)] == [0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8]
    assert commands_line({"ros.steps": 12, "ros.repeated_commands": 9}) == "9 commands are the action of more than one step"
    assert commands_line({"ros.steps": 12, "ros.unused_commands": 2}) == times_line({}) == ""


@pytest.mark.parametrize(
    ("given", "names"),
    [
        (("/camera/image_raw", "/x"), ["camera"]),
        (("/camera/color/image_raw/compressed",), ["color"]),
        (("/cam_high/image_raw", "/cam_low/image_raw"), ["cam_high", "cam_low"]),
        (("/left/wrist/image", "/right/wrist/image"), ["left_wrist", "right_wrist"]),
        (("/camera/image_raw", "/camera/image_raw/compressed"), ["camera"]),
        (("camera.front", "camera.back"), ["camera_back", "camera_front"]),
    ],
)
def test_names_of_cameras(given: tuple[str, ...], names: list[str], tmp_path: Path) -> None:
    robot = Robot()
    sent = [Sent("/action", START, "std_msgs/msg/Float64MultiArray", floats([1.0]))]
    for topic in given:
        kind = "CompressedImage" if topic.endswith("compressed") else "Image"
        image = compressed(START, robot.picture(0)) if kind != "Image" else raw(START, robot.pixels(0), "rgb8")
        if topic != "/x":
            sent.append(Sent(topic, START, f"sensor_msgs/msg/{kind}", image))
    source = Ros(path=str(write_mcap(tmp_path / "x.mcap", sent)), action_space="generic_nd")
    assert list(source.name_cameras(source.columns())) == names


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("action: /actoin.data", "there is no feature `/actoin.data`.*/action.data"),
        ("action: /instruction.data", "does not hold numbers"),
        ("instruction: /action.data", "does not hold words"),
        ("camera_features: {a: /action.data}", "does not hold images"),
        ("camera: front", "there is no camera 'front': there is cam"),
        ("clock_topic: /clock", "there is no topic '/clock'"),
        ("joints: [elbow]", "there is no joint 'elbow': there is hand"),
        ("clock: gps", "clock.*must be"),
        ("tolerance_ms: 0", "greater than 0|above 0"),
        ("commands: sum", "commands"),
        ("action_space: metaworld", "metaworld has 4 numbers, and the action 1"),
    ],
)
def test_settings_that_are_wrong(settings: str, message: str, tmp_path: Path) -> None:
    sent = [
        *skewed(),
        Sent("/instruction", START, "std_msgs/msg/String", text("x")),
        Sent("/joint_states", START, "sensor_msgs/msg/JointState", joint_state(START, ("hand",), [1])),
    ]
    write_mcap(tmp_path / "x.mcap", sent)
    space = "" if "action_space" in settings else "action_space: generic_nd, "
    recipe = f"robot_frac: 1\nrobot: {{arm: {{kind: ros, path: x.mcap, {space}{settings}}}}}\n"
    (tmp_path / "mixture.yaml").write_text(recipe)
    with pytest.raises(RecipeError, match=re.compile(message, re.DOTALL)):
        read_recipe(tmp_path / "mixture.yaml", check=True)


# Names and order of episodes


def test_names_stay_and_differ(tmp_path: Path) -> None:
    robots = ("demo_10.mcap", "demo_9.mcap", "deep/er/demo_9.mcap", "2024-01-01_10.00.mcap", "x" * 60 + ".mcap", "demo_9.bag")
    for path in robots:
        sent = Robot(steps=2).sent(1 + path.endswith("mcap"))
        write(tmp_path / path, sent, "bag") if path.endswith("bag") else write_mcap(tmp_path / path, sent)
    write(tmp_path / "demo_9", Robot(steps=2).sent(), "db3")
    names = [each.name for each in recordings(str(tmp_path))]
    assert len({*names}) == len(names) == 7
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,40}", name) for name in names)
    plain = [name for name in names if name.startswith("demo")]
    assert sorted(plain) == sorted(["demo_9-bag", "demo_9-folder", "demo_9", "demo_10"])
    assert names.index("demo_9") < names.index("demo_10")
    (tmp_path / "2024-01-01_10.00.mcap").unlink()
    assert {each.name for each in recordings(str(tmp_path))} < {*names}
    assert sorted(["a10", "a9", "a09"], key=natural) == ["a09", "a9", "a10"]


def test_a_recording_of_several_files_is_known_by_all_of_them(tmp_path: Path) -> None:
    path = write(tmp_path / "x", Robot().sent(), "mcap")
    (path / "metadata.yaml").unlink()
    (path / "x.mcap").rename(path / "x_0.mcap")
    write_mcap(path / "x_1.mcap", Robot().sent())
    source = Ros(path=str(tmp_path), action_space="generic_nd")
    assert source.files() == [str(path / "x_0.mcap"), str(path / "x_1.mcap")]
    (part,) = source.parts({})
    before = source.bases([part])
    write_mcap(path / "x_1.mcap", Robot(steps=9).sent())
    assert source.bases([part]) != before
    json.dumps(before)


# Whole builds


MIXTURE = """
robot_frac: 1
size: {{num_examples: 200}}
store: store
robot:
  bridge: {{kind: ros, path: {data}/ros_bridge/bridge_10.bag, action_space: widowx_bridge}}
  metaworld: {{kind: ros, path: {data}/sim_metaworld_mcap/episode_0010.mcap, action_space: metaworld, cameras: all, horizon: 4}}
  table: {{kind: ros, path: {data}/sim_language_table_mcap/episode_0020.mcap, action_space: language_table}}
  any: {{kind: ros, path: {data}/ros_bridge/bridge_10_mcap, action_space: generic_nd, control_hz: 2.5}}
"""


@pytest.mark.slow
def test_a_mixture_of_real_logs(shared_data: Path, tmp_path: Path) -> None:
    (tmp_path / "mixture.yaml").write_text(MIXTURE.format(data=shared_data))
    manifest = build_plainly(read_recipe(tmp_path / "mixture.yaml"), Site(tmp_path / "out"))
    found = verify(tmp_path / "out")
    assert found.ok, found.faults
    dropped = {name: {lost.reason: lost.count for lost in each} for name, each in manifest.rejects.items()}
    assert dropped == {
        "bridge": {"no_action": 1},
        "metaworld": {"no_image": 1},
        "table": {},
        "any": {},
    }


@pytest.mark.slow
@pytest.mark.parametrize("packed", ["", "zstd"])
def test_memory_is_flat(packed: str, tmp_path: Path) -> None:
    """Of two recordings of raw images, one four times as long, and 55 MB."""

    def sent(steps: int) -> Iterator[Sent]:
        pixels = np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8)
        for step in range(steps):
            time = START + step * 33 * MS
            yield Sent("/cam", time, "sensor_msgs/msg/Image", raw(time, np.roll(pixels, step, 0), "bgr8"))
            yield Sent("/action", time + MS, "std_msgs/msg/Float64MultiArray", floats([step]))

    peaks = []
    for steps in (60, 240):
        source = Ros(path=str(write_mcap(tmp_path / f"{steps}.mcap", sent(steps), packed)), action_space="generic_nd")
        units, seen = source.units(), 0
        tracemalloc.start()
        for record in (record for unit in units for record in source.read(unit)):
            seen += isinstance(record, Step) and _content(record).shape == (240, 320, 3)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert seen == steps
    assert peaks[1] < 20e6 and peaks[1] < 1.3 * peaks[0]


def _content(step: Step) -> Any:
    return step.images[0].content()
