"""Frames come in whole chunks, in any order, whatever the chunks are; memory stays flat."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import psutil
import pytest

from rt2data.io.hdf5 import Hdf5File
from rt2data.read.hdf5 import images
from rt2data.read.hdf5.images import Frames
from tests.read.hdf5 import writing
from tests.read.hdf5.reading import log

CHUNKS: dict[str, dict[str, Any]] = {
    "contiguous": {},
    "one": {"chunks": (1, 24, 32, 3), "compression": "gzip"},
    "some": {"chunks": (7, 12, 16, 1), "compression": "gzip", "shuffle": True},
    "all": {"chunks": (23, 24, 32, 3), "compression": "lzf"},
    "checked": {"chunks": (5, 24, 32, 3), "fletcher32": True},
}


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Starts of all reads of frames."""
    starts: list[int] = []
    load = Frames._load

    def count(self: Frames, number: int) -> None:
        load(self, number)
        starts.append(self._start)

    monkeypatch.setattr(Frames, "_load", count)
    return starts


@pytest.mark.parametrize("how", CHUNKS)
@pytest.mark.parametrize("slab", [1, 3 * 24 * 32 * 3, 1 << 25])
def test_every_frame(how: str, slab: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counted: list[int]) -> None:
    monkeypatch.setattr(images, "SLAB", slab)
    pixels = writing.frames(1, 23)
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file.create_dataset("eye", data=pixels, **CHUNKS[how])
    with Hdf5File(tmp_path / "a.hdf5") as file:
        frames = Frames(file, file.find("eye"))
        assert all(np.array_equal(frames.at(number), pixels[number]) for number in range(23))
        assert len(counted) == len(set(counted)), "no frame is read twice in the order of the steps"
        assert all(np.array_equal(frames.at(number), pixels[number]) for number in (22, 0, 11, 4))


def test_chunks_are_read_once(tmp_path: Path, counted: list[int]) -> None:
    """Of one camera of two, the one that is asked for."""
    source = log(writing.write_robomimic(tmp_path / "a.hdf5", (10,)))
    for step in source.read(source.units()[0]):
        step.images[0].content()  # type: ignore[union-attr]
    assert counted == [0, 4, 8]


def test_a_file_that_is_closed_is_opened_again(tmp_path: Path) -> None:
    with Hdf5File(writing.write_act(tmp_path / "a.hdf5")) as file:
        frames = Frames(file, file.find("observations/images/cam_low"))
    first = frames.at(0)
    assert isinstance(first, bytes) and first.endswith(b"\xff\xd9")
    file.close()
    assert frames.at(0) == first and frames.at(5) != first


@pytest.mark.slow
def test_memory_does_not_grow_with_the_episode(tmp_path: Path) -> None:
    """184 MB and 737 MB of pixels, of which about 1 MB is there at a time."""
    peaks = []
    for steps in (200, 800):
        with h5py.File(tmp_path / f"{steps}.hdf5", "w") as file:
            file["action"] = writing.numbers(0, steps, 7)
            file["observations/qpos"] = writing.numbers(0, steps, 7)
            frames = file.create_dataset("observations/images/top", (steps, 480, 640, 3), np.uint8)
            for start in range(0, steps, 50):
                frames[start : start + 50] = np.full((50, 480, 640, 3), 7, np.uint8)
        source, peak = log(tmp_path / f"{steps}.hdf5"), 0
        before = psutil.Process().memory_info().rss
        for step in source.read(source.units()[0]):
            step.images[0].content()  # type: ignore[union-attr]
            peak = max(peak, psutil.Process().memory_info().rss - before)
        peaks.append(peak)
    assert max(peaks) < 40e6
