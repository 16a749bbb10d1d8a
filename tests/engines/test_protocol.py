"""What an engine may do, and what a build makes of it: results in any order, failures and interrupts, all in one process."""

from __future__ import annotations

import random
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from rt2data.build import MIXTURE, Output, Site, build_by, build_plainly, rlds_output
from rt2data.cli.app import app
from rt2data.engines import table
from rt2data.engines.base import Engine, InTurn, Stopping, Work
from rt2data.engines.outcome import attempt, settled
from rt2data.errors import DataError, InternalError, LockedError, UsageError
from rt2data.io.publish import exclusively
from rt2data.plan.episodes import RldsOptions
from rt2data.plan.model import Plan
from rt2data.plan.recipe import Recipe
from rt2data.prepare import runs
from rt2data.prepare.unit import UnitSummary
from rt2data.write.shard import ShardInfo, ShardOrder

pytestmark = pytest.mark.long

Recipes = Callable[..., Recipe]


class Shuffled:
    """Threads, which begin and end their orders in any order; the first worker of each is killed, and another carries it out."""

    def __init__(self, seed: int = 0) -> None:
        self.random, self.done = random.Random(seed), list[Any]()

    def map(self, work: Work, orders: Sequence[Any]) -> Iterator[Any]:
        with ThreadPoolExecutor(4) as threads:
            shuffled = self.random.sample(orders, len(orders))
            self.done += shuffled
            for future in as_completed([threads.submit(self._attempt, work, order) for order in shuffled]):
                yield settled(future.result())

    def _attempt(self, work: Work, order: Any) -> Any:
        (Path(order.folder) / f".killed-{id(order)}.tmp").touch()
        return attempt(work, order)


def files(out: Path) -> dict[str, bytes]:
    """Every file of an output. Paths of the store, which differ, are not in them."""
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}


@pytest.mark.parametrize("output", [MIXTURE, rlds_output(RldsOptions())], ids=["mixture", "episodes"])
@pytest.mark.parametrize("direct", [64, 0], ids=["fragments", "runs"])
def test_any_order_gives_the_same_bytes(
    toy_recipe: Recipes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: Output, direct: int
) -> None:
    recipe = toy_recipe()
    want = build_plainly(recipe, Site(tmp_path / "plain"), output=output)
    (tmp_path / "store").rename(tmp_path / "other")
    monkeypatch.setattr(runs, "DIRECT", direct)
    monkeypatch.setattr(runs, "RUN_ROWS", 20)
    engine, heard = Shuffled(direct), list[Any]()
    assert build_by(nullcontext(engine), recipe, Site(tmp_path / "out"), heard.append, output=output) == want
    assert files(tmp_path / "out") == files(tmp_path / "plain")
    assert not list(tmp_path.rglob("*.tmp")), "what killed workers left is not published, in an output or a store"
    assert any(isinstance(order, runs.RunOrder) for order in engine.done) == (direct == 0)
    assert len([each for each in heard if isinstance(each, UnitSummary)]) == 7
    assert [each for each in heard if isinstance(each, ShardInfo)]


def test_progress_is_that_of_the_pool(toy_recipe: Recipes, tmp_path: Path) -> None:
    """What there is to do, the units, the plan, the shards."""
    heard = list[Any]()
    build_by(nullcontext(InTurn()), toy_recipe(), Site(tmp_path / "out"), heard.append)
    kinds = [type(each) for each in heard]
    assert kinds[0] is tuple
    assert kinds.index(UnitSummary) < kinds.index(Plan) < kinds.index(ShardInfo)
    heard.clear()
    build_by(nullcontext(InTurn()), toy_recipe(), Site(tmp_path / "out"), heard.append)
    assert [type(each) for each in heard] == [tuple], "a finished output is not built again"


def test_a_failure_keeps_its_type(toy_recipe: Recipes, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="dimension") as caught:
        build_by(nullcontext(Shuffled()), toy_recipe(robot__arm__action_space="metaworld"), Site(tmp_path / "out"))
    assert "step 0" in caught.value.where
    assert not (tmp_path / "out").exists()


class Interrupted(Shuffled):
    """Ctrl-C comes with the third shard."""

    def map(self, work: Work, orders: Sequence[Any]) -> Iterator[Any]:
        for number, result in enumerate(super().map(work, orders)):
            if isinstance(orders[0], ShardOrder) and number == 3:
                raise KeyboardInterrupt
            yield result


def test_an_interrupt_ends_the_engine_before_the_output_is_released(toy_recipe: Recipes, tmp_path: Path) -> None:
    heard = list[Any]()

    @contextmanager
    def starting() -> Iterator[Engine]:
        try:
            yield Interrupted()
        finally:
            heard.append("ended")
            with pytest.raises(LockedError), exclusively(tmp_path / ".out.lock", "out"):
                pass

    with pytest.raises(KeyboardInterrupt):
        build_by(starting(), toy_recipe(), Site(tmp_path / "out"), heard.append)
    assert [type(each) for each in heard[-2:]] == [Stopping, str]
    assert not (tmp_path / "out").exists()
    build_plainly(toy_recipe(), Site(tmp_path / "whole"))
    build_by(nullcontext(InTurn()), toy_recipe(), Site(tmp_path / "out"), heard.append)
    assert [each for each in heard if isinstance(each, ShardInfo) and not each.fresh], "it goes on where it stopped"
    assert files(tmp_path / "out") == files(tmp_path / "whole")


def test_what_refuses_is_asked_before_the_engine_starts(toy_recipe: Recipes, tmp_path: Path) -> None:
    @contextmanager
    def starting() -> Iterator[Engine]:
        pytest.fail("started")
        yield InTurn()

    def refuse(_: object) -> None:
        raise UsageError("not here")

    with pytest.raises(UsageError, match="not here"):
        build_by(starting(), toy_recipe(), Site(tmp_path / "out"), before=refuse)


def test_an_error_that_cannot_travel_is_told() -> None:
    def fail(order: str) -> None:
        class Local(Exception):  # noqa: N818
            """Of a class that no other process knows."""

        raise Local(order)

    with pytest.raises(InternalError, match="Local: here"):
        settled(attempt(fail, "here"))


def test_an_interrupt_is_no_failure() -> None:
    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        attempt(interrupt, None)


# The command


@pytest.mark.parametrize(("kind", "package"), [("ray", "ray"), ("spark", "pyspark")])
def test_a_missing_package_is_named(
    toy_recipe: Recipes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, f"rt2data.engines.{kind}", raising=False)
    toy_recipe()
    with pytest.raises(UsageError) as caught:
        app(["build-mixture", str(tmp_path / "mixture.yaml"), "--engine", kind], standalone_mode=False)
    assert f"'rt2data[{kind}]'" in caught.value.do
    assert not (tmp_path / "mixture").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--workers", "2"), "workers of its own"),
        (("--pool", "threads"), "workers of its own"),
        (("--runner", "spark"), "--engine and --runner both say"),
        (("--runner", "local"), "--engine and --runner both say"),
        (("--runner", "dataflow", "--", "--region=r"), "--engine and --runner both say"),
    ],
)
def test_what_contradicts_an_engine(toy_recipe: Recipes, tmp_path: Path, options: tuple[str, ...], said: str) -> None:
    toy_recipe()
    with pytest.raises(UsageError, match=said):
        app(["build-mixture", str(tmp_path / "mixture.yaml"), "--engine", "spark", *options], standalone_mode=False)
    assert not (tmp_path / "mixture").exists() and not (tmp_path / "store").exists()


def test_signals_stay_the_command_s(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def at_work() -> Iterator[Engine]:
        signal.signal(signal.SIGINT, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: None)
        yield InTurn()

    module = ModuleType("rt2data.engines.ray")
    module.at_work = at_work  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with table.start("ray") as engine:
        assert isinstance(engine, InTurn)
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
