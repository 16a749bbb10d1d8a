"""DROID as it was recorded: the videos beside trajectory.h5 are its cameras, frame k for step k."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from rt2data.build import Site, build_plainly
from rt2data.images.headers import ImageFault
from rt2data.look.verify import verify
from rt2data.plan.recipe import parse_recipe
from rt2data.read.hdf5.recognize import recognize_hdf5
from rt2data.records import Image, Step
from tests.read.hdf5 import writing
from tests.read.hdf5.reading import by_episode, log, read
from tests.read.lerobot_writing import film, picture

STEPS = 6
SERIALS = {"wrist": "16291792", "ext1": "24400334", "ext2": "22246076"}
DAY = "success/2023-07-07/Fri_Jul__7_09:42:23_2023"


def shown(camera: str, step: int, seed: int = 0) -> Any:
    """RGB uint8[48, 48, 3]"""
    return picture(10_000 * seed + 100 * int(SERIALS[camera][:3]) + step)


def write(root: Path, seed: int = 0, frames: int = STEPS, metadata: bool = True, cameras: Any = SERIALS, **said: Any) -> Path:
    """One episode with videos; `said` are other things in its metadata."""
    path = writing.write_droid(root / DAY.replace("23_2023", f"{23 + seed}_2023") / "trajectory.h5", seed, STEPS)
    for camera in cameras:
        pictures = [shown(camera, step, seed) for step in range(frames)]
        film(path.parent / f"recordings/MP4/{SERIALS[camera]}.mp4", pictures, [step / 15 for step in range(frames)])
    (path.parent / "recordings/MP4/16291792-stereo.mp4").write_bytes(b"both eyes")
    if metadata:
        known = {f"{camera}_cam_serial": serial for camera, serial in SERIALS.items()} | {"current_task": "Put it away"} | said
        (path.parent / "metadata_LAB+1+2023-07-07-09h-42m-23s.json").write_text(json.dumps(known))
    return path


def alike(image: Image, expected: Any) -> bool:
    found = image.content()
    return isinstance(found, np.ndarray) and float(np.abs(found.astype(int) - expected.astype(int)).mean()) < 12


def faults(steps: list[Step], camera: str) -> list[str]:
    """Why the images of a camera cannot be read; empty words where they can."""
    found = []
    for step in steps:
        image = next(each for each in step.images if each.camera == camera)
        try:
            found.append("" if alike(image, shown(camera, step.step)) else "another")
        except ImageFault as fault:
            found.append(fault.reason)
    return found


def test_each_step_has_its_frame_of_each_camera(tmp_path: Path) -> None:
    for seed in range(2):
        write(tmp_path, seed)
    steps, rejects = read(log(tmp_path))
    episodes = by_episode(steps)
    assert not rejects and [len(each) for each in episodes.values()] == [STEPS] * 2
    source = log(tmp_path)
    found = [
        (step.step, image.camera, [alike(image, shown(image.camera, step.step, seed)) for seed in range(2)])
        for unit in source.units()
        for step in source.read(unit)
        if isinstance(step, Step)
        for image in step.images
    ]
    assert [(step, camera) for step, camera, _ in found] == [(k, camera) for k in range(STEPS) for camera in SERIALS] * 2
    assert [which for *_, which in found] == [[True, False]] * STEPS * 3 + [[False, True]] * STEPS * 3


def test_a_mixture_is_made_of_it(tmp_path: Path) -> None:
    write(tmp_path / "log")
    suggestion = recognize_hdf5(tmp_path / "log")
    assert suggestion is not None and suggestion.facts["layout"] == "DROID" and "images" not in suggestion.facts
    arm = {"kind": "hdf5", "path": str(tmp_path / "log"), "action_space": "generic_nd", "cameras": ["ext1", "wrist"]}
    recipe = parse_recipe(json.dumps({"robot_frac": 1, "store": "store", "robot": {"arm": arm}}), "mix.yaml", tmp_path, check=True)
    build_plainly(recipe, Site(tmp_path / "out"))
    assert not verify(tmp_path / "out").faults
    assert json.loads((tmp_path / "out/manifest.json").read_text())["examples"] == STEPS


def test_without_metadata_the_log_says_which_camera_is_on_the_wrist(tmp_path: Path) -> None:
    path = write(tmp_path, metadata=False)
    assert {column.path for column in log(tmp_path).columns() if column.holds == "images"} == set(), "nothing says which is which"
    with h5py.File(path, "r+") as file:
        for camera, serial in SERIALS.items():
            file[f"observation/camera_type/{serial}"] = np.full(STEPS, 0 if camera == "wrist" else 1)
    path.touch()
    steps, _ = read(log(tmp_path))
    assert faults(steps, "wrist") == [""] * STEPS
    assert [image.camera for image in steps[0].images] == ["wrist", "ext1", "ext2"]
    assert alike(steps[0].images[1], shown("ext2", 0)), "others are numbered by serial"


def test_words_are_in_the_metadata_too(tmp_path: Path) -> None:
    path = write(tmp_path, current_task="Wipe the table", cameras=("ext1",))
    with h5py.File(path, "r+") as file:
        del file.attrs["current_task"]
    assert {step.instruction for step in read(log(tmp_path))[0]} == {"Wipe the table"}
    other = log(tmp_path, instruction="file:metadata.ext2_cam_serial")
    assert {step.instruction for step in read(other)[0]} == {SERIALS["ext2"]}


@pytest.mark.parametrize("frames", [STEPS - 1, STEPS + 1])
def test_a_video_of_another_length_has_no_frame_that_is_sure(tmp_path: Path, frames: int) -> None:
    path = write(tmp_path, cameras=("ext1",), frames=frames)
    film(path.parent / f"recordings/MP4/{SERIALS['wrist']}.mp4", [shown("wrist", k) for k in range(STEPS)], range(STEPS))
    steps, rejects = read(log(tmp_path))
    assert not rejects and faults(steps, "wrist") == [""] * STEPS
    assert faults(steps, "ext1") == ["frames_differ"] * STEPS
    with pytest.raises(ImageFault, match=f"24400334.mp4 has {frames} frames for {STEPS} steps"):
        next(image for image in steps[0].images if image.camera == "ext1").content()


def test_damaged_videos_lose_their_own_frames(tmp_path: Path) -> None:
    path = write(tmp_path)
    films = path.parent / "recordings/MP4"
    (films / f"{SERIALS['ext1']}.mp4").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    content = (films / f"{SERIALS['ext2']}.mp4").read_bytes()
    (films / f"{SERIALS['ext2']}.mp4").write_bytes(content[: len(content) // 2])
    steps, rejects = read(log(tmp_path))
    assert not rejects and faults(steps, "wrist") == [""] * STEPS
    assert faults(steps, "ext1") == ["unreadable_video"] * STEPS == faults(steps, "ext2")


def test_a_camera_without_a_video_is_left_out(tmp_path: Path) -> None:
    write(tmp_path)
    write(tmp_path, 1, cameras=("wrist",))
    assert [len(steps[0].images) for steps in by_episode(read(log(tmp_path))[0]).values()] == [3, 1]


@pytest.mark.parametrize("serial", ["../../../secret", "secret", 5, None, ["16291792"], {"a": 1}])
def test_metadata_lead_nowhere_else(tmp_path: Path, serial: Any) -> None:
    film(tmp_path / "secret.mp4", [picture(1)] * STEPS, range(STEPS))
    path = write(tmp_path / "log", ext1_cam_serial=serial)
    (path.parent / "recordings/MP4/secret.mp4").symlink_to(tmp_path / "secret.mp4")
    assert [image.camera for image in read(log(tmp_path / "log"))[0][0].images] == ["wrist", "ext2"]


@pytest.mark.parametrize("content", ["[" * 100_000, '{"wrist_cam_serial": ', "\xff", "[1]"])
def test_metadata_that_are_none_say_nothing(tmp_path: Path, content: str) -> None:
    path = write(tmp_path, metadata=False)
    (path.parent / "metadata_x.json").write_text(content, encoding="latin-1")
    steps, rejects = read(log(tmp_path))
    assert len(steps) == STEPS and not rejects and not steps[0].images


def test_an_episode_depends_on_its_videos(tmp_path: Path) -> None:
    one, two = write(tmp_path), write(tmp_path, 1)
    source = log(tmp_path)
    before = source.bases(source.parts({}))
    assert {str(path) for path in (one.parent / "recordings/MP4").glob("[0-9]*[0-9].mp4")} <= {*source.files()} | {
        str(one.parent / "recordings/MP4/16291792-stereo.mp4")
    }
    assert str(next(one.parent.glob("metadata_*.json"))) in source.files() and not any("stereo" in each for each in source.files())
    os.utime(two.parent / f"recordings/MP4/{SERIALS['ext1']}.mp4", ns=(1, 1))
    after = source.bases(source.parts({}))
    assert before[0] == after[0] and before[1] != after[1]
    assert all(part.bytes > path.stat().st_size for part, path in zip(source.parts({}), (one, two), strict=True))
