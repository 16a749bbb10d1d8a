"""A trial run: it is real, it leaves nothing, and what it foretells follows from what it measured."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest

from rt2data.beam.pool import Inline, make_pool
from rt2data.build import Site, build_plainly
from rt2data.errors import DataError, UsageError
from rt2data.forecast.canary import LEAST_READ, Amount, Canary, parse_amount, run_canary
from rt2data.forecast.forecast import PlanForecast, forecast_plan, known_sources
from rt2data.forecast.timing import Extent, cpu_seconds, predict
from rt2data.plan.recipe import Recipe
from rt2data.read.source import Source, source_class
from rt2data.records import Example, Fact, Reject, Step, Unit
from tests.bench.generate import STEPS, write_corpus, write_log
from tests.contract import toy
from tests.forecast.conftest import Read
from tests.forecast.test_estimate import tree


def trial(recipe: Recipe, near: Path, pool: Any = None, workers: int = 0) -> tuple[PlanForecast, Canary]:
    known = known_sources(recipe, recipe.store_folder)
    plan = forecast_plan(recipe, known)
    return plan, run_canary(recipe, plan, known, pool or Inline(), workers, Amount("1%", share=Fraction(1, 100)), near, 1.0)


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("1%", Amount("1%", share=Fraction(1, 100))),
        ("0.25", Amount("0.25", share=Fraction(1, 4))),
        ("1/3", Amount("1/3", share=Fraction(1, 3))),
        ("64MB", Amount("64MB", bytes=64_000_000)),
        ("1GiB", Amount("1GiB", bytes=2**30)),
    ],
)
def test_a_share_or_a_size(text: str, amount: Amount) -> None:
    assert parse_amount(text) == amount


@pytest.mark.parametrize("text", ["0", "101%", "-1%", "twenty", "20s", "", "64XB"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="such as 1% or a size such as 64MB"):
        parse_amount(text)


def test_a_canary_takes_enough_to_be_timed_and_never_more_than_there_is() -> None:
    share = Amount("1%", share=Fraction(1, 100))
    assert share.of(10**12, LEAST_READ) == 10**10
    assert share.of(10**9, LEAST_READ) == LEAST_READ
    assert share.of(1000, LEAST_READ) == 1000
    assert Amount("1GB", bytes=10**9).of(10**12, LEAST_READ) == 10**9


@pytest.fixture(scope="module")
def log_and_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_log(folder / "log", 24 * STEPS * 1500, 1500, shard_bytes=500_000)
    write_corpus(folder / "web", 60, 1500)
    return folder


def mixed(recipe: Recipe, data: Path, store: Path) -> Recipe:
    web = data / "web"
    paths = {
        "questions": str(web / "questions.json"),
        "annotations": str(web / "annotations.json"),
        "image_dirs": (str(web / "images"),),
    }
    log: Source = source_class("rlds").model_validate({"path": str(data / "log"), "action_space": "widowx_bridge"})
    corpus: Source = source_class("vqav2").model_validate(paths)
    return recipe.model_copy(update={"robot": {"log": log}, "web": {"qa": corpus}, "store": str(store)})


@pytest.mark.slow
def test_it_tries_and_leaves_nothing(read: Read, log_and_corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "near").mkdir()
    recipe = mixed(read(), log_and_corpus, tmp_path / "store")
    before = tree(log_and_corpus)
    plan, canary = trial(recipe, tmp_path / "near", make_pool("threads", 2), 2)
    assert tree(log_and_corpus) == before
    assert list(tmp_path.iterdir()) == [tmp_path / "near"] and not list((tmp_path / "near").iterdir())
    assert set(canary.rates.prepare) == {"log", "qa"}
    assert canary.bytes_read > 0 and canary.bytes_written > 0 and canary.peak_bytes > 50e6
    found = {name: recipe.sources[name].units() for name in ("log", "qa")}
    units = {name: (len(each), sum(unit.bytes for unit in each)) for name, each in found.items()}
    rows = {source.name: source.rows for source in plan.sources}
    whole = Extent(units=units, rows=rows, examples=plan.num_examples, bytes=plan.bytes, shards=plan.shards, workers=2)
    assert canary.build.phases == predict(canary.rates, whole)
    assert canary.remix.phases == predict(canary.rates, msgspec.structs.replace(whole, units={}))
    assert canary.cpu_s == cpu_seconds(canary.rates, whole)
    assert canary.build.seconds.low is not None and canary.build.seconds.high is not None
    assert 0 < canary.build.seconds.low <= canary.build.seconds.value <= canary.build.seconds.high
    assert canary.remix.phases.prepare == canary.remix.phases.gather == 0.0 < canary.build.phases.prepare


@pytest.mark.slow
def test_of_prepared_sources_only_the_writing_is_tried(read: Read, tmp_path: Path) -> None:
    recipe = read(store=tmp_path / "store")
    build_plainly(recipe, Site(tmp_path / "out"))
    before = tree(tmp_path)
    plan, canary = trial(recipe, tmp_path)
    assert tree(tmp_path) == before
    assert not plan.estimated and canary.bytes_read == 0
    assert canary.build == canary.remix and canary.rates.prepare == {}


class Faulty(toy.ToyWeb):
    """Good for a scan, of which no part may be tried twice."""

    def read(self, unit: Unit) -> Iterator[Step | Example | Reject]:
        raise DataError("the disk is on fire", unit.path)


def test_what_fails_is_told_and_leaves_nothing(read: Read, place: Path, tmp_path: Path) -> None:
    recipe = read(store=tmp_path / "store", web__cap__weight=0)
    known = known_sources(recipe, recipe.store_folder)
    plan = forecast_plan(recipe, known)
    burning = recipe.model_copy(update={"web": {"qa": Faulty(path=str(place / "qa"))}})
    with pytest.raises(DataError, match="the disk is on fire"):
        run_canary(burning, plan, known, Inline(), 0, parse_amount("1%"), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_part_without_a_row_to_draw_asks_for_more(read: Read, place: Path, tmp_path: Path) -> None:
    class Late(toy.ToyRobot):
        """All but its last units are left out, which a scan of all of them sees and a small canary does not."""

        def read(self, unit: Unit) -> Iterator[Step | Example | Reject]:
            yield from super().read(unit) if unit.path.endswith("005.bin") else ()

        def pieces(self, unit: Unit, size: int) -> list[Unit]:
            return [] if unit.path.endswith("005.bin") else [unit]

    recipe = read(store=tmp_path / "store", robot__leg__weight=0, web__cap__weight=0)
    late = recipe.model_copy(update={"robot": {"arm": Late(path=str(place / "arm"), action_space="widowx_bridge")}})
    with pytest.raises(UsageError, match="too small: it read no row of split train"):
        trial(late, tmp_path)


@pytest.mark.parametrize("kind", ["log", "qa"])
@pytest.mark.parametrize("size", [1, 10_000, 10**9])
def test_pieces_are_the_unit_cut(read: Read, log_and_corpus: Path, tmp_path: Path, kind: str, size: int) -> None:
    """Read one after another they give what the unit gives."""
    source = mixed(read(), log_and_corpus, tmp_path).sources[kind]
    for unit in source.units():
        pieces = source.pieces(unit, size)
        ranges = [(part.path, part.start, part.stop) for piece in pieces for part in piece.each]
        assert next(each for each in ranges if each[0] == unit.path)[1] == unit.start
        assert all(one[2] == two[1] if one[0] == two[0] else two[1] == 0 for one, two in pairwise(ranges))
        assert sum(piece.bytes for piece in pieces) == unit.bytes
        assert len(pieces) == 1 or size < unit.bytes
        whole = [named(found) for found in source.read(unit) if not isinstance(found, Fact)]
        assert [named(found) for piece in pieces for found in source.read(piece) if not isinstance(found, Fact)] == whole


def named(found: Step | Example | Reject) -> str:
    return f"{found.episode} {found.step}" if isinstance(found, Step) else str(getattr(found, "key", found))
