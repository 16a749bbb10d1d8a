"""Decode the videos of a LeRobot dataset in a plain PyAV loop, read it, or prepare it as one worker does; print frames per second.
A process of its own.
"""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path

import av

from rt2data.prepare.begin import begin, store_folder
from rt2data.prepare.unit import prepare_unit
from rt2data.read.lerobot.source import LeRobot
from rt2data.records import Step


def bare(root: Path) -> int:
    """Every frame of every video to RGB."""
    frames = 0
    for path in sorted((root / "videos").rglob("*.mp4")):
        with av.open(str(path)) as container:
            for frame in container.decode(video=0):
                frame.to_ndarray(format="rgb24")
                frames += 1
    return frames


def read(root: Path) -> int:
    """Every frame of every step to RGB, each found by the time of its step, with all columns of the steps."""
    source, frames = LeRobot(path=str(root), action_space="generic_nd", cameras="all"), 0
    for unit in source.units():
        for found in source.read(unit):
            for image in found.images if isinstance(found, Step) else ():
                image.content()
                frames += 1
    return frames


def prepare(root: Path, out: Path) -> int:
    """Rows of a store, with their images as JPEG."""
    source = LeRobot(path=str(root), action_space="generic_nd")
    orders = begin("log", source, store_folder(out, "log", source))
    return sum(sum(prepare_unit(order).rows.values()) for order in orders)


if __name__ == "__main__":
    what, root = sys.argv[1], Path(sys.argv[2])
    started, used = time.perf_counter(), time.process_time()
    frames = {"bare": bare, "read": read}[what](root) if what in ("bare", "read") else prepare(root, Path(sys.argv[3]))
    seconds, cpu = time.perf_counter() - started, time.process_time() - used
    peak = int(re.findall(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())[0]) / 1024
    print(json.dumps({"frames_per_s": frames / seconds, "cpu_ms": 1000 * cpu / frames, "peak_mb": peak}))
