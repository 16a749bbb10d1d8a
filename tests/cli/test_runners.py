"""`--runner`: the same work on a runner of Beam, and the options that are passed on to it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rt2data.beam import run as beam_run
from rt2data.cli import build as cli_build
from rt2data.cli.app import app
from rt2data.cli.runners import elsewhere
from rt2data.errors import UsageError
from rt2data.plan.recipe import Recipe
from rt2data.seal.manifest import read_manifest
from tests.conftest import sha256_of

pytestmark = pytest.mark.long

Recipes = Callable[..., Recipe]


def rt2data(*words: str) -> Any:
    return app(list(words), standalone_mode=False)


@pytest.fixture
def place(toy_recipe: Recipes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("runner", "options", "beams"),
    [
        (None, (), None),
        ("local", (), None),
        ("dataflow", ("--region=r",), ["--runner=DataflowRunner", "--region=r"]),
        ("Flink", (), ["--runner=FlinkRunner"]),
        ("spark", (), ["--runner=SparkRunner"]),
        ("portable", (), ["--runner=PortableRunner"]),
        ("DataflowRunner", (), ["--runner=DataflowRunner"]),
        ("my.own.Runner", ("--x", "y"), ["--runner=my.own.Runner", "--x", "y"]),
    ],
)
def test_names_of_runners(runner: str | None, options: tuple[str, ...], beams: list[str] | None) -> None:
    assert elsewhere(runner, options, pool_asked=False) == beams


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--runner", "local", "--", "--region=r"), "only a runner of Beam takes options of Beam"),
        (("--runner", "dataflow", "--workers", "2"), "--workers and --pool are for this machine"),
        (("--runner", "dataflow", "--pool", "threads"), "--workers and --pool are for this machine"),
        (("--runner", "direct", "--", "--runner=FlinkRunner"), "the runner is named twice"),
        (("--runner", "direct", "--", "--max_num_wokers=3"), "did you mean --max_num_workers"),
        (("--runner", "nope"), "Unexpected pipeline runner: nope"),
    ],
)
def test_what_contradicts_itself(place: Path, words: tuple[str, ...], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        rt2data("build-mixture", *words)
    assert not (place / "mixture").exists() and not (place / "store").exists()


def test_options_of_beam_need_a_runner(place: Path) -> None:
    with pytest.raises(Exception, match="name one with --runner"):
        rt2data("build-mixture", "--", "--region=r")


def test_without_a_runner_two_dashes_mean_what_they_did(place: Path) -> None:
    (place / "mixture.yaml").rename(place / "-odd.yaml")
    rt2data("build-mixture", "--workers", "0", "-o", "out", "--", "-odd.yaml")
    assert (place / "out" / "manifest.json").is_file()


def test_all_behind_two_dashes_is_passed_on(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[Any] = []
    monkeypatch.setattr(beam_run, "build_anywhere", lambda *given, **_: found.append(given))
    rt2data("build-mixture", "mixture.yaml", "--set", "seed=3", "--runner", "dataflow", "--", "--project", "p", "--experiments=a=b")
    (_, site, options, _) = found[0]
    beams, ours = options[:4], options[4:]
    assert beams == ["--runner=DataflowRunner", "--project", "p", "--experiments=a=b"]
    assert ours == ["--recipe=mixture.yaml", f"--out={site.out}", "--set=seed=3"]


def test_a_runner_gives_the_same_bytes_and_words(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rt2data("build-mixture", "--workers", "0", "-o", "here", "--json")
    here = json.loads(capsys.readouterr().out)
    rt2data("build-mixture", "--runner", "direct", "-o", "there", "--set", "store=other", "--json")
    there = json.loads(capsys.readouterr().out)
    assert there == here | {"out": str(place / "there")}
    assert sha256_of(place / "there") == sha256_of(place / "here")
    assert read_manifest(place / "there").plan.fingerprint == read_manifest(place / "here").plan.fingerprint


def test_staging_is_said(place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli_build, "_build_elsewhere", lambda *_: (None, True))
    rt2data("build-mixture", "--runner", "dataflow", "--json")
    assert json.loads(capsys.readouterr().out) == {"out": str(place / "mixture"), "staged": True}
    rt2data("build-mixture", "--runner", "dataflow")
    assert "is not made yet" in capsys.readouterr().err


@pytest.mark.slow
def test_statistics_are_the_same_too(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rt2data("build-mixture", "--workers", "0", "-o", "here")
    capsys.readouterr()
    rt2data("stats", "here", "--workers", "0", "--json")
    here = json.loads(capsys.readouterr().out)
    rt2data("stats", "here", "--runner", "direct", "--out", "stats.json", "--json")
    assert json.loads(capsys.readouterr().out) == here == json.loads((place / "stats.json").read_text())
    assert [path.name for path in place.glob(".*")] == []


@pytest.mark.parametrize("words", [("--runner", "direct"), ("--out", "stats.json")])
def test_statistics_elsewhere_need_a_file(place: Path, words: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="--runner and --out go together"):
        rt2data("stats", *words)
