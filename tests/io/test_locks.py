"""A lock that leaves no file behind, and yet is never held twice."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest
from filelock import FileLock

from rt2data.errors import LockedError
from rt2data.io.publish import exclusively

THREADS, TURNS = 8, 40


def test_its_file_is_there_only_while_it_is_held(tmp_path: Path) -> None:
    lock = tmp_path / "new" / ".out.lock"
    with exclusively(lock, "out"):
        assert lock.is_file()
        with pytest.raises(LockedError), exclusively(lock, "out"):
            pass
        assert lock.is_file(), "whoever was refused has not removed it"
    assert list(lock.parent.iterdir()) == []


def test_a_failure_leaves_no_file_either(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), exclusively(tmp_path / ".out.lock", "out"):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_the_file_of_a_killed_build_is_taken_over_and_removed(tmp_path: Path) -> None:
    lock = tmp_path / ".out.lock"
    lock.write_text("4711")
    with exclusively(lock, "out"):
        pass
    assert not lock.exists()


def test_a_lock_on_a_removed_file_is_none(tmp_path: Path) -> None:
    """Whoever opened the file before it was removed must not take it for the lock: another may hold the new one."""
    lock = tmp_path / ".out.lock"
    inodes: list[int] = []

    def wait_for_it() -> None:
        with exclusively(lock, "out", wait_s=20):
            inodes.append(lock.stat().st_ino)
            with pytest.raises(LockedError), exclusively(lock, "out"):
                pass

    waiting = threading.Thread(target=wait_for_it)
    with exclusively(lock, "out"):
        waiting.start()
        time.sleep(0.1)
    waiting.join(20)
    assert len(inodes) == 1 and not lock.exists()


def test_never_two_at_once(tmp_path: Path) -> None:
    lock, inside, most = tmp_path / ".out.lock", [], []

    def work() -> None:
        for _ in range(TURNS):
            with exclusively(lock, "out", wait_s=30):
                inside.append(1)
                most.append(len(inside))
                os.sched_yield()
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(most) == THREADS * TURNS and set(most) == {1}
    assert not lock.exists()


def test_others_that_lock_the_same_file_are_seen(tmp_path: Path) -> None:
    with FileLock(tmp_path / ".out.lock"), pytest.raises(LockedError), exclusively(tmp_path / ".out.lock", "out"):
        pass
