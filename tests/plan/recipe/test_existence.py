"""What a recipe names is looked for when it is read: all invalid settings at once, each at its line, and no row is read."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rt2data.look.diff import compare
from rt2data.look.stats.subject import Question, find_subject
from rt2data.plan.recipe import RecipeError, read_recipe
from rt2data.read.rlds.source import RLDS
from rt2data.read.vqav2.source import VQAv2
from tests.bench.generate import write_corpus, write_log
from tests.faults.command import Warm

GOOD = """\
robot_frac: 1/2
split: train
tokenizer: {kind: hf, path: t.json}
robot:
  arm:
    kind: rlds
    path: log/bench_log/1.0.0
    action_space: widowx_bridge
    camera: front
    cameras: {front: observation/image_0}
    action: action
    state: [observation/state]
    instruction: language_instruction
    splits: [train]
web:
  qa:
    kind: vqav2
    questions: web/questions.json
    annotations: web/annotations.json
    image_dirs: [web/images]
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("there")
    write_log(folder / "log", 40 * 1500, 1500)
    write_corpus(folder / "web", 2, 1500)
    (folder / "t.json").write_text("{}")
    return folder


@pytest.fixture
def check(place: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Mistakes of the recipe with some of its text replaced, as they are printed; reading or listing units is an error."""

    def forbidden(*_: Any) -> Any:
        raise AssertionError("nothing may be read")

    for source in (RLDS, VQAv2):
        for name in ("read", "units", "sample_plan", "files"):
            monkeypatch.setattr(source, name, forbidden)

    def mistakes(*changes: tuple[str, str], overrides: tuple[str, ...] = ()) -> list[str]:
        text = GOOD
        for old, new in changes:
            assert old in text
            text = text.replace(old, new, 1)
        path = place / "mixture.yaml"
        path.write_text(text)
        try:
            read_recipe(path, overrides=overrides, check=True)
        except RecipeError as error:
            return [str(each).replace(f"{place}/", "") for each in error.mistakes]
        return []

    return mistakes


def test_what_is_right_is_right(check: Callable[..., list[str]]) -> None:
    assert check() == []


SLIPS: dict[str, tuple[tuple[str, str], str]] = {
    "path": (
        ("log/bench_log/1.0.0", "log/bench-log/1.0.0"),
        "7:11 robot.arm.path: there is no such folder: log/bench-log/1.0.0, did you mean 'log/bench_log/1.0.0'?",
    ),
    "action_space": (
        ("widowx_bridge", "widowx_brigde"),
        "8:19 robot.arm.action_space: no action space is called 'widowx_brigde', did you mean 'widowx_bridge'?",
    ),
    "action space file": (("widowx_bridge", "my.toml"), "8:19 robot.arm.action_space: there is no such file: my.toml"),
    "width": (("widowx_bridge", "language_table"), "8:19 robot.arm.action_space: language_table has 2 numbers, and the action 7"),
    "camera": (
        ("camera: front", "camera: fornt"),
        "9:13 robot.arm.camera: there is no camera 'fornt': there is front, did you mean 'front'?",
    ),
    "cameras": (
        ("observation/image_0", "observation/image_O"),
        "10:22 robot.arm.cameras.front: there is no feature `observation/image_O`, did you mean 'observation/image_0'?",
    ),
    "cameras of the wrong kind": (
        ("observation/image_0", "observation/state"),
        "10:22 robot.arm.cameras.front: the feature does not hold 8-bit images: observation/state: tensor float32[7]",
    ),
    "action": (
        ("action: action", "action: actoin"),
        "11:13 robot.arm.action: there is no feature `actoin`, did you mean 'action'?",
    ),
    "state": (
        ("[observation/state]", "[state]"),
        "12:12 robot.arm.state: there is no feature `state`, did you mean 'observation/state'?",
    ),
    "instruction": (
        ("language_instruction", "language_instructon"),
        "13:18 robot.arm.instruction: there is no feature `language_instructon`, did you mean 'language_instruction'?",
    ),
    "splits": (("[train]", "[trian]"), "14:13 robot.arm.splits: there is no split 'trian': there is train, did you mean 'train'?"),
    "questions": (
        ("questions: web/questions", "questions: web/question"),
        "18:16 web.qa.questions: there is no such file: web/question.json, did you mean 'web/questions.json'?",
    ),
    "annotations": (
        ("annotations: web/annotations", "annotations: wbe/annotations"),
        "19:18 web.qa.annotations: there is no such file: wbe/annotations.json, did you mean 'web/annotations.json'?",
    ),
    "image_dirs": (
        ("[web/images]", "[web/images, web/Image]"),
        "20:30 web.qa.image_dirs[1]: there is no such folder: web/Image, did you mean 'web/images'?",
    ),
    "tokenizer": (("path: t.json", "path: t.jsn"), "3:29 tokenizer.path: there is no such file: t.jsn, did you mean 't.json'?"),
}


@pytest.mark.parametrize("slip", SLIPS)
def test_each_slip_has_its_place_and_its_word(slip: str, check: Callable[..., list[str]]) -> None:
    change, said = SLIPS[slip]
    assert [each.removeprefix("mixture.yaml:") for each in check(change)] == [said]


def test_all_at_once(check: Callable[..., list[str]]) -> None:
    """With what the types say too. Where the path is wrong, features are not known."""
    found = check(
        *(SLIPS[name][0] for name in SLIPS if name not in ("path", "width", "action space file", "cameras of the wrong kind"))
    )
    assert len(found) == len(SLIPS) - 4
    found = check(SLIPS["camera"][0], SLIPS["questions"][0], ("robot_frac: 1/2", "robot_frac: 1/2\nsede: 1"))
    assert [each.split(" ")[1] for each in found] == ["sede:", "robot.arm.camera:", "web.qa.questions:"]


def test_the_split_that_is_drawn(check: Callable[..., list[str]]) -> None:
    said = [f"2:8 split: source {name} has no split 'trian': it has train, did you mean 'train'?" for name in ("arm", "qa")]
    assert [each.removeprefix("mixture.yaml:") for each in check(("split: train", "split: trian"))] == said
    assert check(("split: train", "split: val")) != []
    assert check(("split: train", "split: val"), overrides=("robot.arm.holdout=0.5", "web.qa.holdout=0.5")) == []


def test_an_override_has_its_own_place(check: Callable[..., list[str]]) -> None:
    assert check(overrides=("robot.arm.camera=fornt",))[0].startswith(
        "--set robot.arm.camera=fornt robot.arm.camera: there is no camera"
    )


@pytest.mark.parametrize("off", ["robot.arm.weight=0", "robot_frac=0"])
def test_what_is_not_read_is_not_looked_for(off: str, check: Callable[..., list[str]]) -> None:
    more = ("robot.spare={kind: rlds, path: log, action_space: widowx_bridge}",) if "weight" in off else ()
    assert check(SLIPS["path"][0], overrides=(off, *more)) == []


def test_images_kept_as_text_are_cameras_too(place: Path, check: Callable[..., list[str]], tmp_path: Path) -> None:
    """Where features do not say what an image is, the first record does."""
    shutil.copytree(place / "log", tmp_path / "log")
    features = tmp_path / "log/bench_log/1.0.0/features.json"
    tree = json.loads(features.read_text())
    step = tree["featuresDict"]["features"]["steps"]["sequence"]["feature"]["featuresDict"]["features"]
    step["observation"]["featuresDict"]["features"]["image_0"] = {
        "pythonClassName": "tensorflow_datasets.core.features.text_feature.Text",
        "text": {},
    }
    features.write_text(json.dumps(tree))
    changes = (("log/bench_log", f"{tmp_path}/log/bench_log"), ("    cameras: {front: observation/image_0}\n", ""))
    assert check(*changes, ("camera: front", "camera: image_0")) == []
    assert "there is image_0" in check(*changes)[0]


def test_damage_is_left_to_who_reads(place: Path, check: Callable[..., list[str]], tmp_path: Path) -> None:
    """It has an exit code of its own."""
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "dataset_info.json").write_text("{")
    assert check(("log/bench_log/1.0.0", str(tmp_path / "log"))) == []


def test_it_is_cheap(place: Path, check: Callable[..., list[str]]) -> None:
    check()
    started = time.process_time()
    check()
    assert time.process_time() - started < 0.5


COMMANDS = (
    ("plan",),
    ("build-mixture", "--workers", "0"),
    ("write-rlds", "--workers", "0"),
    ("stats", "slip.yaml", "--workers", "0"),
    ("report", "slip.yaml", "--workers", "0"),
)


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Any:
    server = Warm(tmp_path_factory.mktemp("said"))
    yield server
    server.close()


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[0])
def test_every_command_that_reads_a_recipe(words: tuple[str, ...], place: Path, warm: Warm, tmp_path: Path) -> None:
    text = GOOD.replace("fornt", "front").replace("camera: front", "camera: fornt").replace("web/images", "web/imges")
    for relative in ("t.json", "log", "web/"):
        text = text.replace(f" {relative}", f" {place}/{relative}").replace(f"[{relative}", f"[{place}/{relative}")
    (tmp_path / "slip.yaml").write_text(text + "store: store\n")
    ended = warm(tmp_path, *words, *(() if "slip.yaml" in words else ("slip.yaml",)))
    assert ended.code == 2
    assert "2 mistakes in the recipe" in ended.err and "robot.arm.camera" in ended.err and "web.qa.image_dirs" in ended.err
    assert [path.name for path in tmp_path.iterdir()] == ["slip.yaml"]


def test_recipes_are_compared_without_their_data_and_it_is_told(place: Path, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(GOOD)
    (tmp_path / "b.yaml").write_text(GOOD.replace("split: train", "split: train\nseed: 3"))
    found = compare(tmp_path / "a.yaml", tmp_path / "b.yaml")
    assert [change.path for change in found.settings] == ["seed"]
    assert any("a.yaml:7:11 robot.arm.path: there is no such folder" in note for note in found.notes)


def test_statistics_of_a_recipe(place: Path, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(GOOD)
    with pytest.raises(RecipeError, match="5 mistakes"):
        find_subject(Question(tmp_path / "a.yaml"), tmp_path, lambda recipe: {})
