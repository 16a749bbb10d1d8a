"""Reading a recipe: what is accepted, and every mistake told with its place, all at once."""

from __future__ import annotations

import json
import pickle
import random
import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rt2data.cli.init import init, starter
from rt2data.errors import RtError, UsageError
from rt2data.plan.recipe import Recipe, RecipeError, canonical, from_canonical, parse_recipe, read_recipe, recipe_model
from rt2data.plan.recipe.document import MAX_BYTES, parse
from rt2data.plan.recipe.model import Size
from rt2data.read.source import SOURCES, RobotSource, Source, WebSource
from rt2data.records import Example, Reject, Step, Unit
from rt2data.settings import PathStr
from tests.laws import tries


class ToySource(Source):
    def files(self) -> list[str]:
        return []

    def units(self) -> list[Unit]:
        return []

    def read(self, unit: Unit) -> Iterator[Step | Example | Reject]:
        yield from ()

    def describe(self) -> dict[str, Any]:
        return {}


class ToyLog(ToySource, RobotSource):
    """A robot log."""

    kind: Literal["log"] = "log"
    path: PathStr
    """Folder of one version."""
    splits: tuple[str, ...] = ()


class ToyCorpus(ToySource, WebSource):
    """A corpus."""

    kind: Literal["corpus"] = "corpus"
    questions: PathStr
    """The questions."""


TOYS = {"log": f"{__name__}:ToyLog", "corpus": f"{__name__}:ToyCorpus"}

PLAIN = """\
robot_frac: 0.5
robot:
  arm:
    kind: log
    path: logs
    action_space: widowx_bridge
web:
  vqa:
    kind: corpus
    questions: q.json
"""


@pytest.fixture(autouse=True, scope="module")
def toys() -> Iterator[None]:
    """Only the toy sources are known here."""
    kept = dict(SOURCES)
    SOURCES.clear()
    SOURCES.update(TOYS)
    yield
    SOURCES.clear()
    SOURCES.update(kept)


def read(text: str, *overrides: str, robot_frac: str | None = None) -> Recipe:
    return parse_recipe(text, "mixture.yaml", Path("/recipes"), overrides, robot_frac)


def mistakes(text: str, *overrides: str, robot_frac: str | None = None) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        read(text, *overrides, robot_frac=robot_frac)
    assert caught.value.code == 2
    return [str(mistake) for mistake in caught.value.mistakes]


def with_line(number: int, line: str) -> str:
    """PLAIN with a line put in front of its line `number` (from 1)."""
    lines = PLAIN.splitlines()
    return "\n".join([*lines[: number - 1], line, *lines[number - 1 :]]) + "\n"


# What is accepted


def test_defaults() -> None:
    recipe = read(PLAIN)
    assert recipe.robot_frac == Fraction(1, 2)
    assert recipe.size == Size() == Size(epochs=Fraction(1), of="longest", num_examples=None)
    assert (recipe.tokenizer.kind, recipe.tokenizer.path) == ("byte", None)
    assert (recipe.max_bad, recipe.shards.bytes, recipe.seed) == (Fraction(1, 50), 256_000_000, 0)
    assert list(recipe.sources) == ["arm", "vqa"]
    assert isinstance(recipe.robot["arm"], ToyLog) and recipe.robot["arm"].weight == 1


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("0", 0),
        ("1", 1),
        ("0.66", "33/50"),
        ("2/3", "2/3"),
        ("50%", "1/2"),
        ("'0.1'", "1/10"),
        ("0." + "3" * 20, f"{'3' * 20}/{10**20}"),
    ],
)
def test_robot_frac_is_exact(written: str, meant: Any) -> None:
    assert read(PLAIN.replace("0.5", written)).robot_frac == Fraction(meant)


@pytest.mark.parametrize(
    ("written", "meant"), [("1000", 1000), ("256MB", 256 * 10**6), ("1 GB", 10**9), ("64MiB", 64 * 2**20), ("1kB", 1000)]
)
def test_shard_bytes(written: str, meant: int) -> None:
    assert read(with_line(2, f"shards: {{bytes: {written}}}")).shards.bytes == meant


@pytest.mark.parametrize(
    ("written", "kind", "path"),
    [
        ("byte", "byte", None),
        ("{kind: byte}", "byte", None),
        ("t/tokenizer.json", "hf", "/recipes/t/tokenizer.json"),
        ("/t/x.model", "sentencepiece", "/t/x.model"),
        ("{kind: hf, path: odd.name}", "hf", "/recipes/odd.name"),
    ],
)
def test_tokenizer(written: str, kind: str, path: str | None) -> None:
    tokenizer = read(with_line(2, f"tokenizer: {written}")).tokenizer
    assert (tokenizer.kind, tokenizer.path) == (kind, path)


def test_one_side_is_enough_where_it_has_all(monkeypatch: pytest.MonkeyPatch) -> None:
    robot, web = PLAIN.split("web:")[0], PLAIN.split("robot:")[0] + "web:" + PLAIN.split("web:")[1]
    assert not read(robot, robot_frac="1").web
    assert not read(web, robot_frac="0").robot
    assert read(PLAIN, robot_frac="100%").robot_frac == 1


def test_weight_zero_and_a_path_given_twice_are_legal() -> None:
    recipe = read(PLAIN, "robot.twin={kind: log, path: logs, action_space: widowx_bridge, weight: 0}")
    assert recipe.robot["twin"].weight == 0


def test_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("RT2DATA_LOGS", "/big/logs")
    for written, meant in {
        "a/b": "/recipes/a/b",
        "../b": "/recipes/../b",
        "/a": "/a",
        "~/a": "/home/me/a",
        "~a": "/recipes/~a",
        "'${HOME}/a'": "/home/me/a",
        "'${RT2DATA_LOGS}/a'": "/big/logs/a",
        "$HOME/a": "/recipes/$HOME/a",
    }.items():
        assert read(PLAIN.replace("path: logs", f"path: {written}")).robot["arm"].path == meant  # type: ignore[attr-defined]


def test_an_action_space_is_a_name_or_a_file() -> None:
    for written, meant in {
        "widowx_bridge": "widowx_bridge",
        "my.toml": "/recipes/my.toml",
        "arms/my.toml": "/recipes/arms/my.toml",
    }.items():
        assert read(PLAIN.replace("widowx_bridge", written)).robot["arm"].action_space == meant


def test_cameras_and_windows() -> None:
    """By default one camera, no history, one action. Offsets go from now back in time, whatever order they are given in."""
    plain = read(PLAIN).robot["arm"]
    assert (plain.named_cameras, plain.offsets, plain.horizon, plain.windowed, plain.loss_weight) == (None, (0,), 1, False, 1)
    wide = read(PLAIN, "robot.arm.cameras=[wrist, front]", "robot.arm.history=[-3, 0, -1]", "robot.arm.horizon=8").robot["arm"]
    assert (wide.named_cameras, wide.offsets, wide.horizon, wide.windowed) == (("wrist", "front"), (0, -1, -3), 8, True)
    assert read(PLAIN, "robot.arm.cameras=all").robot["arm"].named_cameras == "all"


@pytest.mark.parametrize(("written", "meant"), [("2", 2), ("0.5", "1/2"), ("1/3", "1/3"), ("50%", "1/2")])
def test_loss_weight_is_exact(written: str, meant: Any) -> None:
    recipe = read(PLAIN, f"robot.arm.loss_weight={written}", f"web.vqa.loss_weight={written}")
    assert {source.loss_weight for source in recipe.sources.values()} == {Fraction(meant)}


def test_settings_that_need_no_other_store() -> None:
    """A horizon is left to the store's name; gaps matter once windows end at them."""
    first = read(PLAIN).robot["arm"].prepare_settings()
    for same in ("loss_weight=2", "horizon=1", "gaps=join", "control_hz=5", "state_names=[x]"):
        assert read(PLAIN, f"robot.arm.{same}").robot["arm"].prepare_settings() == first, same
    for other in ("cameras=all", "history=[0, -1]"):
        assert read(PLAIN, f"robot.arm.{other}").robot["arm"].prepare_settings() != first, other
    cut, join = (read(PLAIN, "robot.arm.horizon=4", f"robot.arm.gaps={gaps}").robot["arm"] for gaps in ("cut", "join"))
    assert cut.prepare_settings() != join.prepare_settings()
    assert cut.prepare_settings() == read(PLAIN, "robot.arm.horizon=2").robot["arm"].prepare_settings()


def test_store_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.delenv("RT2DATA_STORE", raising=False)
    assert read(PLAIN).store_folder == Path("/home/me/.cache/rt2data/store")
    monkeypatch.setenv("RT2DATA_STORE", "/big/store")
    assert read(PLAIN).store_folder == Path("/big/store")
    assert read(PLAIN, "store=here").store_folder == Path("/recipes/here")


# Every mistake, with its place


ONE_MISTAKE = {
    "unknown key": (with_line(7, "    weigth: 2"), "7:5 robot.arm.weigth: unknown key, did you mean 'weight'?"),
    "unknown key on top": (with_line(2, "robo_frac: 1"), "2:1 robo_frac: unknown key, did you mean 'robot_frac'?"),
    "unlike any key": (with_line(2, "zzz: 1"), "2:1 zzz: unknown key"),
    "escape in a key": (with_line(2, '"\\e[2J": 1'), "2:1 '\\x1b[2J': unknown key"),
    "unknown key, deeper": (
        with_line(7, "    filters: {min_step: 3}"),
        "7:15 robot.arm.filters.min_step: unknown key, did you mean 'min_steps'?",
    ),
    "missing": (PLAIN.replace("    path: logs\n", ""), "3:3 robot.arm.path: is missing: Folder of one version"),
    "missing on top": (
        PLAIN.replace("robot_frac: 0.5\n", ""),
        "1:1 robot_frac: is missing: The fraction of examples that are robot steps: 0.66, 2/3 or 50%",
    ),
    "kind missing": (PLAIN.replace("    kind: log\n", ""), "3:3 robot.arm.kind: is missing: 'log'"),
    "kind unknown": (
        PLAIN.replace("kind: log", "kind: logg"),
        "4:11 robot.arm.kind: must be 'log', got 'logg', did you mean 'log'?",
    ),
    "kind of the other side": (PLAIN.replace("kind: log", "kind: corpus"), "4:11 robot.arm.kind: 'corpus' belongs under web"),
    "word": (
        with_line(2, "template: openvlaa"),
        "2:11 template: must be 'rt2', 'openvla', 'rt2_plan' or 'ecot', got 'openvlaa', did you mean 'openvla'?",
    ),
    "text for a number": (with_line(2, "seed: '1'"), "2:7 seed: must be a whole number, got '1'"),
    "number for text": (PLAIN.replace("path: logs", "path: 12"), "5:11 robot.arm.path: must be text, got 12"),
    "null for text": (PLAIN.replace("path: logs", "path:"), "5:5 robot.arm.path: must be text, got null"),
    "empty text": (PLAIN.replace("path: logs", "path: ''"), "5:11 robot.arm.path: must be text of 1 or more characters, got ''"),
    "text for a list": (with_line(7, "    splits: train"), "7:13 robot.arm.splits: must be a list, got 'train'"),
    "in a list": (with_line(7, "    splits: [train, 3]"), "7:21 robot.arm.splits[1]: must be text, got 3"),
    "text for a mapping": (with_line(7, "    filters: none"), "7:14 robot.arm.filters: must be a mapping, got 'none'"),
    "list for a mapping": (with_line(7, "    filters: [1]"), "7:14 robot.arm.filters: must be a mapping, got a list"),
    "too small": (with_line(2, "seed: -1"), "2:7 seed: must be at least 0, got -1"),
    "too large": (with_line(2, f"seed: {2**63}"), f"2:7 seed: must be below {2**63}, got {2**63}"),
    "number or word": (
        with_line(7, "    filters: {drop_last: -3}"),
        "7:26 robot.arm.filters.drop_last: must be at least 0 or 'auto', got -3",
    ),
    "in a list that could be a word": (with_line(7, "    cameras: [1]"), "7:15 robot.arm.cameras[0]: must be text, got 1"),
    "not finite": (with_line(7, "    filters: {noop: .inf}"), "7:21 robot.arm.filters.noop: must be finite, got .inf"),
    "no examples": (with_line(2, "size: {num_examples: 0}"), "2:22 size.num_examples: must be at least 1, got 0"),
    "no epochs": (with_line(2, "size: {epochs: 0}"), "2:16 size.epochs: must be above 0, got 0"),
    "bytes": (
        with_line(2, "shards: {bytes: 256Mb}"),
        "2:17 shards.bytes: must be a number of bytes such as 256MB or 64MiB, got '256Mb'",
    ),
    "tokenizer": (with_line(2, "tokenizer: gpt"), "2:12 tokenizer: must be byte or a path that ends in .json or .model, got 'gpt'"),
    "tokenizer without path": (with_line(2, "tokenizer: {kind: hf}"), "2:12 tokenizer: hf needs the path of its file"),
    "byte with path": (with_line(2, "tokenizer: {kind: byte, path: x}"), "2:12 tokenizer: byte is built in and takes no path"),
    "name": (
        PLAIN.replace("arm:", "1-Arm:"),
        "3:3 robot.1-Arm: the name must be a letter, then up to 63 letters, digits, _ or -",
    ),
    "variable": (
        PLAIN.replace("path: logs", "path: ${USER}/x"),
        "5:11 robot.arm.path: ${USER} is not allowed: only ${HOME} and ${RT2DATA_...} are",
    ),
    "variable not set": (
        PLAIN.replace("path: logs", "path: ${RT2DATA_NOT_SET}"),
        "5:11 robot.arm.path: ${RT2DATA_NOT_SET} is not set",
    ),
    # what other readers of YAML take for something else
    "1e3 examples": (with_line(2, "size: {num_examples: 1e3}"), "2:22 size.num_examples: must be a whole number, got 1e3"),
    "012": (with_line(2, "seed: 012"), "2:7 seed: must be a whole number, got '012'"),
    "0x10": (with_line(2, "seed: 0x10"), "2:7 seed: must be a whole number, got '0x10'"),
    "1:30": (with_line(2, "seed: 1:30"), "2:7 seed: must be a whole number, got '1:30'"),
    "no": (with_line(7, "    images: {png: no}"), "7:19 robot.arm.images.png: must be 'keep' or 'jpeg', got 'no'"),
    "keep_png": (
        with_line(7, "    images: {keep_png: false}"),
        "7:13 robot.arm.images: keep_png is now png: write `png: jpeg` (PNG is kept by default)",
    ),
    "true as a number": (with_line(2, "seed: true"), "2:7 seed: must be a whole number, got true"),
    # weights and shares
    "weight negative": (with_line(7, "    weight: -1"), "7:13 robot.arm.weight: must not be negative, got -1"),
    "weight nan": (
        with_line(7, "    weight: .nan"),
        "7:13 robot.arm.weight: must be a finite number, a fraction or a percentage, got .nan",
    ),
    "weight inf": (
        with_line(7, "    weight: .inf"),
        "7:13 robot.arm.weight: must be a finite number, a fraction or a percentage, got .inf",
    ),
    "weight 1e400": (
        with_line(7, "    weight: 1e400"),
        "7:13 robot.arm.weight: must be a finite number, a fraction or a percentage, got 1e400",
    ),
    "weight huge": (with_line(7, "    weight: 1e99"), "7:13 robot.arm.weight: must be a number of ordinary size, got 1e99"),
    "weight as text": (
        with_line(7, "    weight: '1e3'"),
        "7:13 robot.arm.weight: must be a finite number, a fraction or a percentage, got '1e3'",
    ),
    "weights zero": (
        with_line(7, "    weight: 0"),
        "7:13 robot.arm.weight: every weight under robot is 0, but robot_frac asks for robot examples",
    ),
    "fraction above 1": (PLAIN.replace("0.5", "1.5"), "1:13 robot_frac: must be between 0 and 1, got 1.5"),
    "percentage above 100": (PLAIN.replace("0.5", "101%"), "1:13 robot_frac: must be between 0 and 1, got '101%'"),
    "no robot": (
        PLAIN.split("robot:")[0] + "web:" + PLAIN.split("web:")[1],
        "1:13 robot_frac: 0.5 needs robot sources and there are none: add one under robot, or set it to 0",
    ),
    "no web": (
        PLAIN.split("web:")[0],
        "1:13 robot_frac: 0.5 needs web sources and there are none: add one under web, or set it to 1",
    ),
    "web empty": (
        PLAIN.split("web:")[0] + "web: {}",
        "1:13 robot_frac: 0.5 needs web sources and there are none: add one under web, or set it to 1",
    ),
    "same name": (PLAIN.replace("vqa:", "arm:"), "8:3 web.arm: is already the name of a source under robot"),
    "a rule's name": (
        PLAIN.replace("arm:", "longest:"),
        "3:3 robot.longest: the name must not be longest: it is a rule of size.of",
    ),
    "of nobody": (with_line(2, "size: {of: vqaa}"), "2:12 size.of: no source is called 'vqaa', did you mean 'vqa'?"),
    "of one left out": (
        with_line(2, "size: {of: arm}").replace("0.5", "0"),
        "2:12 size.of: arm is not drawn: its weight or the share of robot is 0",
    ),
    "size twice": (
        with_line(2, "size: {epochs: 2, num_examples: 5}"),
        "2:19 size.num_examples: excludes epochs and of: give one or the other",
    ),
    # cameras and windows in time
    "one camera as a list": (
        with_line(7, "    cameras: front"),
        "7:14 robot.arm.cameras: must be a list or 'all' or 'none', got 'front'",
    ),
    "no camera": (
        with_line(7, "    cameras: []"),
        "7:14 robot.arm.cameras: must be a list of 1 or more or 'all' or 'none', got an empty list",
    ),
    "camera twice": (with_line(7, "    cameras: [a, a]"), "7:14 robot.arm.cameras: must not name one camera twice"),
    "camera and cameras": (with_line(7, "    camera: a\n    cameras: [b]"), "4:5 robot.arm: give `camera` or `cameras`, not both"),
    "history without now": (with_line(7, "    history: [-1]"), "7:14 robot.arm.history: must hold 0, and no step twice"),
    "history twice": (with_line(7, "    history: [0, -2, -2]"), "7:14 robot.arm.history: must hold 0, and no step twice"),
    "history of the future": (with_line(7, "    history: [0, 1]"), "7:18 robot.arm.history[1]: must be at most 0, got 1"),
    "history as a number": (with_line(7, "    history: -1"), "7:14 robot.arm.history: must be a list, got -1"),
    "no history": (with_line(7, "    history: []"), "7:14 robot.arm.history: must be a list of 1 or more, got an empty list"),
    "no horizon": (with_line(7, "    horizon: 0"), "7:14 robot.arm.horizon: must be at least 1, got 0"),
    "horizon too long": (with_line(7, "    horizon: 1025"), "7:14 robot.arm.horizon: must be at most 1024, got 1025"),
    "horizon in seconds": (with_line(7, "    horizon: 1.5"), "7:14 robot.arm.horizon: must be a whole number, got 1.5"),
    "horizon of web": (PLAIN + "    horizon: 3\n", "11:5 web.vqa.horizon: unknown key"),
    "loss weight zero": (with_line(7, "    loss_weight: 0"), "7:18 robot.arm.loss_weight: must be above 0, got 0"),
    "loss weight negative": (PLAIN + "    loss_weight: -1\n", "11:18 web.vqa.loss_weight: must be above 0, got -1"),
    "loss weight as text": (
        with_line(7, "    loss_weight: heavy"),
        "7:18 robot.arm.loss_weight: must be a finite number, a fraction or a percentage, got 'heavy'",
    ),
    "loss weight too small": (
        with_line(7, "    loss_weight: 1e-50"),
        "7:18 robot.arm.loss_weight: must be a number of ordinary size, got 1e-50",
    ),
    "gaps": (with_line(7, "    gaps: jump"), "7:11 robot.arm.gaps: must be 'cut', 'drop' or 'join', got 'jump'"),
    # YAML
    "given twice": (with_line(5, "    kind: log"), "5:5 robot.arm.kind: is given twice, first on line 4"),
    "source given twice": (PLAIN + "  vqa: {kind: corpus}", "11:3 web.vqa: is given twice, first on line 8"),
    "alias": (PLAIN.replace("q.json", "*q"), "10:16 web.vqa.questions: aliases (*q) are not supported: write the value"),
    "merge key": (with_line(7, "    <<: {weight: 2}"), "7:5 robot.arm: merge keys (<<) are not supported: write the settings"),
    "tag": (with_line(2, "seed: !!int '3'"), "2:7 seed: tags (tag:yaml.org,2002:int) are not supported: write the plain value"),
    "tag of Python": (
        with_line(2, "seed: !!python/name:os.system x"),
        "2:7 seed: tags (tag:yaml.org,2002:python/name:os.system) are not supported: write the plain value",
    ),
    "key of many": (with_line(2, "[a, b]: 1"), "2:1: keys must be plain words"),
    "half a pair": (with_line(2, 'split: "\\ud800"'), "2:8 split: has an invalid character (NUL or a lone surrogate)"),
    "two documents": (PLAIN + "---\na: 1\n", "11:1: starts a second document: a recipe is one document"),
    "tab": (
        "robot_frac: 1\nrobot:\n\tarm: 1",
        "3:1: is not valid YAML: found character '\\t' that cannot start any token (indent with spaces)",
    ),
    "colon": (
        with_line(2, "split: a: b"),
        "2:9: is not valid YAML: mapping values are not allowed here (quote text that holds a colon)",
    ),
    "control character": (with_line(2, "split: a\x07"), "2:9: has an invalid character: '\\x07'"),
    "empty": ("# nothing\n", "1:1: is empty: start from the one that rt2data init writes"),
    "a list": ("- robot_frac: 1\n", "1:1: must be a mapping of settings, got a list"),
    "a word": ("hello", "1:1: must be a mapping of settings, got 'hello'"),
    "deep": ("robot: " + "[" * 40 + "]" * 40, "1:40 robot[0]: is nested deeper than 32 levels"),
}


@pytest.mark.parametrize("name", ONE_MISTAKE)
def test_one_mistake_is_one_line(name: str) -> None:
    text, expected = ONE_MISTAKE[name]
    with pytest.raises(RecipeError) as caught:
        read(text)
    assert list(caught.value.lines) == [f"mixture.yaml:{expected}"]
    assert str(caught.value) == f"mixture.yaml:{expected}"


def test_all_mistakes_at_once_in_file_order() -> None:
    text = with_line(7, "    weigth: 2\n    weight: -1").replace("0.5", "2").replace("path: logs", "path: 3")
    with pytest.raises(RecipeError) as caught:
        read(text, "sed=1", "size.of=vqaa")
    assert list(caught.value.lines) == [
        "6 mistakes in the recipe",
        "mixture.yaml:1:13 robot_frac: must be between 0 and 1, got 2",
        "mixture.yaml:5:11 robot.arm.path: must be text, got 3",
        "mixture.yaml:7:5 robot.arm.weigth: unknown key, did you mean 'weight'?",
        "mixture.yaml:8:13 robot.arm.weight: must not be negative, got -1",
        "--set sed=1 sed: unknown key, did you mean 'seed'?",
        "--set size.of=vqaa size.of: no source is called 'vqaa', did you mean 'vqa'?",
    ]
    first = caught.value.mistakes[2]
    assert (first.line, first.column, first.path, first.suggestion) == (7, 5, "robot.arm.weigth", "weight")
    again = pickle.loads(pickle.dumps(caught.value))
    assert (type(again), again.mistakes, str(again)) == (RecipeError, caught.value.mistakes, "6 mistakes in the recipe")


def test_a_bomb_of_aliases_is_refused_at_once() -> None:
    levels = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 13)]
    found = mistakes("\n".join(["a0: &a0 [x]", *levels]))
    assert len(found) == 101 and found[-1].endswith("more mistakes")


def test_a_large_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(PLAIN + "#" * MAX_BYTES)
    with pytest.raises(RecipeError, match="larger than 1,000,000 bytes"):
        read_recipe(path)


@pytest.mark.parametrize("value", ["\x1b[2J", "\u202egnp", "x\ny"])
def test_odd_values_cannot_steer_a_terminal(value: str) -> None:
    (line,) = mistakes(with_line(2, f"codec: {json.dumps(value)}"))
    assert line.isprintable()


def test_long_values_are_shown_shortly() -> None:
    (line,) = mistakes(with_line(2, f"codec: {'x' * 10_000}"))
    assert line == f"mixture.yaml:2:8 codec: must be 'rt2', 'openvla' or 'rt1', got '{'x' * 36}..."


@tries(150)
@given(st.text("ab:-[]{}&*!|>'\"%@#?,<~ \n\t\\\x00\u2028ud8019.", max_size=60) | st.text(max_size=40))
def test_any_text_is_a_tree_or_a_recipe_error(text: str) -> None:
    try:
        document = parse(text, "x")
    except RecipeError as error:
        assert error.mistakes
    else:
        assert document.spot((), at_key=False).origin == "x"


# The file


def test_no_such_file(tmp_path: Path) -> None:
    for path in (tmp_path / "none.yaml", tmp_path, tmp_path / "none" / "x.yaml"):
        with pytest.raises(UsageError, match=r"^no recipe at .* -> run rt2data init, or name one$"):
            read_recipe(path)


def test_a_file_that_is_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_bytes(b"robot_frac: 1\nsplit: \xff\n")
    with pytest.raises(RecipeError, match=f"^{re.escape(str(path))}:2:1: is not UTF-8: byte 0xff$"):
        read_recipe(path)


def test_line_ends_and_byte_order_mark_do_not_matter(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_bytes(b"\xef\xbb\xbf" + PLAIN.replace("\n", "\r\n").encode())
    assert read_recipe(tmp_path / "m.yaml") == parse_recipe(PLAIN, "x", tmp_path)


def test_paths_are_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "m.yaml").write_text(PLAIN)
    monkeypatch.chdir(tmp_path)
    recipe = read_recipe("sub/m.yaml")
    assert recipe.robot["arm"].path == str(tmp_path / "sub" / "logs")  # type: ignore[attr-defined]


# Overrides


def test_overrides_set_replace_and_make() -> None:
    recipe = read(
        PLAIN,
        "seed=3",
        "robot.arm.weight=2/3",
        "robot.arm.filters.min_steps=5",
        "shards={bytes: 1MB}",
        "robot.arm.splits=[a, b]",
        "seed=4",
        robot_frac="25%",
    )
    assert (recipe.seed, recipe.robot_frac, recipe.shards.bytes) == (4, Fraction(1, 4), 1_000_000)
    arm = recipe.robot["arm"]
    assert isinstance(arm, ToyLog)
    assert (arm.weight, arm.filters.min_steps, arm.splits) == (Fraction(2, 3), 5, ("a", "b"))


def test_an_override_mends_a_mistake() -> None:
    assert read(with_line(2, "seed: x"), "seed=1").seed == 1


def test_one_way_to_give_the_size_replaces_the_other() -> None:
    assert read(with_line(2, "size: {epochs: 2, of: arm}"), "size.num_examples=7").size.num_examples == 7
    assert read(with_line(2, "size: {num_examples: 7}"), "size.epochs=3").size.num_examples is None


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("robot.arm.weigth=1", "--set robot.arm.weigth=1 robot.arm.weigth: unknown key, did you mean 'weight'?"),
        ("robot.arm.weight=-1", "--set robot.arm.weight=-1 robot.arm.weight: must not be negative, got -1"),
        ("robot.arm={kind: log}", None),
        ("seed", "--set seed: must be key=value, or key.key=value"),
        ("=1", "--set =1: must be key=value, or key.key=value"),
        ("a..b=1", "--set a..b=1: must be key=value, or key.key=value"),
        (".".join("a" * 99) + "=1", None),
        ("seed=", "--set seed= seed: must be a whole number, got null"),
        ("seed=[", "--set seed=[ seed: is not valid YAML: expected the node content, but found '<stream end>'"),
        ("seed=*x", "--set seed=*x seed: aliases (*x) are not supported: write the value"),
        ("seed.x=1", "--set seed.x=1 seed: must be a whole number, got a mapping"),
        ("codec=no\x1b", None),
    ],
)
def test_mistakes_of_overrides(override: str, expected: str | None) -> None:
    found = mistakes(PLAIN, override)
    assert all(line.startswith("--set ") and line.isprintable() for line in found)
    assert expected is None or found == [expected]


def test_an_override_does_not_reach_into_a_word() -> None:
    assert mistakes(with_line(2, "tokenizer: byte"), "tokenizer.kind=hf") == [
        "--set tokenizer.kind=hf tokenizer: is 'byte' and has no keys: set it as a whole"
    ]


@pytest.mark.parametrize("value", ["1.5", "-0.1", "nan", "inf", "1e400", "x", "", "150%"])
def test_robot_frac_of_the_command_line(value: str) -> None:
    (line,) = mistakes(PLAIN, robot_frac=value)
    assert line.startswith(f"--robot-frac {value} robot_frac: must ")


# Canonical form


shares = st.fractions(0, 1, max_denominator=1000).map(str)
trees = st.fixed_dictionaries(
    {
        "robot_frac": st.fractions(Fraction(1, 100), Fraction(99, 100), max_denominator=1000).map(str),
        "seed": st.integers(0, 2**63 - 1),
        "max_bad": shares,
        "robot": st.dictionaries(
            st.from_regex(r"\Ar[a-z0-9_]{0,63}\Z"),
            st.fixed_dictionaries(
                {
                    "kind": st.just("log"),
                    "path": st.text("aé /~", min_size=1),
                    "action_space": st.just("x"),
                    "weight": st.integers(1, 9),
                },
                optional={
                    "splits": st.lists(st.text("aé🤖: ", max_size=3), max_size=3),
                    "filters": st.fixed_dictionaries({"noop": st.floats(0, 1)}),
                },
            ),
            min_size=1,
            max_size=3,
        ),
        "web": st.just({"vqa": {"kind": "corpus", "questions": "q.json"}}),
    },
    optional={"size": st.fixed_dictionaries({"num_examples": st.integers(1, 10**9)}), "tokenizer": st.just("t.json")},
)


def reordered(value: Any, order: random.Random) -> Any:
    """The same mapping with its keys in another order."""
    if not isinstance(value, dict):
        return value
    keys = order.sample(sorted(value), len(value))
    return {key: reordered(value[key], order) for key in keys}


@tries(60)
@given(trees, st.randoms(use_true_random=False))
def test_canonical_form_ignores_order_and_reads_back(tree: dict[str, Any], order: random.Random) -> None:
    recipe = read(json.dumps(tree, ensure_ascii=False))
    text = canonical(recipe)
    assert canonical(read(json.dumps(reordered(tree, order), ensure_ascii=False))) == text
    assert from_canonical(text) == recipe
    assert canonical(from_canonical(text)) == text
    assert pickle.loads(pickle.dumps(recipe)) == recipe


def test_canonical_form_is_pinned() -> None:
    assert json.loads(canonical(read(PLAIN, "size.epochs=2/3")))["size"] == {"epochs": "2/3", "num_examples": None, "of": "longest"}
    assert canonical(read(PLAIN)).startswith(b'{"action_words":"text","codec":"rt2","max_bad":"1/50","max_epochs":null,')


# New sources, and the starter


def test_a_new_source_is_one_file_and_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "new_source.py").write_text(
        f"from typing import Literal\nfrom {__name__} import ToySource\nfrom rt2data.read.source import RobotSource\n"
        'class New(ToySource, RobotSource):\n    kind: Literal["new"] = "new"\n    bag: int\n'
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(SOURCES, "new", "new_source:New")
    recipe = read(PLAIN, "robot.two={kind: new, bag: 3, action_space: x}")
    assert recipe.robot["two"].bag == 3 and isinstance(recipe.robot["arm"], ToyLog)  # type: ignore[attr-defined]
    assert from_canonical(canonical(recipe)) == recipe
    # with two kinds to choose from, only the chosen one speaks
    assert mistakes(PLAIN, "robot.two={kind: new, path: 3, action_space: x}") == [
        "--set robot.two={kind: new, path: 3, action_space: x} robot.two.bag: is missing",
        "--set robot.two={kind: new, path: 3, action_space: x} robot.two.path: unknown key",
    ]
    assert mistakes(PLAIN, "robot.two={}") == ["--set robot.two={} robot.two.kind: is missing: 'log' or 'new'"]
    assert recipe_model() is recipe_model()


def test_init_writes_the_starter_once(tmp_path: Path) -> None:
    path = tmp_path / "mixture.yaml"
    init(path)
    assert path.read_text() == starter()
    path.write_text("mine")
    with pytest.raises(UsageError, match=r"already .* -> choose another name, or replace it with --force"):
        init(path)
    assert path.read_text() == "mine"
    init(path, force=True)
    assert path.read_text() == starter()
    with pytest.raises(UsageError, match="no such folder"):
        init(tmp_path / "none" / "mixture.yaml")


def test_mistakes_are_expected_failures() -> None:
    assert issubclass(RecipeError, UsageError) and issubclass(RecipeError, RtError) and RecipeError.code == 2


def test_an_override_of_an_unknown_source_says_which_there_are() -> None:
    assert mistakes(PLAIN, "robot.amr.weight=2") == [
        "--set robot.amr.weight=2 robot.amr: there is no source of this name: the recipe has arm, did you mean 'arm'?"
    ]
    assert set(read(PLAIN, "robot.two.weight=2", "robot.two.kind=log", "robot.two.path=b", "robot.two.action_space=x").robot) == {
        "arm",
        "two",
    }
