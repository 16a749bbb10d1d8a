"""Files from strangers: nothing outside the file is read, nothing is taken for granted, and what is lost is told."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rt2data.errors import DataError, RtError
from rt2data.images.headers import ImageFault
from rt2data.read.hdf5 import source as hdf5
from rt2data.read.hdf5.recognize import recognize_hdf5
from rt2data.records import Deferred, Step
from tests.laws import tries
from tests.read.hdf5 import writing
from tests.read.hdf5.reading import by_episode, log, read

SECRET = 7777.0


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A file outside of the log, with a secret number; and the same as plain bytes."""
    with h5py.File(tmp_path / "outside.hdf5", "w") as file:
        file["actions"], file["demo/actions"] = np.full((6, 7), SECRET), np.full((6, 7), SECRET)
    (tmp_path / "outside.bin").write_bytes(np.full((6, 7), SECRET).tobytes())
    return tmp_path / "outside.hdf5"


@pytest.fixture
def inside(tmp_path: Path) -> Path:
    return writing.write_robomimic(tmp_path / "log" / "a.hdf5", (6, 6, 6))


def external_group(file: Any, outside: Path) -> None:
    file["data/demo_3"] = h5py.ExternalLink(str(outside), "/demo")


def external_action(file: Any, outside: Path) -> None:
    del file["data/demo_1/actions"]
    file["data/demo_1/actions"] = h5py.ExternalLink(str(outside), "/actions")


def soft_then_external(file: Any, outside: Path) -> None:
    """A soft link whose path goes through an external one."""
    del file["data/demo_1/actions"]
    file["away"] = h5py.ExternalLink(str(outside), "/")
    file["data/demo_1/actions"] = h5py.SoftLink("/away/actions")


def external_storage(file: Any, outside: Path) -> None:
    del file["data/demo_1/actions"]
    place = [(str(outside.with_suffix(".bin")), 0, h5py.h5f.UNLIMITED)]
    file.create_dataset("data/demo_1/actions", (6, 7), np.float64, external=place)


def virtual(file: Any, outside: Path) -> None:
    del file["data/demo_1/actions"]
    layout = h5py.VirtualLayout((6, 7), np.float64)
    layout[:] = h5py.VirtualSource(str(outside), "actions", (6, 7))
    file.create_virtual_dataset("data/demo_1/actions", layout)


def soft_loop(file: Any, outside: Path) -> None:
    del file["data/demo_1/actions"]
    file["data/demo_1/actions"] = h5py.SoftLink("/data/demo_1/again")
    file["data/demo_1/again"] = h5py.SoftLink("/data/demo_1/actions")


def references(file: Any, outside: Path) -> None:
    del file["data/demo_1/actions"]
    found = file.create_dataset("data/demo_1/actions", (6,), h5py.ref_dtype)
    found[:] = file["data/demo_0/actions"].ref


def compound(file: Any, outside: Path) -> None:
    del file["data/demo_1/actions"]
    file["data/demo_1/actions"] = np.zeros(6, [("x", "f4"), ("y", "f4")])


def ragged_numbers(file: Any, outside: Path) -> None:
    del file["data/demo_1/actions"]
    file.create_dataset("data/demo_1/actions", 6, h5py.vlen_dtype(np.float32))


def endless(file: Any, outside: Path) -> None:
    del file["data/demo_1/actions"]
    file.create_dataset("data/demo_1/actions", (2**40, 7), np.float32, chunks=(16, 7))


def endless_frames(file: Any, outside: Path) -> None:
    del file["data/demo_1/obs/eye_image"]
    file.create_dataset("data/demo_1/obs/eye_image", (2**40, 24, 32, 3), np.uint8, chunks=(1, 24, 32, 3))


def huge_frame(file: Any, outside: Path) -> None:
    del file["data/demo_1/obs/eye_image"]
    file.create_dataset("data/demo_1/obs/eye_image", (6, 2**20, 2**20, 3), np.uint8, chunks=(1, 64, 64, 3))


def no_action(file: Any, outside: Path) -> None:
    del file["data/demo_1/actions"]


def shorter(file: Any, outside: Path) -> None:
    del file["data/demo_1/actions"]
    file["data/demo_1/actions"] = writing.numbers(1, 5, 7)


def empty(file: Any, outside: Path) -> None:
    del file["data/demo_1"]
    file["data/demo_1/actions"] = np.empty((0, 7))
    for name, width in (("eef_pos", 3), ("eef_quat", 4), ("gripper_qpos", 2)):
        file[f"data/demo_1/obs/robot0_{name}"] = np.empty((0, width))


def no_text(file: Any, outside: Path) -> None:
    file["data/demo_1"].attrs["language_instruction"] = np.bytes_(b"\xff\xfe open")
    for name in ("demo_0", "demo_2"):
        file[f"data/{name}"].attrs["language_instruction"] = "open"


BROKEN: dict[Callable[[Any, Path], None], tuple[str, int]] = {
    external_group: ("external_link", 1),
    external_action: ("external_link", 1),
    soft_then_external: ("external_link", 1),
    external_storage: ("external_storage", 1),
    virtual: ("virtual_dataset", 1),
    soft_loop: ("link_loop", 1),
    references: ("wrong_type", 6),
    compound: ("wrong_type", 6),
    ragged_numbers: ("wrong_type", 6),
    endless: ("too_large", 1 << 30),
    endless_frames: ("ragged_episode", 2**40),
    huge_frame: ("too_large", 6),
    no_action: ("missing_feature", 1),
    shorter: ("ragged_episode", 6),
    empty: ("empty_episode", 1),
    no_text: ("bad_text", 6),
}


@pytest.mark.parametrize("spoil", BROKEN, ids=lambda each: each.__name__)
def test_one_episode_is_lost_and_nothing_else(spoil: Callable[[Any, Path], None], inside: Path, outside: Path) -> None:
    with h5py.File(inside, "r+") as file:
        spoil(file, outside)
    steps, rejects = read(log(inside))
    assert not any(SECRET in step.action for step in steps)
    reason, count = BROKEN[spoil]
    assert [(each.reason, each.count) for each in rejects] == [(reason, count)]
    lost = "demo_3" if spoil is external_group else "demo_1"
    assert rejects[0].where.endswith(f"/{lost}, episode {lost}") and rejects[0].detail
    assert set(by_episode(steps)) == {"demo_0", "demo_1", "demo_2"} - {lost}
    for step in steps:
        for image in step.images:
            image.content()


def test_links_inside_of_a_file_are_followed(inside: Path) -> None:
    with h5py.File(inside, "r+") as file:
        file.move("data/demo_1/actions", "real_actions")
        file["data/demo_1/actions"] = h5py.SoftLink("/real_actions")
        file["data/demo_3"] = h5py.SoftLink("demo_2")
    steps, rejects = read(log(inside))
    assert not rejects and len(by_episode(steps)) == 4


def test_groups_that_hold_themselves(inside: Path) -> None:
    with h5py.File(inside, "r+") as file:
        for name in ("one", "two", "three"):
            file[f"data/demo_0/{name}"] = file["data/demo_0"]
    source = log(inside)
    assert len(source.columns()) < 10_000
    assert len(by_episode(read(source)[0])) == 3


def test_the_first_episode_may_be_the_lost_one(inside: Path, outside: Path) -> None:
    with h5py.File(inside, "r+") as file:
        del file["data/demo_0"]
        file["data/demo_0"] = h5py.ExternalLink(str(outside), "/demo")
    steps, rejects = read(log(inside))
    assert [each.reason for each in rejects] == ["external_link"] and len(by_episode(steps)) == 2


def test_a_log_of_links_alone(tmp_path: Path, outside: Path) -> None:
    with h5py.File(tmp_path / "links.hdf5", "w") as file:
        for n in range(3):
            file[f"data/demo_{n}"] = h5py.ExternalLink(str(outside), "/demo")
    assert recognize_hdf5(tmp_path / "links.hdf5") is None
    with pytest.raises(RtError, match="no episodes are recognized"):
        log(tmp_path / "links.hdf5").units()


@pytest.mark.parametrize("spoil", [endless, endless_frames, huge_frame])
def test_no_memory_is_taken_for_what_a_header_says(spoil: Callable[[Any, Path], None], inside: Path, outside: Path) -> None:
    with h5py.File(inside, "r+") as file:
        spoil(file, outside)
    read(log(inside))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    read(log(inside))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000


@pytest.mark.parametrize("left", [0, 4, 20, 60, 100, 3000, -1000, -1])
def test_a_file_that_is_cut(left: int, inside: Path) -> None:
    whole = inside.read_bytes()
    inside.write_bytes(whole[:left] if left >= 0 else whole[: len(whole) + left])
    with pytest.raises(DataError, match=r"a\.hdf5") as caught:
        log(inside).units()
    assert "the file is cut" in caught.value.what or "no HDF5 file" in caught.value.what
    if left > 8 or left < 0:
        with pytest.raises(DataError, match=r"a\.hdf5"):
            recognize_hdf5(inside)
    else:
        assert recognize_hdf5(inside) is None


def test_a_cut_file_among_others(inside: Path) -> None:
    whole = inside.read_bytes()
    (inside.parent / "b.hdf5").write_bytes(whole[:-500])
    with pytest.raises(DataError, match=r"the file is cut.*b\.hdf5"):
        log(inside.parent).units()


def test_a_file_without_episodes_among_others(inside: Path) -> None:
    with h5py.File(inside.parent / "notes.hdf5", "w") as file:
        file["data/x"] = [1]
    steps, rejects = read(log(inside.parent))
    assert len(by_episode(steps)) == 3 and [each.reason for each in rejects] == ["no_episodes"]


def test_a_damaged_chunk_loses_its_frames(inside: Path) -> None:
    with h5py.File(inside) as file:
        chunk = file["data/demo_1/obs/eye_image"].id.get_chunk_info(0)
    whole = bytearray(inside.read_bytes())
    whole[chunk.byte_offset + 20 : chunk.byte_offset + 60] = bytes(40)
    inside.write_bytes(whole)
    steps, rejects = read(log(inside))
    assert not rejects
    lost = []
    for step in steps:
        for image in step.images:
            try:
                image.content()
            except ImageFault as fault:
                lost.append((step.episode, step.step, image.camera, fault.reason))
    assert lost == [("demo_1", number, "eye_image", "corrupt_image") for number in range(4)]


def test_damaged_numbers_lose_their_episode(inside: Path) -> None:
    with h5py.File(inside, "r+") as file:
        del file["data/demo_1/actions"]
        file.create_dataset("data/demo_1/actions", data=writing.numbers(1, 6, 7), compression="gzip")
    with h5py.File(inside) as file:
        chunk = file["data/demo_1/actions"].id.get_chunk_info(0)
    whole = bytearray(inside.read_bytes())
    whole[chunk.byte_offset + 20 : chunk.byte_offset + 60] = bytes(40)
    inside.write_bytes(whole)
    steps, rejects = read(log(inside))
    assert [(each.reason, each.count) for each in rejects] == [("damaged_data", 6)] and len(by_episode(steps)) == 2


def test_encoded_images_that_are_none(tmp_path: Path) -> None:
    """A row of zeros, a cut JPEG and other bytes are given as they are: the check of images names them."""
    path = writing.write_act(tmp_path / "episode_0.hdf5")
    with h5py.File(path, "r+") as file:
        rows = file["observations/images/cam_low"]
        rows[1] = 0
        rows[2, 300:] = 0
    steps, rejects = read(log(path))
    assert not rejects
    contents = [bytes(image.content()) for step in steps for image in step.images if image.camera == "cam_low"]
    assert contents[1] == b"" and contents[2].startswith(b"\xff\xd8") and not contents[2].endswith(b"\xff\xd9")


@pytest.fixture(scope="module")
def act(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return writing.write_act(tmp_path_factory.mktemp("act") / "episode_0.hdf5", steps=3)


@tries(60, derandomize=True)
@given(at=st.integers(0, 6_000), value=st.binary(min_size=1, max_size=8))
def test_any_damage_is_an_error_of_ours(at: int, value: bytes, act: Path) -> None:
    """Always the same damage, and to a file without texts of any length: HDF5's own library may search a damaged heap for ever."""
    whole = bytearray(act.read_bytes())
    whole[at : at + len(value)] = value
    broken = act.with_name("broken.hdf5")
    broken.write_bytes(whole)
    hdf5._look.cache_clear()
    with suppress(RtError, ImageFault):
        for step in read(log(broken))[0]:
            for image in step.images:
                image.content()


def test_nothing_is_left_open_at_the_end(inside: Path) -> None:
    """An image that is still waiting keeps no file open in a way that the end of the process cannot bear."""
    script = f"""
from rt2data.read.hdf5.source import HDF5
source = HDF5.model_validate({{"path": {str(inside)!r}, "action_space": "generic_nd"}})
steps = [step for unit in source.units() for step in source.read(unit)]
kept = steps[0].images[0].content().copy()
half = source.read(source.units()[0])
next(half).images[0].content()
"""
    assert subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True).returncode == 0


def test_what_is_not_asked_for_is_not_read(inside: Path) -> None:
    steps, _ = read(log(inside))
    frames = [image.data for step in steps for image in step.images]
    assert all(isinstance(frame, Deferred) for frame in frames)
    inside.unlink()
    with pytest.raises(OSError):
        frames[0].read()  # type: ignore[union-attr]
    assert isinstance(steps[0], Step)
