"""`rt2data plan` as people and programs meet it: before anything is prepared, and after."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from rt2data.io.installation import schemas
from tests.cli.places import lay_out
from tests.faults.command import Warm
from tests.forecast.test_estimate import tree

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warm]:
    server = Warm(tmp_path_factory.mktemp("said"))
    yield server
    server.close()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with data that nobody has prepared."""
    return lay_out(tmp_path, episodes=6, pictures=30)


def valid(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text)
    jsonschema.validate(found, json.loads((schemas() / "plan.schema.json").read_text("utf-8")))
    return found


def test_a_plan_of_nothing_prepared_is_an_estimate_and_writes_nothing(warm: Warm, place: Path) -> None:
    before = tree(place)
    said = warm(place, "plan")
    said.succeeded()
    assert tree(place) == before
    row = next(line.split() for line in said.out.splitlines() if line.startswith("arm "))
    assert row[:4] == ["arm", "robot", "~234", "~6"]
    assert "~468 examples (~234 robot = 50.0000% (asked 1/2)), about " in said.out
    assert "~234 rows, 234 to 234 (234 rows of 6 of 6 episodes read, 2.5% of them dropped)" in said.err
    assert "not checked: duplicate keys" in said.err
    assert "rt2data plan mixture.yaml --prepare" in said.err and "rt2data plan mixture.yaml --canary 1%" in said.err


def test_for_programs_it_is_marked_and_typed(warm: Warm, place: Path) -> None:
    said = warm(place, "plan", "--json")
    said.succeeded()
    found = valid(said.out)
    assert said.err == ""
    assert found["estimated"] is True and found["fingerprint"] == ""
    assert found["estimates"]["arm"]["rows"] == {"value": 234, "low": 234, "high": 234}
    assert found["totals"]["num_examples"]["value"] == 468


@pytest.mark.slow
def test_prepared_first_it_is_exact(warm: Warm, place: Path) -> None:
    said = warm(place, "plan", "--prepare", "--json", "--quiet", "--workers", "0")
    said.succeeded()
    found = valid(said.out)
    assert found["estimated"] is False and found["estimates"] == {} and found["totals"] is None
    again = warm(place, "plan", "--json")
    assert json.loads(again.out) == found, "what is prepared is exact without asking"
    shown = warm(place, "plan")
    assert "~" not in shown.out + shown.err
    warm(place, "build-mixture", "--quiet", "--workers", "0").succeeded()
    manifest = json.loads((place / "mixture" / "manifest.json").read_text())
    assert {name: found[name] for name in manifest["plan"]} == manifest["plan"]


@pytest.mark.slow
def test_filters_are_shown_by_reason_and_task(warm: Warm, place: Path) -> None:
    arm = "robot.arm.filters={drop_first: 2, exclude_episodes: [train-00000-000001]}"
    said, told = warm(place, "plan", "--set", arm), warm(place, "plan", "--set", arm, "--json")
    shown = said.out[said.out.index("filters of arm") :].splitlines()
    assert shown[0] == "filters of arm leave ~190 of ~240 steps and 5 of 5 tasks"
    assert [line.split() for line in shown[1:4]] == [
        ["dropped", "by", "steps", "share", "episodes"],
        ["excluded_episode", "~40", "16.7%", "~1"],
        ["first_step", "~10", "4.2%", "~5"],
    ]
    assert shown[5].split() == ["put", "object", "0", "on", "plate", "0", "38", "40", "95.0%"]
    (found,) = valid(told.out)["filters"]
    assert found["estimated"] and found["dropped"][0] == {"reason": "excluded_episode", "steps": 40, "episodes": 1}
    assert (found["steps"], found["kept"], found["tasks"], found["emptied"]) == (240, 190, 5, 0)
    warm(place, "plan", "--prepare", "--set", arm, "--workers", "0", "--quiet").succeeded()
    (exact,) = valid(warm(place, "plan", "--set", arm, "--json").out)["filters"]
    assert exact == found | {"estimated": False}


@pytest.mark.slow
def test_filters_that_drop_too_much_stop_a_build(warm: Warm, place: Path) -> None:
    said = warm(place, "build-mixture", "--set", "robot.arm.filters.drop_first=39", "--workers", "0", "--quiet")
    said.failed(3, "filters drop 234 of 240 steps of source arm, more than max_dropped 0.9 allows [234 first_step]")
    assert not (place / "mixture").exists()
    allowed = ("--set", "robot.arm.filters.drop_first=39", "--set", "robot.arm.max_dropped=100%")
    warm(place, "build-mixture", *allowed, "--workers", "0", "--quiet").succeeded()


def test_what_is_unseen_is_said_as_a_share(warm: Warm, place: Path) -> None:
    said = warm(place, "plan", "--set", "size.num_examples=100")
    assert "~184 (79%)" in said.out


@pytest.mark.slow
def test_a_canary_says_how_long_it_takes(warm: Warm, place: Path) -> None:
    before = tree(place)
    said = warm(place, "plan", "--canary", "1%", "--workers", "0", "--runner", "dataflow", "--json")
    said.succeeded()
    after = [entry for entry in tree(place) if entry[0] != str(place)]
    assert after == [entry for entry in before if entry[0] != str(place)]
    found = valid(said.out)
    assert found["canary"]["build"]["seconds"]["value"] > found["canary"]["remix"]["seconds"]["value"] > 0
    assert found["dataflow"]["cpu_from"] == "canary of 1%"


def test_a_price_is_a_range_with_its_date(warm: Warm, place: Path) -> None:
    said = warm(place, "plan", "--runner", "dataflow", "--machine", "n1-standard-2")
    said.succeeded()
    assert "Dataflow, n1-standard-2 in us-central1: 1 worker for " in said.out
    assert "at prices of 2023-09-05" in said.out
    assert "unverified price: vcpu_hour, memory_gb_hour, disk_gb_hour, shuffle_gb" in said.out
    assert "never images" in said.out
    assert "built-in rates of one core, from docs/measurements.md" in said.out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--canary", "20s"], "give a share such as 1% or a size such as 64MB"),
        (["--runner", "dataflow", "--region", "mars"], "choose one of us-central1"),
        (["--runner", "dataflow", "--machine", "abacus"], "no machine 'abacus'"),
        (["--runner", "dataflow", "--prices", "gone.toml"], "gone.toml"),
        (["--set", "robot.arm.path=gone"], "robot.arm.path: there is no such folder"),
    ],
)
def test_wrong_questions_are_one_line_and_a_code(warm: Warm, place: Path, options: list[str], words: str) -> None:
    said = warm(place, "plan", *options, "--workers", "0")
    said.failed(2, words)
    assert said.out == "" and not (place / "store").exists()


def test_a_layout_that_homes_refuse_is_a_warning(warm: Warm, place: Path) -> None:
    said = warm(place, "plan", "--set", "size.num_examples=60000", "--set", "shards.bytes=10kB")
    said.succeeded()
    assert "hubs take 10,000 -> set shards.bytes to " in said.err
    assert "Energon wants fewer than 10,000" in said.err
