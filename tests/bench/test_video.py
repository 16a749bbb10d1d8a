"""`make bench`: frames of videos read, and put into a store, beside a plain PyAV loop over the same videos; memory at two sizes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.bench.measure import middle
from tests.bench.test_build import ROUNDS, _keep, bench_folder
from tests.conftest import ROOT
from tests.read.lerobot_writing import Made, Pixels, picture, write_v21

__all__ = ["bench_folder"]
pytestmark = pytest.mark.bench
GOAL = 0.8
"""Frames that one worker reads, of those that the plain loop decodes with the same processor time."""
SHORT, LONG, STEPS, FPS = 2, 8, 750, 30


def test_frames_of_real_videos(bench_folder: Path, shared_data: Path, tmp_path: Path) -> None:
    for name in ("lerobot_v21_g1", "lerobot_v30_g1", "sim_aloha_lerobot_v21"):
        found = _beside(shared_data / name, tmp_path)
        _keep(bench_folder, f"video-{name}", found)
        print(f"\n{name}: {_line(found)}")


def test_memory_is_flat(bench_folder: Path, tmp_path: Path) -> None:
    """640x480 in H.264, episodes of 25 seconds: few and many. Of an episode all but the pixels is held, about 4 kB a step."""
    found = {}
    for episodes in (SHORT, LONG):
        root = write_v21(tmp_path / str(episodes), [_episode(STEPS)] * episodes, fps=FPS)
        found[episodes] = _beside(root, tmp_path)
        print(f"\n{episodes * STEPS} frames of H.264: {_line(found[episodes])}")
    _keep(bench_folder, "video-h264", found[LONG])
    assert found[LONG]["prepare_peak_mb"] < found[SHORT]["prepare_peak_mb"] * 1.15 + 10


def _beside(root: Path, out: Path) -> dict[str, float]:
    """Medians of a few rounds, each way in turn. Shares are of processor time, which does not depend on how many threads a decoder
    starts; `pair` is what two workers read together, of what one reads alone.
    """
    ways: dict[str, list[dict[str, Any]]] = {"bare": [], "read": [], "prepare": []}
    pairs = []
    for number in range(ROUNDS):
        ways["bare"] += _run("bare", root)
        ways["read"] += _run("read", root)
        ways["prepare"] += _run("prepare", root, out / f"{root.name}-{number}")
        pairs.append(sum(each["frames_per_s"] for each in _run("read", root, workers=2)) / ways["read"][-1]["frames_per_s"])
    found = {f"{way}_{key}": middle([each[key] for each in rounds]) for way, rounds in ways.items() for key in rounds[0]}
    shares = {way: found["bare_cpu_ms"] / found[f"{way}_cpu_ms"] for way in ("read", "prepare")}
    return found | {f"{way}_share": share for way, share in shares.items()} | {"pair": middle(pairs)}


def _line(found: dict[str, float]) -> str:
    return (
        f"{found['read_frames_per_s']:,.0f} frames/s read, {found['bare_frames_per_s']:,.0f} decoded by PyAV, "
        f"{found['prepare_frames_per_s']:,.0f} prepared as JPEG; {found['read_cpu_ms']:.2f}, {found['bare_cpu_ms']:.2f} and "
        f"{found['prepare_cpu_ms']:.2f} ms of processor time a frame: reading is {found['read_share']:.2f} of PyAV (goal {GOAL}), "
        f"preparing {found['prepare_share']:.2f}; two workers read {found['pair']:.2f} of one; "
        f"peak {found['read_peak_mb']:,.0f}, {found['bare_peak_mb']:,.0f} and {found['prepare_peak_mb']:,.0f} MB"
    )


def _run(what: str, *places: Path, workers: int = 1) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "tests.bench.filming", what, *map(str, places)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) for _ in range(workers)]
    said = [each.communicate()[0] for each in running]
    assert all(each.returncode == 0 for each in running)
    return [json.loads(each.splitlines()[-1]) for each in said]


class _Repeated(list[Pixels]):
    """Many frames, few of which are in memory."""

    def __init__(self, frames: int) -> None:
        self._pictures = [np.ascontiguousarray(np.tile(picture(seed, 160), (3, 4, 1))) for seed in range(24)]
        super().__init__(self._pictures[at // 4 % 24] for at in range(frames))


def _episode(steps: int) -> Made:
    random = np.random.default_rng(0)
    return Made(
        action=random.normal(size=(steps, 7)).astype(np.float32),
        state=random.normal(size=(steps, 3)).astype(np.float32),
        times=[float(np.float32(step / FPS)) for step in range(steps)],
        tasks=[0] * steps,
        frames={"front": _Repeated(steps)},
    )
