"""Which of several cameras a mixture takes is said by plan, card, manifest and every record; what is dropped is named."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import rt2data
from rt2data.build import Site, build_plainly
from rt2data.forecast.forecast import forecast_plan, known_sources
from rt2data.formats.base import FORMATS
from rt2data.look.inspect.mixture import MixtureExamples
from rt2data.look.verify import verify
from rt2data.look.view.terminal import as_plain
from rt2data.plan.recipe import Recipe
from rt2data.records import Example, Image, Reject, Step, Unit
from rt2data.seal.manifest import Manifest
from tests.contract import toy
from tests.formats.conftest import examples

pytestmark = pytest.mark.long

Recipes = Callable[..., Recipe]
SIDE = toy.jpeg(77_777)
LINE = "camera front, 1 of 2; dropped: side"


@pytest.fixture
def two_cameras(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second camera, `side`; in the first step of an episode it is the only one."""
    one = toy.ToyRobot.read

    def read(self: toy.ToyRobot, unit: Unit) -> Iterator[Step | Example | Reject]:
        for step in one(self, unit):
            assert isinstance(step, Step)
            yield replace(step, images=(Image("side", SIDE), *(step.images if step.step else ())))

    monkeypatch.setattr(toy.ToyRobot, "read", read)


def build(recipe: Recipe, out: Path) -> Manifest:
    return build_plainly(recipe, Site(out))


@pytest.mark.parametrize("name", list(FORMATS))
def test_a_record_says_which_camera_it_shows(toy_recipe: Recipes, two_cameras: None, tmp_path: Path, name: str) -> None:
    """Its own, also where a row lacks the camera that the others show."""
    build(toy_recipe(shards__format=name), tmp_path / "out")
    found = examples(tmp_path / "out")
    said = {(record.kind, record.camera, record.step == 0, image == SIDE) for image, record in found}
    assert said == {("robot", "side", True, True), ("robot", "front", False, False), ("web", None, False, False)}
    assert verify(tmp_path / "out").faults == ()


def test_the_plan_and_the_card_name_what_is_dropped(toy_recipe: Recipes, two_cameras: None, tmp_path: Path) -> None:
    """An estimate too, before anything is prepared."""
    recipe = toy_recipe()
    estimate = forecast_plan(recipe, known_sources(recipe, tmp_path / "none"))
    manifest = build(recipe, tmp_path / "out")
    for plan in (estimate, manifest.plan):
        assert [(warn.source, warn.level, warn.what) for warn in plan.warnings if warn.code == "cameras"] == [("arm", "note", LINE)]
    assert f"  - {LINE}\n" in (tmp_path / "out/README.md").read_text()


def test_an_estimate_takes_the_camera_of_the_recipe(toy_recipe: Recipes, two_cameras: None, tmp_path: Path) -> None:
    recipe = toy_recipe(robot__arm__camera="side")
    (arm, qa) = forecast_plan(recipe, known_sources(recipe, tmp_path / "none")).sources
    assert (arm.camera_line, qa.camera_line) == ("camera side, 1 of 2; dropped: front", "")


def test_readers_and_viewers_show_the_camera(toy_recipe: Recipes, two_cameras: None, tmp_path: Path) -> None:
    manifest = build(toy_recipe(), tmp_path / "out")
    loaded = {(example["kind"], example["camera"]) for example in rt2data.load(tmp_path / "out", decode=None)}
    assert loaded == {("robot", "front"), ("robot", "side"), ("web", None)}
    seen = MixtureExamples(tmp_path / "out", manifest)
    assert {as_plain(seen.at(number, whole=False))["camera"] for number in range(seen.total)} == {"front", "side", ""}


def test_verify_names_a_camera_that_the_plan_does_not_have(
    toy_recipe: Recipes, two_cameras: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(toy_recipe(), tmp_path / "out")
    monkeypatch.setattr("rt2data.plan.model.SourcePlan.cameras", ("other",))
    assert any("camera is front, the plan has other" in fault.what for fault in verify(tmp_path / "out").faults)


def plain(recipe: Recipe, folder: Path) -> list[str]:
    """What an estimate, and the build, warn of."""
    estimate = forecast_plan(recipe, known_sources(recipe, folder / "none"))
    manifest = build(recipe, folder / "out")
    assert {w.code for w in manifest.plan.warnings} >= {w.code for w in estimate.warnings if w.level == "warning"}
    return [w.code for w in estimate.warnings]


def test_only_absent_cameras_are_called_absent(toy_recipe: Recipes, two_cameras: None, tmp_path: Path) -> None:
    assert "absent_camera" in plain(toy_recipe(robot__arm__cameras="[side, front]"), tmp_path)


def test_cameras_that_are_there_are_not_called_absent(toy_recipe: Recipes, tmp_path: Path) -> None:
    assert "absent_camera" not in plain(toy_recipe(robot__arm__cameras="[front]"), tmp_path)


@pytest.mark.parametrize(
    ("settings", "warned"),
    [
        ({"horizon": 8}, False),
        ({"horizon": 9}, False),
        ({"horizon": 10}, True),
        ({"history": "[-8, 0]"}, False),
        ({"history": "[-9, 0]"}, True),
    ],
)
def test_windows_longer_than_an_episode(toy_recipe: Recipes, tmp_path: Path, settings: dict[str, object], warned: bool) -> None:
    recipe = toy_recipe(**{f"robot__arm__{name}": value for name, value in settings.items()})
    assert ("long_windows" in plain(recipe, tmp_path)) == warned
