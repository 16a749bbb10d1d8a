"""BridgeData as it was recorded: the values are those of pickle.load, and no pickle gets to run anything."""

from __future__ import annotations

import codecs
import json
import os
import pickle
import struct
import subprocess
import sys
import time
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rt2data.build import Site, build_plainly
from rt2data.errors import DataError, UsageError
from rt2data.images.ready import ImageFault
from rt2data.look.verify import verify
from rt2data.plan.recipe import parse_recipe
from rt2data.read.bridge_raw import pickles
from rt2data.read.bridge_raw.facts import LATE, MORE_WORDS
from rt2data.read.bridge_raw.pickles import unpickle
from rt2data.read.bridge_raw.source import BridgeRaw
from rt2data.read.bridge_raw.trajectories import trajectory_name
from rt2data.read.recorded import EpisodeFault
from rt2data.read.source import recognize
from rt2data.records import Fact, Reject
from tests.contract.toy import jpeg
from tests.read import bridges
from tests.read.reading import records, steps

pytestmark = pytest.mark.long

PROTOCOLS = [pytest.param(each, marks=[pytest.mark.slow] if each in (1, 3) else []) for each in range(pickle.HIGHEST_PROTOCOL + 1)]
NOTHING = pickle.dumps({})


def source(path: Path, space: str = "widowx_bridge", **settings: Any) -> BridgeRaw:
    return BridgeRaw.model_validate({"path": str(path), "action_space": space, **settings})


def rejects(found: BridgeRaw) -> list[tuple[str, int]]:
    return [(record.reason, record.count) for record in records(found) if isinstance(record, Reject)]


def facts(found: BridgeRaw) -> list[str]:
    return [record.name for record in records(found) if isinstance(record, Fact)]


# Values


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(("day", "late"), [(bridges.DAY, 0), (bridges.EARLY, 1)])
def test_written_is_read(day: str, late: int, protocol: int, tmp_path: Path) -> None:
    """An action for each observation but the last; before July 23, 2021 with the observation after it."""
    folder = bridges.write_trajectory(bridges.trajectory(tmp_path, 3, day), 6, seed=1, protocol=protocol)
    with (folder / "obs_dict.pkl").open("rb") as file:
        observed = pickle.load(file)
    with (folder / "policy_out.pkl").open("rb") as file:
        decided = pickle.load(file)
    log = source(tmp_path)
    found = steps(log)
    assert len(found) == 5 - late and [step.is_last for step in found] == [False] * (4 - late) + [True]
    for number, step in enumerate(found):
        seen = number + late
        assert (step.action == decided[number]["actions"].astype(np.float32)).all()
        assert step.state is not None and (step.state == observed["full_state"][seen].astype(np.float32)).all()
        assert step.timestamp == observed["time_stamp"][seen] and step.instruction == "lift block"
        for camera, image in enumerate(step.images):
            assert image.camera == f"images{camera}" and image.content() == bridges.picture(1, camera, seen)
            assert image.place is not None and image.place.path == f"{folder}/images{camera}/im_{seen}.jpg"
    assert facts(log) == [LATE] * late


def test_the_last_early_day_and_the_first_that_is_not(tmp_path: Path) -> None:
    for number, day in enumerate((bridges.EARLY, "2021-07-23_00-00-00")):
        bridges.write_trajectory(bridges.trajectory(tmp_path, number, day), 4)
    assert [step.steps for step in steps(source(tmp_path)) if step.is_first] == [2, 3]
    assert [step.steps for step in steps(source(tmp_path, camera_latency=1)) if step.is_first] == [2, 2]
    assert [step.steps for step in steps(source(tmp_path, camera_latency=0)) if step.is_first] == [3, 3]


def test_a_path_without_a_day(tmp_path: Path) -> None:
    bridges.write_trajectory(tmp_path / "raw" / "traj_group0" / "traj0", 4)
    with pytest.raises(UsageError, match=r"does not say when it was recorded.*camera_latency"):
        source(tmp_path).units()
    assert len(steps(source(tmp_path, camera_latency=0))) == 3


def test_trajectories_are_in_order_and_named_for_good(tmp_path: Path) -> None:
    bridges.write(tmp_path)
    names = [step.episode for step in steps(source(tmp_path)) if step.is_first]
    assert [name[:-8] for name in names] == [f"20220304-102030-g0-t{number}-" for number in (0, 1, 10)]
    bridges.write(tmp_path, "2019-01-01_00-00-00")
    assert [step.episode for step in steps(source(tmp_path)) if step.is_first][3:] == names
    inside = bridges.trajectory(tmp_path, 99999, group=99999)
    assert len(trajectory_name(str(tmp_path), str(inside))) <= 40


def test_other_features(tmp_path: Path) -> None:
    bridges.write_trajectory(bridges.trajectory(tmp_path, 0), 4, seed=2)
    log = source(tmp_path, "generic_nd", action="policy_out/new_robot_transform[3:8]", state=["obs_dict/qpos", "obs_dict/env_done"])
    transform = np.stack([each["new_robot_transform"] for each in bridges.decided(4, 2)]).reshape(3, 16)[:, 3:8]
    assert (np.stack([step.action for step in steps(log)]) == transform.astype(np.float32)).all()
    assert [step.state is not None and step.state.shape for step in steps(log)] == [(7,)] * 3
    paths = {column.path for column in log.columns()}
    assert {"obs_dict/eef_transform", "obs_dict/time_stamp", "lang.txt", "images0", "images1"} <= paths
    assert not paths & {"obs_dict/task", "policy_out/policy_type", "depth_images0"}


@pytest.mark.parametrize(
    ("written", "words", "more"),
    [
        ("put pan on stove\nconfidence: 0.9\n", "put pan on stove", 0),
        ("Confidence: 1\n\n  lift  \nmove it\n", "lift", 1),
        ("confidence: 1", "", 0),
        (None, "", 0),
    ],
)
def test_words(written: str | None, words: str, more: int, tmp_path: Path) -> None:
    bridges.write_trajectory(bridges.trajectory(tmp_path, 0), 3, words=written)
    assert {step.instruction for step in steps(source(tmp_path))} == {words}
    assert facts(source(tmp_path)) == [MORE_WORDS] * more
    assert {step.instruction for step in steps(source(tmp_path, text="go"))} == {"go"}


def test_actions_without_names(tmp_path: Path) -> None:
    """Older recordings list plain arrays."""
    folder = bridges.write_trajectory(bridges.trajectory(tmp_path, 0), 4)
    actions = [each["actions"] for each in bridges.decided(4)]
    (folder / "policy_out.pkl").write_bytes(pickle.dumps(actions))
    assert (np.stack([step.action for step in steps(source(tmp_path))]) == np.array(actions, np.float32)).all()


ARRAYS: tuple[Any, ...] = (
    *(np.arange(12, dtype=code).reshape(3, 4) for code in ("f2", "f4", "f8", ">f4", ">i2", "i1", "u1", "i8", "u4")),
    np.array([[True, False]]),
    np.asfortranarray(np.arange(12.0).reshape(3, 4)),
    np.arange(24.0).reshape(6, 4)[::2],
    np.zeros((0, 7)),
    np.array([1.5, 2.5]),
)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_arrays_of_all_kinds(protocol: int) -> None:
    named = {str(number): values for number, values in enumerate(ARRAYS)} | {
        "scalars": [np.float32(1.5), np.float32(2)],
        "words": "x",
    }
    listed = [{"a": values, "u": np.array(["x"])} for values in (np.ones(3), np.zeros(3))]
    first, second = unpickle(pickle.dumps(named, protocol), pickle.dumps(listed, protocol))
    for number, values in enumerate(ARRAYS):
        assert first[str(number)].dtype == values.dtype and first[str(number)].shape == values.shape
        assert (first[str(number)] == values).all()
    assert first["scalars"].tolist() == [1.5, 2] and "words" not in first
    assert second["a"].tolist() == [[1, 1, 1], [0, 0, 0]] and set(second) == {"a"}


# Damage


def test_pickles_that_are_cut_or_missing(tmp_path: Path) -> None:
    for number in range(5):
        bridges.write_trajectory(bridges.trajectory(tmp_path, number), 4)
    (bridges.trajectory(tmp_path, 1) / "policy_out.pkl").unlink()
    (bridges.trajectory(tmp_path, 2) / "obs_dict.pkl").unlink()
    raw = (bridges.trajectory(tmp_path, 3) / "obs_dict.pkl").read_bytes()
    (bridges.trajectory(tmp_path, 3) / "obs_dict.pkl").write_bytes(raw[: len(raw) // 2])
    (bridges.trajectory(tmp_path, 4) / "obs_dict.pkl").write_bytes(b"")
    assert rejects(source(tmp_path)) == [("missing_pickle", 1)] * 2 + [("damaged_pickle", 1)] * 2
    assert len(steps(source(tmp_path))) == 3


def test_columns_that_do_not_fit_together(tmp_path: Path) -> None:
    for number in range(3):
        bridges.write_trajectory(bridges.trajectory(tmp_path, number), 5)
    (bridges.trajectory(tmp_path, 1) / "policy_out.pkl").write_bytes(pickle.dumps(bridges.decided(6)))
    (bridges.trajectory(tmp_path, 2) / "policy_out.pkl").write_bytes(pickle.dumps([]))
    assert rejects(source(tmp_path)) == [("ragged_episode", 5), ("missing_feature", 5)]


def test_an_image_that_is_missing_or_a_link(tmp_path: Path) -> None:
    folder = bridges.write_trajectory(bridges.trajectory(tmp_path, 0), 5)
    (folder / "images0/im_1.jpg").unlink()
    (folder / "images1/im_2.jpg").unlink()
    (tmp_path / "secret.jpg").write_bytes(jpeg(0))
    (folder / "images1/im_2.jpg").symlink_to(tmp_path / "secret.jpg")
    images = [image for step in steps(source(tmp_path)) for image in step.images]
    lost = [image for image in images if image.place is None]
    assert len(images) == 8 and len(lost) == 2
    for image in lost:
        with pytest.raises(ImageFault, match=r"im_[12]\.jpg: there is no such image file"):
            image.content()
    (folder.parent / "traj9").symlink_to(folder)
    with pytest.raises(DataError, match="holds a link"):
        source(tmp_path).units()


# Hostile pickles


class Runs:
    """A pickle of it runs a command when it is loaded."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.mark}",)


class Calls:
    """A pickle of it calls something when it is loaded."""

    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> Any:
        return self.call[0], self.call[1:]


def refusal(raw: bytes) -> tuple[str, str]:
    with pytest.raises(EpisodeFault) as caught:
        unpickle(NOTHING, raw)
    return caught.value.reason, caught.value.detail


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_commands_are_not_run(protocol: int, tmp_path: Path) -> None:
    mark = tmp_path / "was_run"
    reason, detail = refusal(pickle.dumps({"full_state": Runs(mark)}, protocol))
    assert reason == "refused_pickle" and detail.endswith(".system")
    folder = bridges.write_trajectory(bridges.trajectory(tmp_path, 0), 4)
    (folder / "obs_dict.pkl").write_bytes(pickle.dumps({"full_state": Runs(mark)}, protocol))
    bridges.write_trajectory(bridges.trajectory(tmp_path, 1), 4)
    assert rejects(source(tmp_path)) == [("refused_pickle", 1)] and len(steps(source(tmp_path))) == 3
    assert not mark.exists()
    pickle.loads(pickle.dumps(Runs(mark), protocol))
    assert mark.exists(), "the payload works"


OBJECTS: dict[str, Any] = {
    "an array of objects": np.array([{}, None], dtype=object),
    "a class": OrderedDict,
    "an ordered dict": OrderedDict(a=1),
    "an open file": Calls(open, "/tmp/x", "w"),
    "evaluation": Calls(eval, "1"),
    "an attribute": Calls(getattr, os.system, "__globals__"),
    "numpy.load": Calls(np.load, "/etc/passwd"),
    "records": np.zeros(2, dtype=[("a", "f4"), ("b", "O")]),
    "dates": np.array(["2020-01-01"], dtype="M8[D]"),
    "complex numbers": np.zeros(2, np.complex128),
    "a range": range(3),
    "a masked array": np.ma.masked_array([1.0], [True]),
    "a mapped file": Calls(np.memmap, "/etc/passwd"),
}


@pytest.mark.parametrize("protocol", [2, *(pytest.param(each, marks=pytest.mark.slow) for each in (0, 4, 5))])
@pytest.mark.parametrize("what", OBJECTS)
def test_nothing_but_numbers_and_words_is_made(what: str, protocol: int) -> None:
    reason, _ = refusal(pickle.dumps({"full_state": OBJECTS[what]}, protocol))
    assert reason == "refused_pickle"


class State:
    """A pickle of it makes something, and gives it a state."""

    def __init__(self, *made: Any) -> None:
        self.made = made

    def __reduce__(self) -> Any:
        return self.made


def arrays(*state: Any) -> bytes:
    """An array of a made-up state, below protocol 5."""
    reconstruct = np.zeros(1).__reduce__()[0]
    return pickle.dumps({"full_state": State(reconstruct, (np.ndarray, (0,), b"b"), state)}, 2)


def hostile() -> dict[str, bytes]:
    """Pickles made by hand. 2: push the top again; \\x85, \\x86: a tuple of one, of two; s: set an item of a dict."""
    whole, code = struct.Struct("<Q"), np.dtype("f8")
    return {
        "deep tuples": b"N" + b"\x85" * 1_000_000 + b".",
        "a deep key": b"}N" + b"\x85" * 1_000_000 + b"Ns.",
        "pairs of pairs": b"N" + b"2\x86" * 60 + b".",
        "a string of 2^40 bytes": b"\x80\x04\x8e" + whole.pack(1 << 40) + b"x.",
        "an array of 2^33 bytes": b"\x80\x05\x96" + whole.pack(1 << 33) + b"x.",
        "2^40 bytes": pickle.dumps(Calls(bytes, 1 << 40), 2),
        "a shape that its bytes do not have": arrays(1, (255,), code, False, b"x" * 8),
        "a negative shape": arrays(1, (-1,), code, False, b"x" * 8),
        "an enormous shape": arrays(1, (1 << 62, 1 << 62), code, False, b""),
        "a shape of words": arrays(1, "x", code, False, b"x" * 8),
        "objects": arrays(1, (1,), np.dtype("O"), False, [1]),
        "objects by another dtype": arrays(1, (1,), code, False, [1]),
        "parts of a dtype": pickle.dumps(State(np.dtype, ("f8", False, True), (3, "|", (code, (2,)), None, None, -1, -1, 0)), 2),
        "another encoding": pickle.dumps(Calls(codecs.encode, "x", "zip"), 2),
        "kept elsewhere": b"Pos.system\n.",
        "an extension": b"\x80\x04\x82\x01.",
        "a memory of 2^32": b"\x80\x04Nr\xff\xff\xff\xff.",
        "no stop": b"\x80\x04N",
        "not a pickle": b"\x89HDF",
        "many names": pickle.dumps({f"a{number}": [1.0] for number in range(100_000)}),
    }


@pytest.mark.parametrize("what", hostile())
@pytest.mark.slow
def test_hostile_pickles_end_quickly(what: str, tmp_path: Path) -> None:
    """As a fault of the episode, or as nothing found: never as anything run, and never in this process."""
    started = time.monotonic()
    try:
        found, _ = unpickle(hostile()[what], NOTHING)
        assert len(found) <= 200 and what in ("deep tuples", "pairs of pairs", "many names", "a memory of 2^32")
    except EpisodeFault as fault:
        assert fault.reason in ("refused_pickle", "damaged_pickle")
    assert time.monotonic() - started < 15


@pytest.mark.slow
def test_a_pickle_that_takes_all_the_time_there_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hashes of tuples that hold one another many times: the processor's limit ends it."""
    program = Path(pickles._PROGRAM).read_text().replace("SECONDS = 1 << 30, 20", "SECONDS = 1 << 30, 1")
    (tmp_path / "unpickle.py").write_text(program)
    monkeypatch.setattr(pickles, "_PROGRAM", str(tmp_path / "unpickle.py"))
    doubling = b"}N" + b"2\x86" * 60 + b"Ns."
    started = time.monotonic()
    with pytest.raises(EpisodeFault, match=r"SIGXCPU|SIGKILL"):
        unpickle(doubling, NOTHING)
    assert time.monotonic() - started < 10


def test_the_program_can_open_and_start_nothing(tmp_path: Path) -> None:
    """Whatever a pickle did: no file can be opened, none written, and memory ends at 1 GiB."""
    script = f"""
import runpy
program = runpy.run_path({pickles._PROGRAM!r})
program["bound"]()
import codecs
import json
def tried(act):
    try:
        act()
        return "done"
    except BaseException as error:
        return type(error).__name__
written = {str(tmp_path / "x")!r}
print(json.dumps([tried(lambda: open("/etc/passwd")), tried(lambda: open(written, "w")), tried(lambda: bytearray(1 << 31))]))
"""
    done = subprocess.run([sys.executable, "-I", "-S", "-c", script], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == ["OSError", "OSError", "MemoryError"]
    assert list(tmp_path.iterdir()) == []


def test_a_pickle_that_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rt2data.read.bridge_raw.trajectories.MAX_BYTES", 100)
    bridges.write_trajectory(bridges.trajectory(tmp_path, 0), 4)
    found = source(tmp_path, action="policy_out/actions", state="obs_dict/full_state")
    with pytest.raises(DataError, match=r"the first trajectories cannot be read.*more than"):
        found.units()


def test_agent_data_is_not_read(tmp_path: Path) -> None:
    folder = bridges.write_trajectory(bridges.trajectory(tmp_path, 0), 4)
    (folder / "agent_data.pkl").write_bytes(pickle.dumps(Runs(tmp_path / "was_run")))
    assert len(steps(source(tmp_path))) == 3 and f"{folder}/agent_data.pkl" not in source(tmp_path).files()
    assert not (tmp_path / "was_run").exists()


# Names, growth


def test_what_is_recognized(tmp_path: Path) -> None:
    bridges.write(tmp_path / "bridge")
    for given in (tmp_path / "bridge", bridges.trajectory(tmp_path / "bridge", 0).parent.parent.parent):
        found = BridgeRaw.recognize(given)
        assert found is not None and found.settings == {"path": str(given)}
        told = recognize(given)
        assert told is not None and told.what == "BridgeData as it was recorded"
    told = recognize(bridges.trajectory(tmp_path / "bridge", 0) / "policy_out.pkl")
    assert told is not None and told.what == "a pickle of a BridgeData trajectory"
    (tmp_path / "other" / "a" / "b").mkdir(parents=True)
    assert BridgeRaw.recognize(tmp_path / "other") is None
    with pytest.raises(UsageError, match=r"no trajectory with obs_dict\.pkl"):
        source(tmp_path / "other").units()


def test_what_is_new_is_read_and_nothing_else(tmp_path: Path) -> None:
    found = source(bridges.write(tmp_path))
    before = {unit.path: basis for unit, basis in zip(found.parts({}), found.bases(found.parts({})), strict=True)}
    bridges.write_trajectory(bridges.trajectory(tmp_path, 2), 4)
    (bridges.trajectory(tmp_path, 1) / "lang.txt").write_text("something else\n")
    after = {unit.path: basis for unit, basis in zip(found.parts({}), found.bases(found.parts({})), strict=True)}
    changed = [Path(path).parent.name for path in after if after[path] != before.get(path)]
    assert changed == ["traj1", "traj2"]


def test_a_mixture(tmp_path: Path) -> None:
    bridges.write(tmp_path / "bridge", bridges.EARLY, (6, 6))
    recipe = parse_recipe(
        "robot_frac: 1\nstore: store\nrobot: {arm: {kind: bridge_raw, path: bridge, action_space: widowx_bridge, cameras: all}}",
        "x",
        tmp_path,
    )
    manifest = build_plainly(recipe, Site(tmp_path / "out"))
    assert not verify(tmp_path / "out").faults
    assert manifest.plan.sources[0].rows == 8
    said = {warn.code: warn.what for warn in manifest.plan.warnings}
    assert "in 2 episodes each action goes with the observation after it" in said["camera_latency"]
