"""What is at a path is recognized, described, drawn and suggested; an unknown path says what was looked for."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rt2data.build import Site, build_plainly
from rt2data.cli.inspect import inspect, show
from rt2data.cli.verify import show as show_findings
from rt2data.errors import DataError, UsageError
from rt2data.look.inspect import KINDS, recognize
from rt2data.look.inspect.raw import recipe_name
from rt2data.look.inspect.spaces import shares_a_word
from rt2data.look.verify import Fault, Findings
from rt2data.plan.recipe import Recipe, parse_recipe
from rt2data.read.source import SOURCES
from rt2data.read.vqav2.recognize import Files, choose_pair

Recipes = Callable[..., Recipe]

HOSTILE = (
    "<script>alert(1)</script>",
    "=HYPERLINK('x')",
    "[/]",
    "[bold red]x[/bold red]",
    "\x1b[2J\x1b[H",
    "\x1b]0;title\x07",
    "\x9b2J",
    "{{7*7}}",
    "a\u202eb",
    "\u2066x\u2069",
    "line\nbreak",
    "carriage\rreturn",
    "nul\x00",
    "tab\tbell\x07",
)


def suggested(path: Path, side: str) -> Recipe:
    """The recipe of a suggestion: it must be one as it is pasted."""
    share = {"robot": 1, "web": 0}[side]
    return parse_recipe(f"robot_frac: {share}\n{recognize(path).suggestion()}", "pasted", Path("/"))


def is_inert(printed: str) -> bool:
    return all(c.isprintable() or c == "\n" for c in printed)


# Real datasets


@pytest.mark.parametrize("below", ["", "bridge_dataset", "bridge_dataset/1.0.0", "bridge_dataset/1.0.0/dataset_info.json"])
def test_bridge_is_recognized_from_above_and_within(shared_data: Path, below: str) -> None:
    seen = recognize(shared_data / "rlds_bridge" / below)
    facts = seen.facts()
    assert seen.kind == "rlds"
    assert {name: split["episodes"] for name, split in facts["splits"].items()} == {"train": 10, "val": 3}
    assert facts["first_episode"]["instruction"] == "put cup from counter or drying rack into sink"
    assert set(facts["guesses"]["cameras"]) == {"image_0", "image_1", "image_2", "image_3"}


def test_bridge_suggestion(shared_data: Path) -> None:
    recipe = suggested(shared_data / "rlds_bridge", "robot")
    source = recipe.robot["bridge_dataset"]
    assert (source.action_space, source.camera) == ("widowx_bridge", "image_0")
    assert [rule.rule for rule in source.conversions] == ["binarize", "delta_from_state"]
    assert len(source.units()) == 2
    assert "# check this: also image_1, image_2, image_3" in recognize(shared_data / "rlds_bridge").suggestion()


def test_bridge_images_are_first_middle_last_of_each_camera(shared_data: Path) -> None:
    tiles = recognize(shared_data / "rlds_bridge").tiles(12)
    notes = [f"{camera} step {step} of 10" for camera in ("image_0", "image_1", "image_2", "image_3") for step in (0, 5, 9)]
    assert [tile.note for tile in tiles] == notes
    assert len({bytes(tile.image) for tile in tiles[:9]}) == 9


def test_quadrotor(shared_data: Path) -> None:
    folder = shared_data / "sim_quadrotor_rlds"
    seen = recognize(folder)
    assert seen.facts()["first_episode"]["action"] == 4
    assert suggested(folder, "robot").robot["sim_pyflyt_quad"].action_space == "generic_nd"
    assert "also of 4 numbers: metaworld" in seen.suggestion()
    assert len(seen.tiles(6)) == 6


@pytest.mark.parametrize(
    "below",
    [
        "",
        "annotations",
        "annotations/v2_OpenEnded_mscoco_trainval2014_questions.json",
        "annotations/v2_mscoco_trainval2014_annotations.json",
    ],
)
def test_coco_is_recognized_by_folder_and_by_file(shared_data: Path, below: str) -> None:
    seen = recognize(shared_data / "coco_web" / below)
    facts = seen.facts()
    assert seen.kind == "vqav2"
    assert (facts["questions"], facts["annotations"]) == (13, 13)
    assert facts["images"] == {"found": 23, "needed": 12, "missing": 0}
    assert facts["first"]["answers"][0] == "can't tell"
    (source,) = suggested(shared_data / "coco_web" / below, "web").web.values()
    assert len(source.files()) == 25


def test_coco_images_come_with_question_and_counted_answers(shared_data: Path) -> None:
    tiles = recognize(shared_data / "coco_web").tiles(24)
    assert len(tiles) == 12
    assert tiles[0].prompt == "What time does the clock say?"
    assert tiles[0].target.startswith("11:43 x2, can't tell, noon")
    assert len({tile.note for tile in tiles}) == 12


def test_questions_far_from_their_images(shared_data: Path) -> None:
    assert recognize(shared_data / "vqa_allennlp").facts()["images"]["missing"] == 0


def test_several_datasets_below_are_named(shared_data: Path) -> None:
    with pytest.raises(UsageError, match=r"rlds_bridge/bridge_dataset/1\.0\.0, .*sim_pyflyt_quad.*name one of them"):
        recognize(shared_data)


def test_a_dataset_without_its_shards_is_still_described(shared_data: Path, tmp_path: Path) -> None:
    for name in ("dataset_info.json", "features.json"):
        shutil.copy(shared_data / "rlds_bridge" / "bridge_dataset" / "1.0.0" / name, tmp_path / name)
    seen = recognize(tmp_path)
    facts = seen.facts()
    assert facts["splits"]["train"]["missing_shards"] == 1
    assert "a shard is missing" in facts["first_episode"]["problem"]
    assert suggested(tmp_path, "robot").robot["bridge_dataset"].action_space == "widowx_bridge"  # its features are enough
    with pytest.raises(DataError, match="a shard is missing"):
        seen.tiles(3)


def test_an_action_in_parts_is_suggested_in_parts(shared_data: Path, tmp_path: Path) -> None:
    origin = shared_data / "rlds_bridge" / "bridge_dataset" / "1.0.0"
    shutil.copy(origin / "dataset_info.json", tmp_path)
    features = json.loads((origin / "features.json").read_text())
    steps = features["featuresDict"]["features"]["steps"]["sequence"]["feature"]["featuresDict"]["features"]
    tensor = steps.pop("action")
    parts = dict.fromkeys(("world_vector", "rotation_delta"), tensor)
    steps["action"] = {"pythonClassName": steps["observation"]["pythonClassName"], "featuresDict": {"features": parts}}
    (tmp_path / "features.json").write_text(json.dumps(features))
    action = suggested(tmp_path, "robot").model_dump()["robot"]["bridge_dataset"]["action"]
    assert sorted(action) == ["action/rotation_delta", "action/world_vector"]


# Our own


def test_a_mixture(toy_recipe: Recipes, tmp_path: Path) -> None:
    built = build_plainly(toy_recipe(), Site(tmp_path / "out"))
    for path in (tmp_path / "out", tmp_path / "out" / "manifest.json"):
        seen = recognize(path)
        facts = json.loads(json.dumps(seen.facts()))
        assert seen.kind == "mixture"
        assert facts["examples"] == built.examples
        assert facts["sources"]["arm"]["share"] == 0.5
    tiles = seen.tiles(8)
    assert [tile.source for tile in tiles] == ["arm", "qa"] * 4
    assert len({(tile.source, tile.note, tile.prompt) for tile in tiles}) == 8
    assert tiles[0].prompt.startswith("Q: what action should the robot take to lift block")
    with pytest.raises(UsageError, match="not a source"):
        seen.suggestion()


def test_a_damaged_mixture(toy_recipe: Recipes, tmp_path: Path) -> None:
    build_plainly(toy_recipe(), Site(tmp_path / "out"))
    (tmp_path / "out" / "manifest.json").write_text("{}")
    with pytest.raises(DataError, match="damaged manifest"):
        recognize(tmp_path / "out").facts()


def test_a_store_and_a_recipe(toy_recipe: Recipes, tmp_path: Path) -> None:
    build_plainly(toy_recipe(), Site(tmp_path / "out"))
    (folder,) = (tmp_path / "store").glob("arm-*")
    store = recognize(folder)
    assert (store.kind, store.facts()["splits"]["train"]["rows"], store.facts()["changed_files"]) == ("store", 48, [])
    assert len(store.tiles(5)) == 5
    recipe = recognize(tmp_path / "mixture.yaml")
    assert recipe.kind == "recipe"
    assert recipe.facts()["sources"]["arm"] == {"side": "robot", "kind": "toy_robot", "weight": "1", "files": 6, "problem": ""}
    with pytest.raises(UsageError, match="no images"):
        recipe.tiles(4)
    shutil.rmtree(tmp_path / "web")
    assert recipe.facts()["sources"]["qa"]["files"] == 0


# Nothing known


def test_an_unknown_path_says_what_was_looked_for(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "other.json").write_text('{"annotations": []}')
    with pytest.raises(UsageError) as caught:
        recognize(tmp_path)
    assert all(name in caught.value.do for name in (*KINDS, *SOURCES))
    with pytest.raises(UsageError, match="nothing is there"):
        recognize(tmp_path / "nowhere")
    for name, words in (("notes.txt", "nothing known"), ("other.json", "a JSON file: an object with the keys annotations")):
        with pytest.raises(UsageError, match=words):
            recognize(tmp_path / name)


def test_questions_without_answers_or_images(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "coco_web" / "annotations"
    (tmp_path / "a" / "b").mkdir(parents=True)
    questions = Path(shutil.copy(folder / "v2_OpenEnded_mscoco_trainval2014_questions.json", tmp_path / "a" / "b"))
    with pytest.raises(UsageError, match="questions, but no annotations"):
        recognize(questions)
    shutil.copy(folder / "v2_mscoco_trainval2014_annotations.json", tmp_path / "a" / "b")
    with pytest.raises(UsageError, match="but no images"):
        recognize(questions)


def test_pairs_are_made_by_name() -> None:
    questions = [Path(f"/a/v2_OpenEnded_mscoco_{split}2014_questions.json") for split in ("train", "val")]
    annotations = [Path(f"/a/v2_mscoco_{split}2014_annotations.json") for split in ("train", "val")]
    found = Files(questions, annotations, [])
    assert choose_pair(Path("/a"), found) == (questions[0], annotations[0])
    assert choose_pair(questions[1], found) == (questions[1], annotations[1])
    assert choose_pair(annotations[1], found) == (questions[1], annotations[1])


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("bridge_dataset", "bridge_dataset"),
        ("My Robot!", "my_robot"),
        ("2017", "source_2017"),
        ("longest", "longest_set"),
        ("", "source"),
        ("x" * 90, "x" * 64),
        ("nyu_franka_play_dataset_converted_externally_to_rlds",) * 2,
        ("../..", "source"),
    ],
)
def test_names_that_a_recipe_takes(text: str, name: str) -> None:
    assert recipe_name(text) == name


def test_a_robot_is_guessed_by_a_word_it_shares() -> None:
    assert shares_a_word("widowx_bridge", "bridge_dataset")
    assert shares_a_word("language_table", "language_table_sim")
    assert not shares_a_word("google_robot", "my_robot_dataset")
    assert not shares_a_word("metaworld", "sim_pyflyt_quad")


# On a terminal


def test_the_command_prints_draws_and_suggests(shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    coco, png = shared_data / "coco_web", tmp_path / "sheet.png"
    inspect(coco, png, 6, suggest=False, as_json=False)
    printed = capsys.readouterr()
    assert "What time does the clock say?" in printed.out
    assert "6 images in" in printed.err
    assert png.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(UsageError, match="no such folder"):
        inspect(coco, tmp_path / "nowhere" / "sheet.png", 6, suggest=False, as_json=False)
    inspect(coco, None, 6, suggest=True, as_json=False)
    assert capsys.readouterr().out == recognize(coco).suggestion()
    inspect(coco, None, 6, suggest=True, as_json=True)
    printed_json = json.loads(capsys.readouterr().out)
    assert printed_json["facts"]["questions"] == 13
    assert printed_json["suggestion"].startswith("web:\n  coco_web:\n")


@pytest.mark.parametrize("hostile", HOSTILE)
def test_facts_are_inert(hostile: str, capsys: pytest.CaptureFixture[str]) -> None:
    facts: dict[str, Any] = {
        hostile: hostile,
        "list": [hostile] * 40,
        "short": [hostile],
        "table": {hostile: {"a": hostile, "n": 1}},
        "rows": [{"a": hostile, "n": 2}],
        "deep": {"deeper": {hostile: hostile}, "n": 3},
        "nothing": None,
    }
    show(facts)
    printed = capsys.readouterr().out
    assert is_inert(printed)
    if hostile.isprintable():
        assert printed.count(hostile) >= 45


@pytest.mark.parametrize("hostile", HOSTILE)
def test_findings_are_inert(hostile: str, capsys: pytest.CaptureFixture[str]) -> None:
    fault = Fault("shard-000000.tar", f"example 1, key {hostile}", f"its target {hostile} is wrong")
    found = Findings("out", (fault,) * 60, (hostile,), 1, 2, 3, {}, {}, 0.0, (0.0, 0.0))
    show_findings(found)
    printed = capsys.readouterr()
    assert is_inert(printed.out) and is_inert(printed.err)
    assert printed.out.count("shard-000000.tar") == 50
    assert "and 10 more faults" in printed.out
    assert len(printed.out.splitlines()) == 51
    show_findings(replace(found, faults=()))
    assert "faults" not in capsys.readouterr().err
    show_findings(replace(found, faults=(fault,)))
    assert "1 fault in out" in capsys.readouterr().err
