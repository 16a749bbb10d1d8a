"""The demo on disk: whole or absent, the same bytes each time, in layouts that other tools read."""

from __future__ import annotations

import hashlib
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from rt2data.demo import write
from rt2data.demo.corpora import NAME, Draw, make_episode, make_scene, splits, write_robot_log
from rt2data.demo.draw import render
from rt2data.demo.expert import Episode
from rt2data.demo.write import DemoSummary, write_demo
from rt2data.errors import OutputError, UsageError
from rt2data.plan.recipe.read import read_recipe

pytestmark = pytest.mark.long


def tree(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> DemoSummary:
    return write_demo(tmp_path_factory.mktemp("made") / "demo", episodes=3, scenes=6, seed=7)


@pytest.fixture(scope="module")
def web(made: DemoSummary) -> Path:
    return made.folder / "web/tabletop_vqa"


def test_the_same_arguments_give_the_same_bytes(made: DemoSummary, tmp_path: Path) -> None:
    again = write_demo(tmp_path / "elsewhere", episodes=3, scenes=6, seed=7)
    assert tree(again.folder) == tree(made.folder)
    assert tree(write_demo(tmp_path / "other", episodes=3, scenes=6, seed=8).folder) != tree(made.folder)


def test_the_summary_counts_what_was_written(made: DemoSummary) -> None:
    assert (made.episodes, made.scenes, made.questions) == (3, 6, 18)
    assert made.steps == sum(len(make_episode(7, number)) for number in range(3))
    assert made.bytes == sum(path.stat().st_size for path in made.folder.rglob("*") if path.is_file())
    assert {path.name for path in made.folder.iterdir()} == set(write.PARTS)


def test_recipe_is_valid_and_its_paths_exist(made: DemoSummary) -> None:
    recipe = read_recipe(made.folder / "mixture.yaml")
    assert float(recipe.robot_frac) == 0.5
    assert recipe.seed == 7
    assert recipe.store == str(made.folder / "store")
    for source in recipe.sources.values():
        assert source.files()


def test_vqa_layout(web: Path) -> None:
    questions = json.loads((web / "questions.json").read_text())["questions"]
    annotations = json.loads((web / "annotations.json").read_text())["annotations"]
    assert [set(each) for each in questions] == [{"image_id", "question", "question_id"}] * 18
    fields = {"image_id", "question_id", "question_type", "answer_type", "multiple_choice_answer", "answers"}
    assert [set(each) for each in annotations] == [fields] * 18
    assert [(q["question_id"], q["image_id"]) for q in questions] == [(a["question_id"], a["image_id"]) for a in annotations]
    assert len({q["question_id"] for q in questions}) == 18
    for question, annotation in zip(questions, annotations, strict=True):
        assert [answer["answer_id"] for answer in annotation["answers"]] == list(range(1, 11))
        assert {answer["answer_confidence"] for answer in annotation["answers"]} <= {"yes", "maybe", "no"}
        assert annotation["answer_type"] in ("yes/no", "number", "other")
        assert question["question"].lower().startswith(annotation["question_type"])


def test_the_majority_is_the_true_answer(web: Path) -> None:
    annotations = json.loads((web / "annotations.json").read_text())["annotations"]
    truths = [question.answer for number in range(1, 7) for question in make_scene(7, number)[1]]
    assert [each["multiple_choice_answer"] for each in annotations] == truths
    counts = [sum(answer["answer"] == each["multiple_choice_answer"] for answer in each["answers"]) for each in annotations]
    assert min(counts) >= 7


def test_images_are_found_by_the_last_twelve_digits(web: Path) -> None:
    by_id = {int(re.fullmatch(r".*_(\d{12})", path.stem)[1]): path for path in (web / "images").iterdir()}  # type: ignore[index]
    asked = {each["image_id"] for each in json.loads((web / "questions.json").read_text())["questions"]}
    assert set(by_id) == asked == set(range(1, 7))
    for number, path in by_id.items():
        with Image.open(path) as image:
            assert (image.format, image.size, image.mode) == ("JPEG", (256, 256), "RGB")
            assert np.abs(np.asarray(image).astype(int) - render(make_scene(7, number)[0])).mean() < 3


@pytest.mark.long
@pytest.mark.slow
def test_robot_log_is_read_by_tensorflow_datasets(tmp_path: Path) -> None:
    tfds = pytest.importorskip("tensorflow_datasets")
    folder = tmp_path / NAME / "1.0.0"
    folder.mkdir(parents=True)
    steps = write_robot_log(folder, 4, 7)
    builder = tfds.builder_from_directory(folder)
    assert {name: split.num_examples for name, split in builder.info.splits.items()} == {"train": 3, "val": 1}
    assert builder.info.splits["train"].num_shards == 2
    read = [(n, each) for split, numbers in splits(4).items() for n, each in zip(numbers, builder.as_dataset(split), strict=True)]
    assert sum(_same(list(each["steps"].as_numpy_iterator()), make_episode(7, number)) for number, each in read) == steps
    assert read[-1][1]["episode_metadata"]["file_path"].numpy() == b"tabletop_pick/val/episode_00003"


def _same(steps: list[dict[str, Any]], episode: Episode) -> int:
    np.testing.assert_array_equal([step["action"] for step in steps], episode.actions)
    np.testing.assert_array_equal([step["observation"]["state"] for step in steps], episode.states)
    ends = [False] * (len(episode) - 1) + [True]
    assert [bool(step["is_last"]) for step in steps] == [bool(step["is_terminal"]) for step in steps] == ends
    assert [bool(step["is_first"]) for step in steps] == [True] + [False] * (len(episode) - 1)
    assert [float(step["reward"]) for step in steps] == [float(end) for end in ends]
    assert {float(step["discount"]) for step in steps} == {1.0}
    assert {step["language_instruction"].decode() for step in steps} == {episode.task.instruction}
    assert np.abs(steps[9]["observation"]["image"].astype(int) - render(episode.scenes[9])).mean() < 3
    return len(steps)


def test_splits_keep_a_sixth_for_validation() -> None:
    assert {name: len(numbers) for name, numbers in splits(24).items()} == {"train": 20, "val": 4}
    assert {name: len(numbers) for name, numbers in splits(2).items()} == {"train": 1, "val": 1}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw no images."""
    monkeypatch.setattr(write, "write_robot_log", lambda folder, episodes, seed, draw: (folder / "log").write_text(str(seed)))
    monkeypatch.setattr(write, "write_vqa", lambda folder, scenes, seed, draw: 3 * scenes)


@pytest.mark.usefixtures("quick")
def test_a_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    for force in (False, True):
        with pytest.raises(UsageError, match="holds no demo"):
            write_demo(tmp_path, force=force)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    with pytest.raises(UsageError, match="not a folder"):
        write_demo(tmp_path / "thesis.txt")
    with pytest.raises(UsageError, match="too few"):
        write_demo(tmp_path / "new", episodes=1)


@pytest.mark.usefixtures("quick")
def test_force_replaces_a_demo_and_keeps_other_files(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    folder.mkdir()
    write_demo(folder, seed=1)
    (folder / "notes.txt").write_text("mine")
    (folder / "robot" / "stale").write_text("old")
    with pytest.raises(UsageError, match="--force"):
        write_demo(folder, seed=2)
    write_demo(folder, seed=2, force=True)
    assert (folder / "robot/tabletop_pick/1.0.0/log").read_text() == "2"
    assert (folder / "notes.txt").read_text() == "mine"
    assert not (folder / "robot" / "stale").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]


@pytest.mark.usefixtures("quick")
def test_a_failure_leaves_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(folder: Path, scenes: int, seed: int, draw: Draw) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(write, "write_vqa", full)
    with pytest.raises(OutputError, match="No space left"):
        write_demo(tmp_path / "demo")
    assert list(tmp_path.iterdir()) == []


def test_images_are_jpeg(made: DemoSummary) -> None:
    first = next((made.folder / "web/tabletop_vqa/images").iterdir()).read_bytes()
    assert Image.open(io.BytesIO(first)).size == (256, 256)
