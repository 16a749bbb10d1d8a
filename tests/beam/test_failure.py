"""What a worker elsewhere tells of a failure, and what it does where the run has failed already."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from rt2data.beam.failure import failure_file, forget, is_final, tell, told
from rt2data.beam.graph import CarryOut, Here
from rt2data.beam.local import FarRun, LocalRun, RunId, find_run
from rt2data.beam.pool import Inline
from rt2data.errors import (
    DataError,
    InternalError,
    LockedError,
    OutputError,
    RejectLimitError,
    RtError,
    SourceChangedError,
    UsageError,
)
from rt2data.io.location import path_of
from rt2data.plan.recipe import Mistake, RecipeError
from rt2data.plan.recipe.messages import Spot

KINDS = (InternalError, UsageError, DataError, RejectLimitError, OutputError, LockedError, SourceChangedError)
Work = Callable[[Any], Any]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return failure_file(tmp_path / "mixture", "abc")


def attempt(work: Work, file: Path, *orders: str) -> list[str]:
    """A bundle of orders, as a worker elsewhere is given it."""
    step = CarryOut(work, RunId("abc", str(file)))
    step.start_bundle()
    found = [result for order in orders for result in step.process(order)]
    return found + [value.value for value in step.finish_bundle()]


@pytest.mark.parametrize(
    ("beside", "named"),
    [
        ("/data/mixture", "/data/.mixture.failure-abc.json"),
        ("gs://bucket/a/mixture", "gs://bucket/a/.mixture.failure-abc.json"),
        ("gs://bucket", "gs://bucket/.failure-abc.json"),
    ],
)
def test_a_failure_is_told_beside_what_is_made(beside: str, named: str) -> None:
    assert str(failure_file(path_of(beside), "abc")) == named


@pytest.mark.parametrize("kind", KINDS)
def test_a_failure_keeps_its_kind(file: Path, kind: type[RtError]) -> None:
    tell(file, kind("a cut file", "log, byte 7", "fetch it again"))
    found = told(file)
    assert type(found) is kind
    assert (found.what, found.where, found.do) == ("a cut file", "log, byte 7", "fetch it again")
    forget(file)
    assert told(file) is None and not file.exists()


def test_a_recipe_that_is_wrong_is_wrong_usage(file: Path) -> None:
    tell(file, RecipeError(Mistake(Spot("mixture.yaml", line, 1), "seed", f"mistake {line}") for line in (1, 2)))
    found = told(file)
    assert type(found) is UsageError
    assert str(found) == "2 mistakes in the recipe; mixture.yaml:1:1 seed: mistake 1; mixture.yaml:2:1 seed: mistake 2"


def test_the_first_final_failure_counts(file: Path) -> None:
    tell(file, OutputError("no space"))
    tell(file, OutputError("still no space"))
    assert str(told(file)) == "no space" and not is_final(told(file))
    tell(file, DataError("a cut file"))
    tell(file, SourceChangedError("changed"))
    tell(file, OutputError("no space again"))
    assert str(told(file)) == "a cut file"


def test_a_bug_is_not_told(file: Path) -> None:
    tell(file, ZeroDivisionError("a bug"))
    assert not file.exists()


def test_what_cannot_be_told_or_read_stops_nobody(tmp_path: Path) -> None:
    tell(tmp_path / "gone" / "x.json", DataError("a cut file"))
    assert told(tmp_path / "gone" / "x.json") is None
    (tmp_path / "odd.json").write_text("no JSON")
    assert told(tmp_path / "odd.json") is None


def test_runs_do_not_hear_of_each_other(tmp_path: Path) -> None:
    tell(failure_file(tmp_path / "mixture", "earlier"), DataError("old"))
    assert attempt(str.upper, failure_file(tmp_path / "mixture", "now"), "a", "b") == ["A", "B"]


def test_nothing_is_done_after_a_final_failure(file: Path) -> None:
    done: list[str] = []

    def work(order: str) -> str:
        done.append(order)
        raise DataError("a cut file", order)

    for _ in range(4):  # as Dataflow retries
        with pytest.raises(DataError, match="a cut file"):
            attempt(work, file, "first", "second")
    assert done == ["first"]
    with pytest.raises(DataError, match="a cut file"):
        next(Here(lambda element: [element], RunId("abc", str(file))).process(None))


def test_what_may_be_overcome_is_tried_again(file: Path) -> None:
    left = [OutputError("no space")]

    def work(order: str) -> str:
        if left:
            raise left.pop()
        return order

    with pytest.raises(OutputError):
        attempt(work, file, "first")
    assert attempt(work, file, "first", "second") == ["first", "second"]


def test_a_long_bundle_ends_when_the_run_fails_elsewhere(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rt2data.beam.local.LOOK_S", 0.0)

    def work(order: str) -> str:
        if order == "second":
            tell(file, DataError("a cut file", "another worker"))
        return order

    step = CarryOut(work, RunId("abc", str(file)))
    step.start_bundle()
    assert [*step.process("first"), *step.process("second")] == ["first", "second"]
    with pytest.raises(DataError, match="another worker"):
        list(step.process("third"))


def launched(file: Path, error: Exception) -> Exception:
    """What the launcher raises where the runner fails so."""
    run = LocalRun(Inline(), lambda _: None, failures=str(file))

    def graph() -> None:
        raise error

    with pytest.raises(type(error) if told(file) is None else Exception) as caught:
        run.carry_out(graph)
    assert isinstance(caught.value, Exception)
    return caught.value


def test_the_launcher_raises_what_was_told(file: Path) -> None:
    assert isinstance(launched(file, RuntimeError("text of the runner")), RuntimeError)
    tell(file, OutputError("no space", "shard-3"))
    assert isinstance(launched(file, RuntimeError("State: CANCELLED")), RuntimeError), "that failure was overcome"
    assert launched(file, RuntimeError("OutputError: no space [shard-3]")).args == OutputError("no space", "shard-3").args
    tell(file, DataError("a cut file"))
    assert isinstance(launched(file, RuntimeError("State: FAILED")), DataError)


def test_a_run_is_found_here_or_is_elsewhere(file: Path) -> None:
    found = find_run(RunId("unknown", str(file)))
    assert isinstance(found, FarRun) and found.id == RunId("unknown", str(file))
    future: Future[Any] = found.submit(str.upper, "a")
    assert future.result() == "A"
