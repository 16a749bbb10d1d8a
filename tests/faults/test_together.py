"""Several builds at once: one builds an output, the others say that it does; a store is prepared once and shared."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from filelock import FileLock

from tests.faults.command import Ended, Warm, running
from tests.faults.conftest import INLINE, Place

MANY = ("--set", "size.num_examples=3000")


def all_at_once(folders: list[Path], *arguments: str) -> list[Ended]:
    """Start the command in all these folders, then wait for all."""
    with ExitStack() as stack:
        runs = [stack.enter_context(running(folder, "build-mixture", *arguments)) for folder in folders]
        ended = [run.wait() for run in runs]
        assert not [left for run in runs for left in run.orphans()]
    return ended


def one_winner(ended: list[Ended]) -> None:
    """One has built; each of the others found the place taken, or the mixture complete."""
    built = [e for e in ended if e.code == 0 and "already" not in e.err]
    late = [e for e in ended if e.code == 0 and "already" in e.err]
    locked = [e for e in ended if e.code == 6]
    assert (len(built), len(built) + len(late) + len(locked)) == (1, len(ended)), [(e.code, e.err) for e in ended]
    for loser in locked:
        loser.failed(6, "another build is writing", "mixture", "wait for it")


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 8])
def test_one_place(place: Place, warm: Warm, count: int) -> None:
    one_winner(all_at_once([place.folder] * count, "--workers", "1", *MANY))
    winner = place.bytes_built
    warm(place.folder, "verify", "mixture", "--workers", "0").succeeded()
    assert not place.litter()
    warm(place.folder, *INLINE, *MANY).succeeded()
    assert place.bytes_built == winner


@pytest.mark.slow
def test_one_store_two_outputs(place: Place, built: Place) -> None:
    recipe = (place.folder / "mixture.yaml").read_text()
    (place.folder / "other.yaml").write_text(recipe)
    with (
        running(place.folder, "build-mixture", "--workers", "1") as one,
        running(place.folder, "build-mixture", "other.yaml", "--workers", "1", "--robot-frac", "1/3") as other,
    ):
        one.wait().succeeded()
        other.wait().succeeded()
    assert place.bytes_built == built.bytes_built
    assert (place.folder / "other" / "manifest.json").is_file()
    stores = [path for path in (place.folder / "store").iterdir() if path.is_dir()]
    assert len(stores) == 2 + 1, "one folder has the units of both"
    assert not place.litter()


def test_a_held_output(place: Place, warm: Warm) -> None:
    with FileLock(place.folder / ".mixture.lock"):
        ended = warm(place.folder, *INLINE)
    ended.failed(6, "another build is writing", str(place.out))
    assert ended.seconds < 5
    assert not (place.folder / "store").exists()


@pytest.mark.slow
def test_a_held_store_is_waited_for(place: Place, built: Place) -> None:
    """Whoever waits says so, and goes on when it is let go; Ctrl-C ends the waiting."""
    names = [path.name for path in (built.folder / "store").iterdir() if path.is_dir() and path.name.startswith("log-")]
    (place.folder / "store").mkdir()
    with running(place.folder, "build-mixture", "--workers", "0") as run:
        with FileLock(place.folder / "store" / f".{names[0]}.lock"):
            assert run.process.stderr is not None
            assert "waiting for the store of log" in run.process.stderr.readline()
            time.sleep(0.2)
            assert run.process.poll() is None
        run.wait().succeeded()
    assert place.bytes_built == built.bytes_built


def test_a_lock_file_of_a_killed_build_does_not_lock(place: Place, warm: Warm) -> None:
    (place.folder / ".mixture.lock").write_text("4711")
    warm(place.folder, *INLINE).succeeded()
