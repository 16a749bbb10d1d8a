"""A quick scan: close to what preparing gives, bounded, the same for a seed, and it writes nothing."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec import structs

from rt2data.build import Site, build_plainly
from rt2data.errors import RtError
from rt2data.forecast import estimate as sketching
from rt2data.forecast.estimate import EstimatedStore, Range, estimate_store
from rt2data.forecast.forecast import forecast_plan, known_sources
from rt2data.plan.recipe.model import Size
from rt2data.prepare.begin import begin
from rt2data.prepare.unit import prepare_unit
from rt2data.read.rlds import units
from rt2data.read.source import Source, source_class
from rt2data.read.vqav2 import sample
from rt2data.records import Example, Reject, Step, Unit
from rt2data.seal.manifest import read_manifest
from tests.bench.generate import STEPS, write_corpus, write_log
from tests.contract import toy
from tests.forecast.conftest import Read

pytestmark = pytest.mark.long


def tree(folder: Path) -> list[tuple[str, int]]:
    return sorted((str(path), path.stat().st_mtime_ns) for path in folder.rglob("*"))


def make(kind: str, **settings: Any) -> Source:
    return source_class(kind).model_validate(settings)


def toy_log(folder: Path, lengths: list[int]) -> toy.ToyRobot:
    for number, steps in enumerate(lengths):
        toy.write_robot(folder, 1, steps)
        (folder / "000.bin").rename(folder / f"{number + 1:03d}.bin")
    return toy.ToyRobot(path=str(folder), action_space="widowx_bridge")


def estimated(source: Source, split: str = "train", seed: int = 0) -> EstimatedStore:
    return estimate_store("it", source, Path("/nowhere"), split, seed)


# What is small enough to be read whole


def test_small_sources_are_known_exactly_but_for_what_was_not_checked(read: Read, place: Path, tmp_path: Path) -> None:
    recipe = read()
    before = tree(place)
    found = forecast_plan(recipe, known_sources(recipe, place / "none"))
    assert tree(place) == before, "a scan writes nothing"
    build_plainly(recipe.model_copy(update={"store": str(tmp_path / "store")}), Site(tmp_path / "out"))
    plan = read_manifest(tmp_path / "out").plan
    assert found.estimated and not found.fingerprint and set(found.estimates) == {"arm", "leg", "qa", "cap"}
    for one, other in zip(found.sources, plan.sources, strict=True):
        assert (one.name, one.rows, one.groups, one.draws, one.share) == (
            other.name,
            other.rows,
            other.groups,
            other.draws,
            other.share,
        )
        assert (one.image_bytes, one.action_dim) == (other.image_bytes, other.action_dim)
        assert one.record_bytes == pytest.approx(other.record_bytes, rel=0.03)
    assert (found.num_examples, found.shards) == (plan.num_examples, plan.shards)
    assert found.estimates["arm"].rows.low == found.estimates["arm"].rows.high == 48
    assert found.estimates["arm"].not_checked == ("duplicate keys",)


def test_a_prepared_source_is_exact_among_estimates(read: Read, tmp_path: Path) -> None:
    recipe = read(store=tmp_path)
    build_plainly(read(store=tmp_path, web__cap__weight=0), Site(tmp_path / "out"))
    found = forecast_plan(recipe, known_sources(recipe, tmp_path))
    assert set(found.estimates) == {"cap"}
    build_plainly(recipe, Site(tmp_path / "out2"))
    now = forecast_plan(recipe, known_sources(recipe, tmp_path))
    plan = read_manifest(tmp_path / "out2").plan
    assert not now.estimated and now.fingerprint == plan.fingerprint and now.sources == plan.sources


# What is not read whole


def test_only_a_sample_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, toys: None) -> None:
    source = toy_log(tmp_path / "log", [5 + number % 7 for number in range(60)])
    monkeypatch.setattr(sketching, "SAMPLE_BYTES", 100_000)
    whole = sum(unit.bytes for unit in source.units())
    found = estimated(source).estimate
    assert found.sampled < whole / 4
    assert found.rows.low is not None and found.rows.high is not None
    assert found.rows.low <= sum(5 + number % 7 for number in range(60)) <= found.rows.high
    assert "rows that were not sampled" in found.not_checked[-1]


def test_two_parts_are_read_in_any_case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, toys: None) -> None:
    source = toy_log(tmp_path / "log", [5] * 20)
    monkeypatch.setattr(sketching, "SAMPLE_BYTES", 0)
    assert estimated(source).estimate.sampled_rows == 2 * 5


def test_a_seed_gives_its_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, toys: None) -> None:
    monkeypatch.setattr(sketching, "SAMPLE_BYTES", 50_000)
    source = toy_log(tmp_path / "log", list(range(3, 33)))
    one, same, other = (estimated(source, seed=seed).estimate for seed in (1, 1, 2))
    assert one == same != other


def test_a_long_log_is_estimated_from_a_few_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = write_log(tmp_path, 30 * STEPS * 1500, 1500, shard_bytes=100_000)
    monkeypatch.setattr(units, "FILES", 4)
    monkeypatch.setattr(units, "RECORDS", 6)
    found = estimated(make("rlds", path=str(log), action_space="widowx_bridge"))
    assert found.estimate.measure == "episodes" and found.estimate.whole == 30
    assert found.estimate.sampled < 10
    assert found.info.splits["train"].rows == 30 * STEPS
    assert found.info.splits["train"].groups == 30
    assert any(note.startswith("headers of ") for note in found.estimate.not_checked)


def test_a_compressed_log_is_read_a_little_way(tmp_path: Path) -> None:
    log = write_log(tmp_path, 20 * STEPS * 1500, 1500)
    for file in log.glob("*.tfrecord-*"):
        file.write_bytes(gzip.compress(file.read_bytes()))
    found = estimated(make("rlds", path=str(log), action_space="widowx_bridge")).estimate
    assert (found.rows.value, found.whole) == (20 * STEPS, 20)


def corpus(tmp_path: Path, pictures: int = 300) -> Source:
    folder = write_corpus(tmp_path / "web", pictures, 1500)
    return make(
        "vqav2",
        questions=str(folder / "questions.json"),
        annotations=str(folder / "annotations.json"),
        image_dirs=(str(folder / "images"),),
    )


def test_questions_are_counted_and_pictures_sized(tmp_path: Path) -> None:
    found = estimated(corpus(tmp_path)).estimate
    assert (found.rows.value, found.whole, found.measure) == (600, 600, "questions")
    assert found.groups.low is not None and found.groups.high is not None
    assert found.groups.low <= 300 <= found.groups.high and found.groups.value == pytest.approx(300, rel=0.2)
    sizes = [path.stat().st_size for path in (tmp_path / "web" / "images").iterdir()]
    assert found.image_bytes.value == pytest.approx(np.mean(sizes), rel=0.02)
    assert found.sampled < 600


def test_questions_of_a_huge_file_are_estimated_by_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = corpus(tmp_path)
    monkeypatch.setattr(sample, "LOOK", 20_000)
    found = estimated(source).estimate
    assert found.rows.value == pytest.approx(600, rel=0.05)
    assert {"questions beyond the first 64 MB", "annotations beyond the first 64 MB"} <= set(found.not_checked)


def test_a_sample_shows_its_rejects(tmp_path: Path) -> None:
    source = corpus(tmp_path, 40)
    for path in sorted((tmp_path / "web" / "images").iterdir())[:20]:
        path.write_bytes(b"no picture")
    found = estimated(source).estimate
    assert 0.3 < found.bad < 0.7
    assert found.rows.value == pytest.approx(40, abs=12)


def test_too_many_rejects_in_a_sample_are_a_warning(tmp_path: Path, read: Read, place: Path) -> None:
    class Rotten(toy.ToyWeb):
        def read(self, unit: Unit) -> Iterator[Step | Example | Reject]:
            for number, found in enumerate(super().read(unit)):
                yield Reject("corrupt_image", "somewhere") if number % 2 else found

    recipe = read()
    rotten = recipe.model_copy(update={"web": {"qa": Rotten(path=str(place / "qa"))}})
    known = known_sources(rotten, tmp_path)
    assert "qa: 44.4% of the sampled rows are faulty" in " ".join(map(str, forecast_plan(rotten, known).warnings))
    assert not any("faulty" in warning.what for warning in forecast_plan(rotten, known, allow_bad=True).warnings)


def test_a_held_out_split_is_estimated(tmp_path: Path, toys: None) -> None:
    source = toy_log(tmp_path / "log", [6] * 40).model_copy(update={"holdout": 0.5})
    held, rest = (estimated(source, split).estimate.rows.value for split in ("val", "train"))
    assert held + rest == 240 and 0 < held < 240


def test_pictures_that_are_made_smaller_are_estimated_small(tmp_path: Path, toys: None) -> None:
    source = toy_log(tmp_path / "log", [6] * 4)
    small = source.model_copy(update={"images": source.images.model_copy(update={"resize": 16})})
    made = [prepare_unit(order).blob_bytes for order in begin("it", small, tmp_path / "store")]
    assert estimated(small).estimate.image_bytes.value == sum(made) / 24 < estimated(source).estimate.image_bytes.value


# Failing as a build does


def failure(call: Any) -> tuple[type, str, int]:
    with pytest.raises(RtError) as caught:
        call()
    return type(caught.value), str(caught.value), caught.value.code


def robot(kind: str, path: Path) -> dict[str, Any]:
    return {"robot": {"it": make(kind, path=str(path), action_space="widowx_bridge")}}


def log_of_nothing(folder: Path) -> dict[str, Any]:
    version = write_log(folder, STEPS * 1500, 1500)
    info = json.loads((version / "dataset_info.json").read_text())
    (version / "dataset_info.json").write_text(json.dumps(info | {"splits": []}))
    return robot("rlds", version)


def cut_log(folder: Path) -> dict[str, Any]:
    version = write_log(folder, 3 * STEPS * 1500, 1500)
    shard = next(version.glob("*.tfrecord-*"))
    shard.write_bytes(shard.read_bytes()[:-100])
    return robot("rlds", version)


def questions(folder: Path, change: Callable[[str], str]) -> dict[str, Any]:
    source = corpus(folder, 3)
    path = folder / "web" / "questions.json"
    path.write_text(change(path.read_text()))
    return {"web": {"it": source}}


def no_pictures(folder: Path) -> dict[str, Any]:
    source = corpus(folder, 3)
    (folder / "web" / "images").rename(folder / "elsewhere")
    return {"web": {"it": source}}


FAULTS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "no such split": lambda _: {"split": "unseen"},
    "no such folder": lambda folder: robot("rlds", folder / "gone"),
    "an empty folder": lambda folder: robot("toy_robot", folder),
    "no episodes": log_of_nothing,
    "a cut log": cut_log,
    "no questions": lambda folder: questions(folder, lambda _: '{"questions": []}'),
    "cut questions": lambda folder: questions(folder, lambda text: text[:-40]),
    "no pictures": no_pictures,
    "no such size": lambda _: {"size": Size(of="qax")},
    "too many epochs": lambda _: {"max_epochs": Fraction(2)},
}


@pytest.mark.parametrize("fault", FAULTS)
def test_it_fails_as_a_build_does(tmp_path: Path, read: Read, fault: str) -> None:
    (tmp_path / "data").mkdir()
    recipe = read(store=tmp_path / "store").model_copy(update=FAULTS[fault](tmp_path / "data"))
    scanned = failure(lambda: forecast_plan(recipe, known_sources(recipe, recipe.store_folder)))
    built = failure(lambda: build_plainly(recipe, Site(tmp_path / "out")))
    assert scanned == built


def unsure(known: EstimatedStore, low: float | None, high: float | None) -> EstimatedStore:
    return replace(known, estimate=structs.replace(known.estimate, rows=Range(known.estimate.rows.value, low, high)))


def test_an_estimate_has_ends(read: Read, tmp_path: Path) -> None:
    """All sums are made at both ends of the ranges, by the plan's own arithmetic."""
    recipe = read()
    known = known_sources(recipe, tmp_path)
    arm = known["arm"]
    assert isinstance(arm, EstimatedStore)
    totals = forecast_plan(recipe, {**known, "arm": unsure(arm, 24, 96)}).totals
    assert totals is not None and totals.num_examples.low is not None and totals.num_examples.high is not None
    assert totals.num_examples.low < totals.num_examples.value < totals.num_examples.high
    totals = forecast_plan(recipe, {**known, "arm": unsure(arm, None, None)}).totals
    assert totals is not None and totals.bytes.low is totals.bytes.high is None
