"""The command as people and programs meet it: quick help, data on stdout, talk on stderr, exit codes, examples that are right."""

from __future__ import annotations

import json
import os
import re
import resource
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer

from rt2data import __version__
from rt2data.cli.app import app
from tests.bench.generate import STEPS, write_corpus, write_log

HEAVY = ("apache_beam", "pyarrow", "tensorflow", "torch", "numpy", "pydantic", "msgspec", "PIL", "tokenizers", "rich", "ruamel")
EPISODES, PICTURES = 3, 10
CPU_S = 0.5


def command(*arguments: str, folder: Path | None = None, **changes: str | None) -> Ended:
    """Run the command as its users do, from the interpreter's start to its end, away from any terminal."""
    started = time.monotonic()
    words = [sys.executable, "-m", "rt2data", *arguments]
    done = subprocess.run(words, cwd=folder, env=environment(changes), capture_output=True, text=True, timeout=120)
    return Ended(done.returncode, done.stdout, done.stderr, time.monotonic() - started)


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warm]:
    """The command without the time its imports take."""
    server = Warm(tmp_path_factory.mktemp("said"))
    yield server
    server.close()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data and a recipe."""
    folder = tmp_path_factory.mktemp("place")
    write_log(folder / "log", EPISODES * STEPS * 1500, 1500)
    write_corpus(folder / "web", PICTURES, 1500)
    (folder / "mixture.yaml").write_text(
        """
robot_frac: 0.5
store: store
shards: {bytes: 300kB}
robot: {arm: {kind: rlds, path: log/bench_log, action_space: widowx_bridge, filters: {drop_first: 1}}}
web: {qa: {kind: vqav2, questions: web/questions.json, annotations: web/annotations.json, image_dirs: web/images}}
"""
    )
    return folder


@pytest.fixture(scope="module")
def built(place: Path) -> Ended:
    """The main job, with worker processes."""
    return command("build-mixture", "--robot-frac", "0.5", "--json", folder=place)


# Help


def test_help_imports_nothing_heavy() -> None:
    script = f"""
import sys
sys.argv = ["rt2data", "--help"]
from rt2data.cli.app import main
try:
    main()
except SystemExit as stop:
    assert not stop.code
print(*sorted({{name.split(".")[0] for name in sys.modules}} & set({HEAVY})), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "build-mixture" in done.stdout
    assert done.stderr.split() == []


def test_help_is_quick() -> None:
    """By the time of the processor, best of three: machines are busy with other things."""
    assert min(_cpu_of_help() for _ in range(3)) < CPU_S


def _cpu_of_help() -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert command("--help").code == 0
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command there is, those of groups too."""
    for name, each in group.commands.items():
        if hasattr(each, "commands"):
            yield from commands(each, (*path, name))
        else:
            yield (*path, name), each


ALL = dict(commands(typer.main.get_command(app)))
every_command = pytest.mark.parametrize("words", ALL, ids=" ".join)


def test_the_commands_are_these() -> None:
    names = {" ".join(words) for words in ALL}
    assert names >= {"init", "plan", "build-mixture", "verify", "inspect", "demo", "schema"}
    assert names >= {"store list", "store prune", "store rejects"}


@every_command
def test_every_command_explains_itself(words: tuple[str, ...]) -> None:
    found = ALL[words]
    assert (found.help or "").strip().endswith(".")
    assert all(getattr(parameter, "help", None) for parameter in found.params if parameter.name != "help")


@every_command
def test_every_command_has_an_example_that_is_right(words: tuple[str, ...]) -> None:
    """Every `rt2data ...` of an example names a command, and options that it has."""
    example = (ALL[words].epilog or "").removeprefix("Example: ")
    asked = [shlex.split(part)[1:] for part in re.split("&&|>", example) if part.strip().startswith("rt2data ")]
    assert asked
    assert tuple(asked[0][: len(words)]) == words
    for arguments in asked:
        named = next(each for each in ALL if tuple(arguments[: len(each)]) == each)
        ALL[named].make_context(" ".join(named), arguments[len(named) :])


@every_command
def test_help_shows_the_example(words: tuple[str, ...]) -> None:
    text = ALL[words].get_help(typer.Context(ALL[words], info_name=" ".join(words)))
    assert "Example: rt2data " in text
    assert "\x1b" not in text


def test_version() -> None:
    assert command("--version") == Said(0, f"rt2data {__version__}\n", "")


# Wrong usage


@pytest.mark.parametrize(
    "arguments",
    [["nonsense"], ["build-mixture", "--nonsense"], ["build-mixture", "--workers", "many"], ["inspect"], ["store", "burn"]],
)
def test_wrong_usage_is_told_on_stderr(arguments: list[str]) -> None:
    said = command(*arguments)
    assert said.code == 2
    assert said.out == ""
    assert "Traceback" not in said.err
    assert "Error: " in said.err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["plan", "gone.yaml"], "no recipe at gone.yaml"),
        (["build-mixture", "--robot-frac", "1.5"], "--robot-frac 1.5 robot_frac: must lie between 0 and 1"),
        (["build-mixture", "--set", "sed=1"], "did you mean 'seed'"),
        (["verify", "gone"], "no such folder"),
        (["inspect", "gone"], "gone"),
        (["store", "rejects", "gone", "--store", "store"], "gone"),
        (["schema", "gone"], "no schema named 'gone'"),
        (["init", "mixture.yaml"], "mixture.yaml exists"),
    ],
)
def test_failures_are_one_line_and_a_code(place: Path, arguments: list[str], complaint: str) -> None:
    said = command(*arguments, folder=place)
    assert said.code == 2
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert line.startswith("rt2data: ")
    assert complaint in line


def test_failures_are_data_for_programs(place: Path) -> None:
    said = command("plan", "--robot-frac", "2", "--json", folder=place)
    assert (said.code, said.json["code"], said.json["error"]) == (2, 2, "RecipeError")
    assert "must lie between 0 and 1" in said.json["what"]
    assert said.err.startswith("rt2data: ")


# The main job


def test_a_build_gives_data_on_stdout_and_talk_on_stderr(place: Path, built: Ended) -> None:
    assert built.code == 0, built.err
    rows = EPISODES * (STEPS - 1)
    assert builtJSON["examples"] == 2 * rows
    assert builtJSON["robot_frac"] == 0.5
    assert builtJSON["out"] == str(place / "mixture")
    assert builtJSON["rejects"]["arm"] == [{"reason": "first_step", "count": EPISODES, "fault": False}]
    assert re.search(r"^prepare +2/2 ", built.err, re.MULTILINE)
    assert re.search(r"^write +\d+/\d+ ", built.err, re.MULTILINE)
    assert "\x1b" not in built.out + built.err
    assert (place / "mixture" / "manifest.json").is_file()


def test_a_build_for_people(place: Path, built: Ended) -> None:
    said = command("build-mixture", "--robot-frac", "2/3", "--out", "other", "--workers", "0", folder=place)
    assert said.code == 0, said.err
    assert "66.6667% robot" in said.out
    assert re.search(r"^arm +robot +117 ", said.out, re.MULTILINE)
    assert "rt2data verify " in said.out
    assert "left out of arm: 3 first_step (as asked)" in said.err


def test_a_quiet_build_says_nothing(place: Path, built: Ended) -> None:
    said = command("build-mixture", "--json", "--quiet", "--out", "quiet", "--pool", "threads", "--workers", "2", folder=place)
    assert (said.code, said.err) == (0, "")
    assert said.json["examples"] == builtJSON["examples"]


def test_building_again_does_nothing(place: Path, built: Ended) -> None:
    before = (place / "mixture" / "manifest.json").stat()
    said = command("build-mixture", folder=place)
    assert said.code == 0
    assert "here already: nothing to do" in said.err
    assert (place / "mixture" / "manifest.json").stat() == before


def test_another_mixture_does_not_replace_it(place: Path, built: Ended) -> None:
    said = command("build-mixture", "--robot-frac", "0.1", "--json", folder=place)
    assert (said.code, said.json["code"]) == (2, 2)
    assert "--overwrite" in said.json["do"]


def test_a_plan_is_the_manifests(place: Path, built: Ended) -> None:
    said = command("plan", "--json", folder=place)
    assert said.code == 0
    assert said.json == json.loads((place / "mixture" / "manifest.json").read_text())["plan"]
    assert said.json["robot_examples"] * 2 == said.json["num_examples"]


def test_the_seed_is_a_flag(place: Path, built: Ended) -> None:
    assert command("plan", "--json", "--seed", "5", folder=place)JSON["seed"] == 5


def test_verify_and_inspect_in_json(place: Path, built: Ended) -> None:
    said = command("verify", "mixture", "--json", "--workers", "0", folder=place)
    assert (said.code, said.json["ok"], said.json["faults"]) == (0, True, [])
    for path, kind in (("mixture", "mixture"), ("mixture.yaml", "recipe"), ("log/bench_log", "rlds")):
        seen = command("inspect", path, "--json", folder=place)
        assert seen.code == 0, seen.err
        assert kind in seenJSON["kind"]


def test_verify_tells_damage_by_its_exit_code(place: Path, built: Ended) -> None:
    command("build-mixture", "--out", "damaged", "--quiet", "--workers", "0", folder=place)
    shard = place / "damaged" / "shard-000000.tar"
    shard.write_bytes(shard.read_bytes()[:-512])
    said = command("verify", "damaged", "--json", "--workers", "0", folder=place)
    assert (said.code, said.json["ok"]) == (3, False)
    assert "shard-000000.tar" in json.dumps(said.json["faults"])


def test_stores_in_json(place: Path, built: Ended) -> None:
    stores = command("store", "list", "--store", "store", "--json", folder=place)JSON["stores"]
    assert [store["name"] for store in stores] == ["arm", "qa"]
    rejects = command("store", "rejects", "arm", "--store", "store", "--json", folder=place).json
    assert rejects["by_reason"] == [{"reason": "first_step", "count": EPISODES, "fault": False}]
    prune = command("store", "prune", "--all", "--store", "store", "--json", folder=place).json
    assert [store["name"] for store in prune["chosen"]] == ["arm", "qa"]
    assert prune["removed"] == []


def test_schemas_are_printed_as_they_are() -> None:
    from rt2data.resources import schemas

    for name, file in (("example", "example.schema.json"), ("widowx_bridge", "actions/widowx_bridge.toml")):
        assert command("schema", name) == Said(0, (schemas() / file).read_text(), "")


# Odd surroundings


@pytest.mark.parametrize("environment", [{"LC_ALL": "C"}, {"COLUMNS": "20"}, {"NO_COLOR": "1", "TERM": "dumb"}], ids=str)
def test_any_surroundings_will_do(place: Path, built: Ended, environment: dict[str, str]) -> None:
    said = command("plan", folder=place, **environment)
    assert said.code == 0, said.err
    assert re.search(r"^arm +robot +117 ", said.out, re.MULTILINE)
    assert "\x1b" not in said.out


def test_no_home_is_needed_where_a_store_is_given(place: Path, built: Ended) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "HOME"}
    done = subprocess.run(
        [sys.executable, "-m", "rt2data", "plan", "--json"], cwd=place, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


def test_a_reader_that_goes_away_is_no_accident() -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, "-m", "rt2data", "schema", "recipe"], stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert "Traceback" not in done.stderr
