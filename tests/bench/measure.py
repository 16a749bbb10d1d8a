"""Measuring: wall time and peak memory of a whole process tree, and `cp` + fsync of the same bytes as the baseline."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from threading import Event, Thread

import psutil


@dataclass(frozen=True)
class Run:
    """What one command took."""

    seconds: float
    peak_rss: int  # sum over the process tree; shared pages count once for each process
    peak_pss: int  # the same with shared pages counted once


def run(command: list[str], folder: Path) -> Run:
    """Run a command and watch its process tree twenty times a second."""
    started = time.monotonic()
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    peaks, stop = [0, 0], Event()
    watcher = Thread(target=_watch, args=(process.pid, peaks, stop))
    watcher.start()
    _, errors = process.communicate()
    seconds = time.monotonic() - started
    stop.set()
    watcher.join()
    assert process.returncode == 0, errors.decode()[-2000:]
    return Run(seconds, peaks[0], peaks[1])


def _watch(pid: int, peaks: list[int], stop: Event) -> None:
    turn = 0
    while not stop.wait(0.05):
        turn += 1
        peaks[0] = max(peaks[0], _sum(pid, lambda p: p.memory_info().rss))
        if turn % 10 == 0:
            peaks[1] = max(peaks[1], _sum(pid, lambda p: p.memory_full_info().pss))


def _sum(pid: int, figure: Callable[[psutil.Process], int]) -> int:
    total = 0
    try:
        tree = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.Error:
        return 0
    for process in tree:
        try:
            total += figure(process)
        except psutil.Error:
            continue
    return total


def copy_and_sync(source: Path, target: Path) -> float:
    """Seconds that `cp` of a folder takes, with an fsync of each file."""
    shutil.rmtree(target, ignore_errors=True)
    started = time.monotonic()
    subprocess.run(["cp", "-r", str(source), str(target)], check=True)
    for path in filter(Path.is_file, target.rglob("*")):
        with path.open("rb") as file:
            os.fsync(file.fileno())
    seconds = time.monotonic() - started
    shutil.rmtree(target)
    return seconds


def middle(values: list[float]) -> float:
    """The median."""
    return float(median(values))
