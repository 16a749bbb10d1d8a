"""Windows in time in a prepared store: a longer horizon serves a shorter one, and gaps end windows or are joined."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rt2data.build import Site, build_plainly
from rt2data.plan.recipe import Recipe
from rt2data.records import Example, Reject, Step, Unit
from rt2data.render.fields import ExampleRecord
from tests.conftest import sha256_of
from tests.contract import toy
from tests.formats.conftest import all_images, examples

Recipes = Callable[..., Recipe]
STEPS, GAP = 8, 3
"""Steps of a toy episode; the one whose instruction is blank in these tests."""


def stores(tmp_path: Path, folder: str = "store") -> list[str]:
    return sorted(path.name.rpartition("-")[2] for path in (tmp_path / folder).glob("arm-*"))


@pytest.mark.parametrize("horizon", [4, 1])
def test_a_longer_store_serves_a_shorter_horizon(
    toy_recipe: Recipes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, horizon: int
) -> None:
    """No step of the log is read again, and the shards are those of a store of their own."""
    build_plainly(toy_recipe(robot__arm__horizon=horizon, store=tmp_path / "own"), Site(tmp_path / "own-out"))
    build_plainly(toy_recipe(robot__arm__horizon=8), Site(tmp_path / "long"))
    monkeypatch.setattr(toy.ToyRobot, "read", _not_again)
    build_plainly(toy_recipe(robot__arm__horizon=horizon), Site(tmp_path / "out"))
    assert stores(tmp_path) == ["h8"] and len(stores(tmp_path, "own")) == 1
    assert sha256_of(tmp_path / "out") == sha256_of(tmp_path / "own-out") != sha256_of(tmp_path / "long")


def _not_again(self: toy.ToyRobot, unit: Unit) -> Iterator[Step]:
    raise AssertionError("the log is read again")


def test_a_shorter_store_does_not_serve_a_longer_horizon(toy_recipe: Recipes, tmp_path: Path) -> None:
    for horizon in (2, 5):
        build_plainly(toy_recipe(robot__arm__horizon=horizon), Site(tmp_path / f"out{horizon}"))
    assert stores(tmp_path) == ["h2", "h5"]


def built(recipe: Recipe, out: Path) -> tuple[dict[int, ExampleRecord], dict[str, dict[int, bytes]]]:
    """Records of one episode by step, and all images."""
    build_plainly(recipe, Site(out))
    records = {record.step: record for _, record in examples(out) if record.episode == "e001" and record.step is not None}
    return records, all_images(out)


@pytest.mark.parametrize("gaps", ["cut", "join"])
def test_windows_at_a_gap(toy_recipe: Recipes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gaps: str) -> None:
    """`cut`: chunk and history end at it; `join`: they go over it, as if the missing step had never been."""
    monkeypatch.setattr(toy.ToyRobot, "read", _with_gap(toy.ToyRobot.read))
    recipe = toy_recipe(robot__arm__gaps=gaps, robot__arm__horizon=3, robot__arm__history="[0, -1]")
    records, images = built(recipe, tmp_path / "out")
    kept = [step for step in range(STEPS) if step != GAP]
    assert sorted(records) == kept
    log = {step: np.array(records[step].action, np.float32) for step in kept}
    for at, step in enumerate(kept):
        run = kept[at:] if gaps == "join" or step > GAP else [each for each in kept[at:] if each < GAP]
        before = kept[at - 1] if at and (gaps == "join" or step - 1 == kept[at - 1]) else None
        record, ahead = records[step], [*run, *[run[-1]] * 3][:3]
        assert np.array_equal(np.array(record.actions, np.float32), np.stack([log[each] for each in ahead])), step
        assert record.action_is_pad == [number >= len(run) for number in range(3)]
        assert record.image_mask == [True, before is not None]
        assert images[record.key] == {place: toy.jpeg(1000 + each) for place, each in enumerate((step, before)) if each is not None}


def _with_gap(read: Callable[..., Iterator[Step | Example | Reject]]) -> Callable[..., Iterator[Step | Example | Reject]]:
    def blank(self: toy.ToyRobot, unit: Unit) -> Iterator[Step | Example | Reject]:
        for step in read(self, unit):
            assert isinstance(step, Step)
            yield replace(step, instruction="") if step.step == GAP else step

    return blank
