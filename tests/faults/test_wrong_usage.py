"""What is asked wrongly is told in a line that names the key, before anything is read; what is asked exactly is drawn exactly."""

from __future__ import annotations

import json

import pytest

from tests.faults.command import Warm
from tests.faults.conftest import INLINE, Place


@pytest.mark.parametrize(
    ("asked", "robot"), [("0", 0), ("1", 300), ("0.66", 198), ("2/3", 200), ("50%", 150), ("0.333", 100), ("1/7", 43)]
)
def test_fractions_are_exact(built: Place, warm: Warm, asked: str, robot: int) -> None:
    """Largest remainders: 0.333 of 300 is 99.9, 1/7 of it is 42.86."""
    said = warm(built.folder, "plan", "--robot-frac", asked, "--set", "size.num_examples=300", "--workers", "0", "--json")
    said.succeeded()
    plan = json.loads(said.out)
    assert (plan["robot_examples"], plan["num_examples"]) == (robot, 300)


@pytest.mark.parametrize("asked", ["0", pytest.param("1", marks=pytest.mark.slow)])
def test_one_side_only(prepared: Place, warm: Warm, asked: str) -> None:
    warm(prepared.folder, *INLINE, "--robot-frac", asked, "--set", "size.num_examples=60").succeeded()
    manifest = json.loads((prepared.out / "manifest.json").read_text())
    assert {name: total["examples"] for name, total in manifest["totals"].items()} == {"log" if asked == "1" else "qa": 60}
    warm(prepared.folder, "verify", "--workers", "0").succeeded()


@pytest.mark.parametrize("asked", ["1.5", "-0.1", "nan", "inf", "", "half", "1e-2", "1/0", "1e999", "0x1"])
def test_fractions_that_are_none(place: Place, warm: Warm, asked: str) -> None:
    refused(place, warm, ("--robot-frac", asked), "robot_frac")


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        (("robot.log.weight=0",), "robot.log.weight"),
        (("robot.log.weight=-1",), "robot.log.weight"),
        (("web.qa.weight=.nan",), "web.qa.weight"),
        (("web.qa.weight=.inf",), "web.qa.weight"),
        (("web.qa.weight=much",), "web.qa.weight"),
        (("size.num_examples=0",), "size.num_examples"),
        (("size.epochs=0",), "size.epochs"),
        (("size.of=nobody",), "size.of"),
        (("max_bad=2",), "max_bad"),
        (("seed=-1",), "seed"),
        (("shards.bytes=0",), "shards.bytes"),
        (("robot.log.weigth=1",), "did you mean 'weight'"),
        (("robot.log.kind=rdls",), "did you mean 'rlds'"),
        (("robot.log.action_space=widowx_brigde",), "widowx_bridge"),
        (("robot.log.path=/nowhere",), "/nowhere"),
        (("tokenizer=/nowhere/tokenizer.json",), "/nowhere/tokenizer.json"),
        (("template=gpt",), "template"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_settings_that_make_no_sense(place: Place, warm: Warm, settings: tuple[str, ...], key: str) -> None:
    refused(place, warm, tuple(part for setting in settings for part in ("--set", setting)), key)


def refused(place: Place, warm: Warm, options: tuple[str, ...], *words: str) -> None:
    """Exit code 2, one line, nothing made."""
    ended = warm(place.folder, *INLINE, *options)
    ended.failed(2, *words)
    assert ended.seconds < 5
    assert not place.out.exists()
    assert not list(place.folder.rglob("*.parquet"))


def test_a_source_of_weight_0_is_not_read(own: Place, warm: Warm) -> None:
    recipe = (own.folder / "mixture.yaml").read_text()
    other = "web:\n  other: {kind: vqav2, weight: 0, questions: no.json, annotations: no.json, image_dirs: no}"
    (own.folder / "mixture.yaml").write_text(recipe.replace("web:", other))
    warm(own.folder, *INLINE).succeeded()


@pytest.mark.parametrize("options", [("--workers", "-1"), ("--pool", "fibers"), ("--no-such-option",)])
def test_options_that_are_none(place: Place, warm: Warm, options: tuple[str, ...]) -> None:
    ended = warm(place.folder, "build-mixture", *options)
    assert ended.code == 2
    assert "Traceback" not in ended.err


def test_no_recipe(place: Place, warm: Warm) -> None:
    warm(place.folder, *INLINE, "none.yaml").failed(2, "no recipe at none.yaml", "rt2data init")


def test_all_mistakes_at_once(place: Place, warm: Warm) -> None:
    ended = warm(place.folder, *INLINE, "--robot-frac", "1.5", "--set", "seed=x", "--set", "web.qa.weight=-1")
    assert ended.code == 2
    assert "3 mistakes" in ended.err
    assert all(key in ended.err for key in ("robot_frac", "seed", "web.qa.weight"))


def test_as_data_for_programs(place: Place, warm: Warm) -> None:
    """With --json a failure is told on stdout too, as JSON."""
    said = warm(place.folder, *INLINE, "--json", "--set", "robot.log.path=/nowhere")
    failure = json.loads(said.out)
    assert (failure["code"], said.code) == (2, 2)
    assert "/nowhere" in failure["where"] + failure["what"]
