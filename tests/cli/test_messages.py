"""What commands say: advice runs as it is printed, warnings have one level, clocks start with the work, stores are found."""

from __future__ import annotations

import json
import os
import pwd
import re
import shlex
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from rt2data.cli import progress as progress_module
from rt2data.cli.app import app
from rt2data.cli.console import tell
from rt2data.cli.init import SCHEMA, init
from rt2data.cli.progress import Progress
from rt2data.cli.store import StoreRoot
from rt2data.cli.verify import Checking
from rt2data.errors import UsageError, command
from rt2data.look.report.views import BATCHES, Cost
from rt2data.look.stats.model import Share
from rt2data.look.stats.warnings import _mixture
from rt2data.plan.plan import MANY_EPOCHS, WARN_EPOCHS, draw_warnings
from rt2data.read.action_space import load_space
from rt2data.records import Warn
from rt2data.render.codecs.codec import terminate_legend
from rt2data.render.codecs.table import make_codec
from rt2data.settings import default_store_root, home
from tests.cli.places import lay_out
from tests.look.report import made
from tests.read.robots import BRIDGE

AWKWARD = "it's a $HOME; `x` & more"


def rt2data(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[str, str]:
    """Run a command in this process; what it said on stdout and stderr."""
    capsys.readouterr()
    assert not app(list(words), standalone_mode=False)
    found = capsys.readouterr()
    return found.out, found.err


def advised(text: str) -> list[list[str]]:
    """Commands of ours in what was said, as a shell splits them: up to the end of the line, or to `;` or `:` outside of quotes."""
    found = []
    for said in re.findall(r"rt2data .*", text):
        words = shlex.shlex(said, posix=True, punctuation_chars=";")
        words.whitespace_split, words.commenters = True, ""
        line = []
        for word in words:
            if word == ";":
                break
            line.append(word)
        found.append(line[1:])
    return found


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose name a shell would take apart."""
    (folder := tmp_path_factory.mktemp("messages") / AWKWARD).mkdir()
    return lay_out(folder, episodes=2, pictures=4)


# Advice


def test_advice_runs_as_printed(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a plan, a build and whatever they name: each line is run, word for word."""
    monkeypatch.chdir(place)
    recipe = str(place / "mixture.yaml")
    said = rt2data(capsys, "plan", recipe, "--set", "size.num_examples=40", "--robot-frac", "1/4")
    built = rt2data(capsys, "build-mixture", recipe, "--workers", "0", "--set", "size.epochs=12", "--set", "shards.bytes=64MB")
    lines = advised("\n".join((*said, *built)))
    assert {line[0] for line in lines} == {"plan", "verify", "stats"}, lines
    for line in lines:
        rt2data(capsys, *line, "--workers", "0")
    assert "12.0 times" in built[1] and "one shard: at most 1 reader of webdataset" in built[1]
    assert "2 errors and 1 warning above; check before you train: rt2data stats" in built[1].splitlines()[-1]


def test_a_command_is_one_for_any_shell() -> None:
    words = ["verify", AWKWARD, "-o", Path("/a b")]
    assert shlex.split(command(*words)) == ["rt2data", *map(str, words)]


# Warnings


@pytest.mark.parametrize("epochs", [1.0, WARN_EPOCHS + 1.0, MANY_EPOCHS + 1.0])
def test_repeats_have_one_level_in_plan_and_stats(epochs: float) -> None:
    share = Share("arm", "robot", *([0] * (len(Share.__struct_fields__) - 2)))
    share = msgspec.structs.replace(share, epochs=epochs, unique=10, unseen=0)
    stats = made.stats().mixture
    assert stats is not None
    mixture = msgspec.structs.replace(stats, shares=(share,))
    of_stats = [(warn.code, warn.level) for warn in _mixture(mixture) if warn.source == "arm"]
    assert of_stats == [(warn.code, warn.level) for warn in draw_warnings("arm", epochs, 0, 10)]


def test_one_function_prints_them_worst_first(capsys: pytest.CaptureFixture[str]) -> None:
    note, error = Warn("a", "note", "arm", "one\nline", "do"), Warn("b", "error", "", "bad", "")
    tell([note, error, note])
    assert capsys.readouterr().err.splitlines() == ["error: bad [b]", "note: arm: one\\nline -> do [a]"]


# Progress


def test_clocks_start_with_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first result comes at the end of the first piece of work: its time counts."""
    now = SimpleNamespace(value=100.0)
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: now.value)
    checking = Checking(quiet=True)
    now.value += 4
    checking((SimpleNamespace(examples=40, bytes=0), 2))
    assert "10 examples/s" in checking.counts["verify"].line()
    assert "4 s left" in checking.counts["verify"].line()


def test_work_without_examples_has_a_rate_too() -> None:
    shown = Progress(quiet=True)
    shown._begin("episodes", 4)
    shown._count("episodes", True, 0, 0, 0)
    assert re.search(r"^episodes 1/4  \S+/s  \d+ s left$", shown.counts["episodes"].line())


# Stores


def test_store_commands_know_the_recipe(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(place)
    assert StoreRoot().find() == place / "store"
    assert "the store of mixture.yaml" in capsys.readouterr().err
    monkeypatch.chdir(place.parent)
    monkeypatch.setenv("RT2DATA_STORE", str(place.parent / "else"))
    assert StoreRoot().find() == place.parent / "else"
    assert "the default" in capsys.readouterr().err
    assert StoreRoot(recipe=place / "mixture.yaml").find() == place / "store"
    assert StoreRoot(Path("named"), place / "mixture.yaml").find() == Path("named")
    (place.parent / "mixture.yaml").write_text("robot_frac: [")
    assert StoreRoot().find() == place.parent / "else", "a broken recipe that nobody named is no reason to stop"
    with pytest.raises(UsageError):
        StoreRoot(recipe=Path("mixture.yaml")).find()


def test_the_default_store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    own = pwd.getpwuid(os.getuid()).pw_dir
    for name in ("RT2DATA_STORE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "")
    assert home() == own and default_store_root() == Path(own, ".cache/rt2data/store"), "an empty HOME is none"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_store_root() == tmp_path / ".cache/rt2data/store"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert default_store_root() == tmp_path / "cache/rt2data/store"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert default_store_root() == tmp_path / ".cache/rt2data/store", "its specification lets relative paths be ignored"
    monkeypatch.setenv("RT2DATA_STORE", "~/mine")
    assert default_store_root() == tmp_path / "mine"


# Starting


def test_the_starters_schema_is_beside_it(tmp_path: Path) -> None:
    """A path that exists for whoever installed a wheel, and still when the folder moves."""
    init(tmp_path / "mine.yaml")
    (named,) = re.findall(r"\$schema=(\S+)", (tmp_path / "mine.yaml").read_text())
    assert named == SCHEMA and "robot_frac" in json.loads((tmp_path / named).read_text())["properties"]
    (tmp_path / SCHEMA).write_text("mine")
    init(tmp_path / "other.yaml")
    assert (tmp_path / SCHEMA).read_text() == "mine", "a file that is there stays"


@pytest.mark.parametrize(
    ("words", "key"), [(("init",), "recipe"), (("schema", "widowx_bridge"), "dim"), (("schema", "recipe"), "title")]
)
def test_json_of_commands_that_had_none(
    words: tuple[str, ...], key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert key in json.loads(rt2data(capsys, *words, "--json")[0])


def test_demo_draws_with_progress_and_says_so_in_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "de mo"
    out, err = rt2data(capsys, "demo", str(folder), "--episodes", "2", "--scenes", "1", "--workers", "0", "--json")
    assert json.loads(out)["episodes"] == 2 and json.loads(out)["folder"] == str(folder)
    assert re.search(r"^episodes 2/2  ", err, re.MULTILINE) and re.search(r"^scenes   1/1  ", err, re.MULTILINE)


# Reading targets


def test_the_terminate_word_is_explained_by_the_codec() -> None:
    assert terminate_legend(make_codec("rt2", load_space("widowx_bridge"), BRIDGE)) == "word 1: 1 = continue, 0 = end of the task"
    assert terminate_legend(make_codec("openvla", load_space("widowx_bridge"), BRIDGE)) == ""


def test_it_is_said_beside_targets(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(place)
    rt2data(capsys, "build-mixture", "--workers", "0", "--robot-frac", "1", "-o", "robots", "--set", "size={num_examples: 10}")
    assert "word 1: 1 = continue, 0 = end of the task" in rt2data(capsys, "view", "robots")[0]
    assert json.loads(rt2data(capsys, "view", "robots", "--json")[0])["examples"][0]["terminate_word"]
    assert "word 1: 1 = continue, 0 = end of the task" in rt2data(capsys, "inspect", "robots")[0]
    rt2data(capsys, "report", "robots", "-o", "robots.html", "--workers", "0", "--tiles", "1")
    page = Path("robots.html").read_text()
    assert "word 1: 1 = continue, 0 = end of the task" in page and "darker" not in page


def test_view_saves_over_nothing_of_others(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    rt2data(capsys, "view", "log/bench_log", "--save", "saved")
    (picture,) = Path("saved").iterdir()
    rt2data(capsys, "view", "log/bench_log", "--save", "saved")
    picture.write_bytes(b"mine")
    with pytest.raises(UsageError, match="--force"):
        rt2data(capsys, "view", "log/bench_log", "--save", "saved")
    assert picture.read_bytes() == b"mine"
    rt2data(capsys, "view", "log/bench_log", "--save", "saved", "--force")
    assert picture.read_bytes() != b"mine"


def test_costs_are_of_batches_that_there_can_be() -> None:
    assert [row[0] for row in Cost(300, None, None, 1).table] == [32, 64, 128, 256]
    assert [row[0] for row in Cost(5, None, None, 1).table] == [BATCHES[0]]
    assert [row[0] for row in Cost(1 << 20, None, None, 1).table] == list(BATCHES)
