"""`rt2data stats` as people and programs meet it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from rt2data.cli.stats import histogram
from tests.faults.command import Warm
from tests.look.stats.stores import files_of, lay, robot_rows

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with words that would steer a terminal."""
    rng, rows = np.random.default_rng(0), []
    for number, text in enumerate(("lift \x1b[2J[red]it[/]", "\u202eput it down", "lift it")):
        action = rng.normal(0, 0.02, (20 - number, 7))
        action[:, 2] = 0
        rows += robot_rows(f"e{number}", action, np.cumsum(action, axis=0), text)
    return lay(tmp_path_factory.mktemp("stats") / "arm-0123456789abcdef", files_of(rows), "widowx_bridge").path


def test_tables_with_warnings_on_top(warm: Warm, store: Path) -> None:
    done = warm(store.parent, "stats", str(store), "--workers", "0")
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[0] == f"store {store}"
    assert lines[1].startswith("warning: arm: action z is 0 in every step -> ")
    for words in ("arm/train: widowx_bridge, rt2/2", "yaw", "episodes", "instructions", "front", "used"):
        assert words in done.out
    assert re.search(r"^z +m .* ▁*█|^z +m ", done.out, re.MULTILINE)
    assert re.search(r"^z +not paired", done.out, re.MULTILINE), "a dimension that never moves goes with no state"
    assert re.search(r"^drift of a zero action: x [-+][0-9.e-]+ m/s, ", done.out, re.MULTILINE)
    assert "\x1b" not in done.out and "\u202e" not in done.out and "[red]" in done.out


def test_json_is_the_whole_of_it(warm: Warm, store: Path) -> None:
    done = warm(store.parent, "stats", str(store), "--json", "--workers", "0", "--split", "train", "--codec", "openvla")
    found = json.loads(done.out)
    assert (done.code, found["what"], found["sources"][0]["actions"]["codec"]) == (0, "store", "openvla/1")
    assert {warn["code"] for warn in found["warnings"]} >= {"dead_dimension", "gripper_never_moves"}


@pytest.mark.parametrize("name", ["openvla", "octo", "openpi", "lerobot"])
def test_as_a_trainer_reads_it(warm: Warm, store: Path, name: str) -> None:
    done = warm(store.parent, "stats", str(store), "--as", name, "--workers", "0", "--quiet")
    assert done.code == 0 and done.err == ""
    assert "mean" in json.dumps(json.loads(done.out))


def test_what_cannot_be_answered(warm: Warm, store: Path, tmp_path: Path) -> None:
    for words, said in (
        ((str(tmp_path / "gone"),), "nothing is there"),
        ((str(store), "--split", "test"), "no rows of split test"),
    ):
        done = warm(store.parent, "stats", *words, "--workers", "0")
        assert (done.code, done.out) == (2, "") and said in done.err
    damaged = next(store.glob("rows-*.parquet"))
    content = damaged.read_bytes()
    try:
        damaged.write_bytes(content[: len(content) // 2])
        done = warm(store.parent, "stats", str(store), "--workers", "0", "--quiet")
        assert done.code == 3 and "damaged" in done.err
    finally:
        damaged.write_bytes(content)


def test_progress_is_talk(warm: Warm, store: Path) -> None:
    done = warm(store.parent, "stats", str(store), "--workers", "0", "--json")
    assert re.search(r"^sum +3/3  \d", done.err, re.MULTILINE) and "examples/s" not in done.err


def test_little_histograms() -> None:
    assert histogram([0] * 256) == " " * 16
    assert histogram([1] + [0] * 254 + [1000]) == "▁" + " " * 14 + "█"
    assert histogram([5] * 256) == "█" * 16
