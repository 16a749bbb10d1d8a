"""Annotations in every layout find their steps in a real log, and what does not fit is counted and never settled silently."""

from __future__ import annotations

import csv
import dataclasses
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rt2data.errors import DataError, UsageError
from rt2data.read.annotations.index import index_of, write_index
from rt2data.read.annotations.join import joined as joined_to
from rt2data.read.annotations.settings import ECoT, Pool, StepTable
from rt2data.read.lerobot.source import LeRobot
from rt2data.records import Fact, Note, Step
from tests.read.annotations.bridge import Episodes, bridge, ecot, episodes, read, thought, write


@pytest.fixture(scope="module")
def known(shared_data: Path) -> Episodes:
    return episodes(shared_data)


def steps_of(found: list[Any]) -> list[Step]:
    return [each for each in found if isinstance(each, Step)]


def facts_of(found: list[Any]) -> dict[str, int]:
    counted = Counter[str]()
    for each in found:
        if isinstance(each, Fact) and each.name.startswith(("annotations", "instructions")):
            counted[each.name] += each.count
    return dict(counted)


@pytest.fixture
def joined(shared_data: Path, tmp_path: Path) -> Callable[..., tuple[list[Step], dict[str, int]]]:
    """Steps and facts with a tree of ECoT's layout joined to the sample."""

    def join(tree: Any, **settings: Any) -> tuple[list[Step], dict[str, int]]:
        annotations = {"kind": "ecot", "path": write(tmp_path / "ecot.json", tree)} | settings
        found = read(bridge(shared_data, annotations=annotations))
        return steps_of(found), facts_of(found)

    return join


def test_the_log_says_file_and_number(known: Episodes) -> None:
    assert len(known) == 13
    assert all(file.endswith("/out.npy") and number.isdigit() for file, number in known)


def test_ecot_gives_every_step_its_notes_in_order(joined: Callable[..., Any], known: Episodes) -> None:
    steps, facts = joined(ecot(known))
    assert facts == {"annotations.episodes.known": 13}
    assert len(steps) == 130
    for step in steps:
        names = ["task", "plan", "bboxes", "subtask_reason", "subtask", "move_reason", "move", "gripper"]
        assert [note.name for note in step.notes] == names
        texts = {note.name: note.text for note in step.notes}
        assert thought(step).items() <= texts.items()
        assert texts["bboxes"] == "a cup [1, 2, 3, 4], a pot [5, 6, 7, 8]"
        ahead = [value for at in range(step.step, step.step + 5) for value in (min(at, 9), 2 * min(at, 9))]
        assert json.loads(texts["gripper"]) == ahead


def test_a_step_without_annotations_stays_without_notes(joined: Callable[..., Any], known: Episodes) -> None:
    tree = ecot(known)
    (file, number), *_ = known
    del tree[file][number]["reasoning"]["4"]
    tree[file][number]["reasoning"]["77"] = {"task": "nothing"}
    steps, facts = joined(tree)
    assert [(step.origin, step.step) for step in steps if not step.notes] == [(file, 4)]
    assert facts == {"annotations.episodes.known": 13, "annotations.left.steps": 1}


def test_an_episode_that_is_not_annotated_is_named(joined: Callable[..., Any], known: Episodes) -> None:
    tree = ecot(known)
    (file, number), *_ = known
    del tree[file][number]
    steps, facts = joined(tree)
    assert sum(not step.notes for step in steps) == 10
    assert facts["annotations.episodes.unknown"] == 1
    assert f"annotations.episodes.unlike.{file} episode {number}" in facts


def test_a_number_is_never_guessed(joined: Callable[..., Any], known: Episodes) -> None:
    """The file has annotations, but of another episode than the log's."""
    tree = {file: {"999": next(iter(inner.values()))} for file, inner in ecot(known).items()}
    steps, facts = joined(tree)
    assert not any(step.notes for step in steps)
    assert facts["annotations.episodes.unknown"] == 13


def test_moved_logs_match_by_the_end_of_their_path_if_the_recipe_says_so(joined: Callable[..., Any], known: Episodes) -> None:
    moved = {f"/data/raw/{'/'.join(file.split('/')[-4:])}": inner for file, inner in ecot(known).items()}
    _, facts = joined(moved)
    assert facts["annotations.episodes.unknown"] == 13
    steps, facts = joined(moved, path_parts=4)
    assert facts == {"annotations.episodes.known": 13} and all(step.notes for step in steps)


def test_two_candidates_are_never_settled(joined: Callable[..., Any], known: Episodes) -> None:
    tree = ecot(known)
    both = {f"/{side}/{'/'.join(file.split('/')[-4:])}": inner for side in "ab" for file, inner in tree.items()}
    steps, facts = joined(both, path_parts=4)
    assert facts == {"annotations.episodes.ambiguous": 13} and not any(step.notes for step in steps)


def test_first_step(joined: Callable[..., Any], known: Episodes) -> None:
    tree = ecot(known)
    for inner in tree.values():
        for episode in inner.values():
            episode["reasoning"] = {str(int(step) + 1): said for step, said in episode["reasoning"].items()}
    steps, facts = joined(tree, first_step=1)
    assert [_texts(step)["subtask"] for step in steps] == [f"Reach it, {step.step}" for step in steps]
    assert facts == {"annotations.episodes.known": 13}


def _texts(step: Step) -> dict[str, str]:
    return {note.name: note.text for note in step.notes}


def test_other_lengths_and_contents_are_counted(joined: Callable[..., Any], known: Episodes) -> None:
    tree = ecot(known)
    (one, first), (other, second), (third, last), *_ = known
    tree[one][first]["metadata"]["n_steps"] = 11
    tree[other][second]["reasoning"] = [1, 2]
    del tree[third][last]["reasoning"]
    _, facts = joined(tree)
    assert facts == {
        "annotations.episodes.known": 13,
        "annotations.episodes.other_length": 1,
        "annotations.episodes.unusable": 1,
    }


@pytest.mark.parametrize("cut", [1, 200, 5000])
def test_damaged_json_is_named(joined: Callable[..., Any], shared_data: Path, tmp_path: Path, known: Episodes, cut: int) -> None:
    path = tmp_path / "cut.json"
    path.write_text(json.dumps(ecot(known))[:-cut])
    with pytest.raises(DataError, match="the file is cut") as raised:
        read(bridge(shared_data, annotations={"kind": "ecot", "path": str(path)}))
    assert str(path) in raised.value.where


@pytest.mark.parametrize(
    ("sound", "damaged", "message"),
    [('"n_steps": 10', '"n_steps": 1O', "not valid JSON"), ('"2": {', '"1": {', "the key '1' is given twice")],
)
def test_damage_inside_an_episode_is_named(
    shared_data: Path, tmp_path: Path, known: Episodes, sound: str, damaged: str, message: str
) -> None:
    path = tmp_path / "broken.json"
    path.write_text(json.dumps(ecot(known)).replace(sound, damaged, 1))
    with pytest.raises(DataError, match=message):
        read(bridge(shared_data, annotations={"kind": "ecot", "path": str(path)}))


# Tables


def rows(known: Episodes) -> list[dict[str, Any]]:
    return [
        {"file": file, "episode": int(number), "step": step.step, "subtask": f"go on, {step.step}", "plan": 'reach,\n"grasp"'}
        for (file, number), steps in known.items()
        for step in steps
    ]


def write_table(path: Path, rows: list[dict[str, Any]]) -> str:
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=7)
    else:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)
    return str(path)


@pytest.mark.parametrize("ending", ["jsonl", "csv", "tsv", "parquet"])
@pytest.mark.parametrize("shuffled", [False, True])
def test_tables_give_the_same_notes(shared_data: Path, tmp_path: Path, known: Episodes, ending: str, shuffled: bool) -> None:
    written = rows(known)
    if shuffled:
        written = written[::3] + written[1::3] + written[2::3]
    path = write_table(tmp_path / f"steps.{ending}", written)
    found = read(bridge(shared_data, annotations={"kind": "steps", "path": path, "file": "file"}))
    for step in steps_of(found):
        assert step.notes == (Note("subtask", f"go on, {step.step}"), Note("plan", 'reach, "grasp"'))
    assert facts_of(found) == {"annotations.episodes.known": 13}


def test_stretches_and_names_of_rt2data(shared_data: Path, tmp_path: Path, known: Episodes) -> None:
    """Rows from start to stop; a plan of the whole episode beside them; two texts for one step are not settled."""
    written: list[dict[str, Any]] = []
    for steps in known.values():
        name = steps[0].episode
        written.append({"episode": name, "start": 0, "stop": 10, "plan": "reach, then grasp"})
        written.append({"episode": name, "start": 0, "stop": 6, "subtask": "reach"})
        written.append({"episode": name, "start": 5, "stop": 10, "subtask": "grasp"})
    path = write_table(tmp_path / "stretches.jsonl", written)
    found = read(bridge(shared_data, annotations={"kind": "steps", "path": path}))
    for step in steps_of(found):
        said = ["reach"] if step.step < 5 else [] if step.step == 5 else ["grasp"]
        assert [note.text for note in step.notes] == ["reach, then grasp", *said]
    assert facts_of(found) == {"annotations.episodes.known": 13, "annotations.disputed": 13}


def test_chosen_columns_come_in_their_order(shared_data: Path, tmp_path: Path, known: Episodes) -> None:
    path = write_table(tmp_path / "steps.csv", rows(known))
    settings = {"kind": "steps", "path": path, "file": "file", "notes": ["plan", "subtask"]}
    found = steps_of(read(bridge(shared_data, annotations=settings | {"notes": tuple(settings["notes"])})))
    assert {tuple(note.name for note in step.notes) for step in found} == {("plan", "subtask")}
    with pytest.raises(DataError, match="no column `thought`"):
        read(bridge(shared_data, annotations=settings | {"notes": ("thought",)}))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"episode": 1, "step": 1}\n{"episode":', "annotations cannot be read"),
        ("a.jsonl", b'{"episode": 1, "plan": "x"}\n', "has no number"),
        ("a.jsonl", b'{"step": 1}\n', "has no `episode`"),
        ("a.jsonl", b'{"episode": 1, "step": 1, "plan": "x", "plan": "y"}\n', "the key 'plan' is given twice"),
        ("a.csv", b'episode,step,plan\n1,2,"open\n', "a quote is not closed"),
        ("a.csv", b"episode,step,plan\n1,2\n", "a row of 2 values"),
        ("a.csv", b"episode,episode\n1,2\n", "name each column once"),
        ("a.parquet", b"PAR1", "annotations cannot be read"),
    ],
)
def test_damaged_tables_are_named(
    shared_data: Path, tmp_path: Path, known: Episodes, name: str, content: bytes, message: str
) -> None:
    path = tmp_path / name
    first = next(iter(known.values()))[0].episode.encode()
    path.write_bytes(content.replace(b'"episode": 1', b'"episode": "' + first + b'"'))
    with pytest.raises(DataError, match=message) as raised:
        read(bridge(shared_data, annotations={"kind": "steps", "path": str(path)}))
    assert str(path) in raised.value.where


def test_a_folder_is_all_its_files(shared_data: Path, tmp_path: Path, known: Episodes) -> None:
    tree = ecot(known)
    folder = tmp_path / "parts"
    folder.mkdir()
    for number, (file, inner) in enumerate(tree.items()):
        write(folder / f"part-{number:02d}.json", {file: inner})
    (folder / "README.txt").write_text("not one of them")
    source = bridge(shared_data, annotations={"kind": "ecot", "path": str(folder)})
    assert all(step.notes for step in steps_of(read(source)))
    assert sum(path.startswith(str(folder)) for path in source.depends_on()) == len(tree)


def test_paths_that_are_not_there_are_mistakes_of_the_recipe(shared_data: Path, tmp_path: Path) -> None:
    source = bridge(shared_data, annotations={"kind": "ecot", "path": str(tmp_path / "no.json")})
    assert [(each.setting, each.message[:15]) for each in source.invalid_settings()] == [
        (("annotations", "path"), "cannot be read:")
    ]
    other = bridge(shared_data, instructions={"path": str(tmp_path / "pool.txt")})
    assert "ends in .json" in next(iter(other.invalid_settings())).message
    with pytest.raises(UsageError):
        other.depends_on()


def test_the_index_of_all_units_is_that_of_one(shared_data: Path, tmp_path: Path, known: Episodes) -> None:
    source = bridge(shared_data, annotations={"kind": "ecot", "path": write(tmp_path / "ecot.json", ecot(known))})
    assert source.annotations is not None
    write_index(source.annotations, tmp_path / "shared", "annotations")
    one, other = (index_of(source.annotations, folder, "annotations") for folder in (str(tmp_path / "shared"), ""))
    assert one.episodes == other.episodes == 13
    assert all((getattr(one, name) == getattr(other, name)).all() for name in ("exact", "whole", "first", "file", "start", "stop"))


# Pools


@pytest.mark.parametrize("own", ["leave", "add"])
def test_pools_by_text_and_by_episode(shared_data: Path, tmp_path: Path, known: Episodes, own: str) -> None:
    by_text = {steps[0].instruction: ["do it", "go on", "do it", " "] for steps in known.values()}
    by_name = {steps[0].episode: ["do it", "go on"] for steps in known.values()}
    for by, pool in (("text", by_text), ("episode", by_name)):
        settings = {"path": write(tmp_path / f"{by}.json", pool), "by": by, "own": own}
        found = read(bridge(shared_data, instructions=settings))
        for step in steps_of(found):
            assert step.pool == (*([step.instruction] if own == "add" else []), "do it", "go on")
        assert facts_of(found)["instructions.episodes.known"] == 13


def test_a_pool_that_is_no_list_is_counted(shared_data: Path, tmp_path: Path, known: Episodes) -> None:
    pool = {steps[0].instruction: {"a": 1} for steps in known.values()}
    found = read(bridge(shared_data, instructions={"path": write(tmp_path / "pool.json", pool)}))
    assert not any(step.pool for step in steps_of(found))
    assert facts_of(found)["instructions.episodes.unusable"] == 13


def test_texts_that_are_too_long_are_left_out(shared_data: Path, tmp_path: Path, known: Episodes) -> None:
    tree = ecot(known)
    (file, number), *_ = known
    tree[file][number]["reasoning"]["4"]["plan"] = "x" * 301
    pool = {steps[0].instruction: ["do it", "y" * 301] for steps in known.values()}
    settings = {"annotations": {"kind": "ecot", "path": write(tmp_path / "ecot.json", tree)}, "max_text_bytes": 300}
    found = read(bridge(shared_data, **settings, instructions={"path": write(tmp_path / "pool.json", pool)}))
    assert {step.pool for step in steps_of(found)} == {("do it",)}
    (step,) = (step for step in steps_of(found) if step.origin == file and step.number == number and step.step == 4)
    assert "plan" not in _texts(step) and "task" in _texts(step)
    assert facts_of(found)["annotations.too_long"] == 1 and facts_of(found)["instructions.too_long"] == 13


def test_lerobot_numbers_its_episodes(shared_data: Path) -> None:
    """Its own data files are a table: columns of every frame, in folders below."""
    pytest.importorskip("av")
    path = str(shared_data / "lerobot_v21_g1")
    columns = {"episode": "episode_index", "step": "frame_index", "notes": ("task_index", "index")}
    source = LeRobot.model_validate(
        {"path": path, "action_space": "generic_nd", "annotations": {"kind": "steps", "path": f"{path}/data"} | columns}
    )
    found = read(source)
    assert facts_of(found) == {"annotations.episodes.known": 2}
    assert [_texts(step)["index"] for step in steps_of(found)] == [str(number) for number in range(498)]


def test_names_that_fit_two_annotated_episodes_are_not_settled(tmp_path: Path) -> None:
    """One is called by the log's number, the other by our name."""
    path = write_table(
        tmp_path / "a.jsonl", [{"episode": name, "step": 0, "plan": name} for name in ("12", "episode-000012", "13")]
    )
    step = Step("episode-000012", 0, 1, "train", "go", np.zeros(1, np.float32), ())
    other = dataclasses.replace(step, episode="episode-000013")
    found = list(joined_to([step, other], StepTable(path=path), None, 1000))
    assert [each.notes for each in steps_of(found)] == [(), (Note("plan", "13"),)]
    assert facts_of(found) == {"annotations.episodes.ambiguous": 1, "annotations.episodes.known": 1}


def test_one_annotated_episode_is_not_that_of_two(tmp_path: Path) -> None:
    path = write_table(tmp_path / "a.jsonl", [{"episode": "demo.hdf5", "step": 0, "plan": "x"}])
    steps = [Step(f"e-{n}", 0, 1, "train", "go", np.zeros(1, np.float32), (), origin="demo.hdf5") for n in range(3)]
    found = list(joined_to(steps, StepTable(path=path), None, 1000))
    assert [len(each.notes) for each in steps_of(found)] == [1, 0, 0]
    assert facts_of(found)["annotations.episodes.shared"] == 2


def test_instructions_with_slashes_are_no_paths(tmp_path: Path) -> None:
    pool = Pool(path=write(tmp_path / "pool.json", {"pick/place it": ["a"], "put/place it": ["b"]}), path_parts=1)
    step = Step("e", 0, 1, "train", "pick/place it", np.zeros(1, np.float32), ())
    assert [each.pool for each in steps_of(list(joined_to([step], None, pool, 1000)))] == [("a",)]


@pytest.mark.parametrize(("name", "content"), [("a.json", "{}"), ("a.jsonl", ""), ("a.csv", "episode,step,plan\n")])
def test_empty_files_annotate_nothing(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    empty = (ECoT if name.endswith(".json") else StepTable)(path=str(tmp_path / name))
    step = Step("e", 0, 1, "train", "go", np.zeros(1, np.float32), ())
    found = list(joined_to([step], empty, None, 1000))
    assert [each.notes for each in steps_of(found)] == [()]
    assert facts_of(found) == {"annotations.episodes.unknown": 1, "annotations.episodes.unlike.e": 1}
