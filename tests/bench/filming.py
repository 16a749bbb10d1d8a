"""Decode the videos of a LeRobot dataset in a plain PyAV loop, read it, or prepare it as one worker does; print frames per second.
A process of its own, which may run on one core alone: decoders and colour conversion start as many threads as there are cores.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import av

from rt2data.build import Preparation, prepare_plainly
from rt2data.prepare.begin import begin, store_folder
from rt2data.read.lerobot.source import LeRobot
from rt2data.records import Step

EVERY = 30
"""Seconds after which a long pass says that it goes on."""


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
    """A store of all rows, with their images as JPEG."""
    source = LeRobot(path=str(root), action_space="generic_nd")
    folder = store_folder(out, "log", source)
    found = prepare_plainly(Preparation("log", source, folder, tuple(begin("log", source, folder))))
    return sum(split.rows for split in found.info.splits.values())


def measure(work: Callable[[int], int], passes: int) -> dict[str, float]:
    """Of the quickest pass, other programs slow the rest; the first imports modules, and is left out where there are more."""
    seconds, cpu = [], []
    for number in range(passes):
        started, used = time.perf_counter(), time.process_time()
        frames = work(number)
        seconds.append(time.perf_counter() - started)
        cpu.append(time.process_time() - used)
    quickest, least = (min(each[1:] or each) for each in (seconds, cpu))
    return {"frames_per_s": frames / quickest, "cpu_ms": 1000 * least / frames, "peak_mb": peak_mb()}


def peak_mb() -> float:
    """The most memory that this process had."""
    return int(re.findall(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())[0]) / 1024


def tell(what: str) -> None:
    """Memory from time to time."""
    started = time.monotonic()
    while True:
        time.sleep(EVERY)
        print(f"  {what}: {time.monotonic() - started:,.0f} s, peak {peak_mb():,.0f} MB", file=sys.stderr, flush=True)


if __name__ == "__main__":
    what, passes, root = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    ways: dict[str, Callable[[int], int]] = {
        "bare": lambda _: bare(root),
        "read": lambda _: read(root),
        "prepare": lambda number: prepare(root, Path(sys.argv[4]) / str(number)),
    }
    Thread(target=tell, args=[f"{what} {root.name}"], daemon=True).start()
    print(json.dumps(measure(ways[what], passes)))
