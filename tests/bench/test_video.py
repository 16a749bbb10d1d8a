"""`make bench`: frames of videos read, and put into a store, beside a plain PyAV loop over the same videos; memory over an hour.

The hour takes a few minutes on two cores, and 2 GB of disk for a while.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from shutil import rmtree

import av
import numpy as np
import pytest

from tests.bench.test_build import ROUNDS, _keep, bench_folder
from tests.conftest import ROOT
from tests.read.lerobot_writing import Made, Pixels, film, picture, write_v21, write_v30

__all__ = ["bench_folder"]
pytestmark = pytest.mark.bench
CORES = sorted(os.sched_getaffinity(0))[:2]
PASSES = 4
"""Times that a process goes over the videos: the first is not measured, in which modules are imported."""
STEPS, FPS = 750, 30
BYTES_A_STEP = 1500
"""Of an episode in hand: its steps, without their pixels."""
LINE = """one process on one core: {read_frames_per_s:,.0f} frames/s read, {bare_frames_per_s:,.0f} by the plain PyAV loop,
    {prepare_frames_per_s:,.0f} prepared as JPEG; a worker reads {read_share:.2f} of the plain loop by the clock (goal 0.8),
    {read_cpu_share:.2f} by processor time, and prepares {prepare_share:.2f}
  two processes, each on a core of its own: two workers read {read_on_2:.2f} of one, two plain loops decode {bare_on_2:.2f} of one
  the whole machine, no process bound to a core: two workers read {free_read_on_2:,.0f} frames/s,
    one plain loop with a decoder on all cores {free_bare:,.0f}
  processor time a frame: {read_cpu_ms:.2f} ms to read, {bare_cpu_ms:.2f} in the plain loop, {prepare_cpu_ms:.2f} to prepare
  peak {read_peak_mb:,.0f}, {bare_peak_mb:,.0f} and {prepare_peak_mb:,.0f} MB"""


@pytest.mark.parametrize("name", ["lerobot_v21_g1", "lerobot_v30_g1", "sim_aloha_lerobot_v21"])
def test_frames_of_real_videos(bench_folder: Path, shared_data: Path, tmp_path: Path, name: str) -> None:
    _compare(shared_data / name, name, tmp_path, bench_folder)


def test_frames_of_h264(bench_folder: Path, tmp_path: Path) -> None:
    """640x480, two episodes of 25 seconds."""
    _compare(write_v21(tmp_path / "made", [_episode(STEPS)] * 2, fps=FPS), "h264", tmp_path, bench_folder)


def _compare(root: Path, name: str, out: Path, folder: Path) -> None:
    found = _beside(root, out)
    _keep(folder, f"video-{name}", found)
    print(f"\n{name}: {LINE.format(**found)}")


def test_memory_over_an_hour(bench_folder: Path, tmp_path: Path) -> None:
    """320x240: episodes of 25 seconds, twelve to a file, and one episode. Each is prepared on a core of its own."""
    clip, found = tmp_path / "clip.mp4", {}
    film(clip, [pixels[::2, ::2] for pixels in _Repeated(STEPS)], _times(STEPS))
    for minutes in (15, 60):  # in both a file of rows is full, which is gathered in memory
        steps = minutes * 60 * FPS
        roots = [tmp_path / f"{minutes}-many", tmp_path / f"{minutes}-one"]
        write_v30(roots[0], [_filmed(STEPS)] * (steps // STEPS), files=minutes // 5, fps=FPS, film=partial(_repeat, clip))
        write_v21(roots[1], [_filmed(steps)], film=partial(_repeat, clip), fps=FPS)
        for root, peak in zip(roots, _peaks(roots), strict=True):
            found[root.name] = peak
            print(f"\n{steps:,} frames, {root.name} episode(s): peak {peak:,.0f} MB")
    _keep(bench_folder, "video-hour", found)
    assert found["60-many"] < found["15-many"] * 1.15 + 10
    a_step = (found["60-one"] - found["15-one"]) * 1e6 / (45 * 60 * FPS)
    print(f"\none episode of an hour: {a_step:,.0f} bytes a step")
    assert a_step < BYTES_A_STEP


def _peaks(roots: Sequence[Path]) -> list[float]:
    """MB that preparing takes; what it writes does not stay."""
    running = [_start(["prepare", "1", str(root), f"{root}-made"], CORES[at % len(CORES)]) for at, root in enumerate(roots)]
    found = [each["peak_mb"] for each in _ended(running)]
    for root in roots:
        rmtree(f"{root}-made")
        rmtree(root)
    return found


def _beside(root: Path, out: Path) -> dict[str, float]:
    """The best of a few rounds, each way in turn.

    `read`, `bare` and `prepare` are one process on one core, where nothing runs in parallel. `read_on_2` and `bare_on_2` are two
    processes at once, each on a core of its own. `free_read_on_2` and `free_bare` may use all cores: two workers, and one plain
    loop whose decoder starts a thread for each core.
    """
    rounds = []
    for number in range(ROUNDS):
        core, made = CORES[number % len(CORES)], out / f"made-{number}"
        ways = {way: _run(way, PASSES, root, cores=[core])[0] for way in ("bare", "read")}
        ways["prepare"] = _run("prepare", 2, root, made, cores=[core])[0]
        found = {f"{way}_{key}": value for way, each in ways.items() for key, value in each.items()}
        found |= {f"{way}_on_2": _total(_run(way, PASSES, root, cores=CORES)) for way in ("bare", "read")}
        found["free_bare"] = _total(_run("bare", PASSES, root))
        rounds.append(found | {"free_read_on_2": _total(_run("read", PASSES, root, cores=[None, None]))})
    return _shares({key: (min if key.endswith("_ms") else max)(each[key] for each in rounds) for key in rounds[0]})


def _shares(found: dict[str, float]) -> dict[str, float]:
    """Also of the plain loop, and of one process."""
    for way in ("read", "prepare"):
        found[f"{way}_share"] = found[f"{way}_frames_per_s"] / found["bare_frames_per_s"]
        found[f"{way}_cpu_share"] = found["bare_cpu_ms"] / found[f"{way}_cpu_ms"]
    for way in ("read", "bare"):
        found[f"{way}_on_2"] /= found[f"{way}_frames_per_s"]
    return found


def _total(found: Sequence[dict[str, float]]) -> float:
    return sum(each["frames_per_s"] for each in found)


def _run(what: str, passes: int, *places: Path, cores: Sequence[int | None] = (None,)) -> list[dict[str, float]]:
    """One process for each core, all at once; None is any core."""
    return _ended([_start([what, str(passes), *map(str, places)], core) for core in cores])


def _ended(running: Sequence[subprocess.Popen[str]]) -> list[dict[str, float]]:
    said = [each.communicate()[0] for each in running]
    assert all(each.returncode == 0 for each in running)
    return [json.loads(each.splitlines()[-1]) for each in said]


def _start(words: Sequence[str], core: int | None) -> subprocess.Popen[str]:
    """A process keeps to the cores of the thread that starts it."""
    mine = os.sched_getaffinity(0)
    os.sched_setaffinity(0, mine if core is None else {core})
    try:
        return subprocess.Popen([sys.executable, "-m", "tests.bench.filming", *words], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    finally:
        os.sched_setaffinity(0, mine)


class _Repeated(list[Pixels]):
    """Many frames, few of which are in memory."""

    def __init__(self, frames: int) -> None:
        self._pictures = [np.ascontiguousarray(np.tile(picture(seed, 160), (3, 4, 1))) for seed in range(24)]
        super().__init__(self._pictures[at // 4 % 24] for at in range(frames))


def _repeat(clip: Path, path: Path, _: Sequence[Pixels], times: Sequence[float], codec: str) -> None:
    """A video of so many times, of a clip over and over: nothing is encoded."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as out, av.open(str(clip)) as source:
        filmed = source.streams.video[0]
        stream = out.add_stream_from_template(filmed)
        packets = [(packet, packet.pts, packet.dts) for packet in source.demux(filmed) if packet.pts is not None]
        for start in range(0, len(times), STEPS):
            for packet, pts, dts in packets:
                shift = round(start / FPS / filmed.time_base)
                packet.pts, packet.dts, packet.time_base, packet.stream = pts + shift, dts + shift, filmed.time_base, stream
                out.mux(packet)


def _times(steps: int) -> list[float]:
    return [float(np.float32(step / FPS)) for step in range(steps)]


def _filmed(steps: int) -> Made:
    """An episode without its pictures."""
    random = np.random.default_rng(0)
    return Made(
        action=random.normal(size=(steps, 7)).astype(np.float32),
        state=random.normal(size=(steps, 3)).astype(np.float32),
        times=_times(steps),
        tasks=[0] * steps,
        frames={"front": [np.empty(0, np.uint8)] * steps},
    )


def _episode(steps: int) -> Made:
    return replace(_filmed(steps), frames={"front": _Repeated(steps)})
