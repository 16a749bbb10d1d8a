"""What filters name by file, which episodes a limit keeps, and what is said where a recipe names something that is not there."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rt2data.errors import UsageError
from rt2data.io.tfrecord.features import Leaf
from rt2data.plan.recipe import RecipeError, parse_recipe
from rt2data.read.filters import Filters, Idle, limit_by_hash, read_names, read_ranges
from rt2data.read.log import Column, LogLayout, LogSource, Usual
from rt2data.read.recorded import Episode, Recorded
from rt2data.read.rlds.source import RLDS
from rt2data.records import SourceRecord, Step, Unit
from tests.read.reading import steps
from tests.read.test_rlds import LEAVES, Make, episode, make  # noqa: F401 (a fixture)
from tests.tfds_writing import write_dataset

# Settings


def test_new_settings_are_written_only_where_they_are_set() -> None:
    assert set(Filters().model_dump()) == {"min_steps", "max_steps", "instruction", "success", "drop_first", "drop_last", "noop"}
    assert Filters(idle=Idle()).model_dump()["idle"] == {"below": 0.001, "min_idle": 7, "min_non_idle": 16, "drop_last": 10}


def test_a_recipe_without_them_is_written_as_before(make: Make) -> None:  # noqa: F811
    written = make().model_dump()
    assert not {"max_dropped", "empty_tasks"} & {*written} and not {"path", "idle"} & {*written["filters"]}
    assert make().prepare_settings().keys() == written.keys() - RLDS.mix_only


# Files


@pytest.mark.parametrize("content", ["a\n\n  b c \n", '["a", "b c"]', ' \n["b c", "a", "a"]', "\ufeffb c\r\na"])
def test_a_list_has_one_name_a_line_or_is_json(tmp_path: Path, content: str) -> None:
    path = tmp_path / "list"
    path.write_bytes(content.encode())
    assert read_names(str(path)) == {"a", "b c"}


def test_a_file_that_changed_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_text("a")
    assert read_names(str(path)) == {"a"}
    path.write_text("b and more")
    assert read_names(str(path)) == {"b and more"}


@given(st.dictionaries(st.text(min_size=1), st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99))), min_size=1))
def test_ranges_are_what_is_written(tmp_path_factory: pytest.TempPathFactory, ranges: dict[str, list[tuple[int, int]]]) -> None:
    path = tmp_path_factory.mktemp("ranges") / "ranges.json"
    path.write_text(json.dumps(ranges))
    assert {name: [*found] for name, found in read_ranges(str(path)).items()} == ranges


RECIPE = "robot_frac: 1\nrobot: {{arm: {{kind: rlds, path: {path}, action_space: widowx_bridge, filters: {{{filters}}}}}}}\n"
REFUSED = {
    "keep_ranges: /0/0": "keep_ranges: there is no such file: /0/0",
    "episodes: ranges.jsn": "episodes: there is no such file: {folder}/ranges.jsn, did you mean '{folder}/ranges.json'?",
    "keep_ranges: list": 'keep_ranges: is not {{"EPISODE": [[start, stop], ...]}}: JSON is malformed: invalid character'
    " (byte 0): {folder}/list",
    "keep_ranges: below.json": "keep_ranges: has a range that starts before step 0, of a: {folder}/below.json",
    "keep_ranges: none.json": "keep_ranges: has no ranges: {folder}/none.json",
    "exclude_episodes: numbers": "exclude_episodes: is not a JSON list of names: Expected `str`, got `int` - at `$[0]`:"
    " {folder}/numbers",
    "episodes: blank": "episodes: lists no episodes: {folder}/blank",
    "episodes: latin": "episodes: is not a list of names: it is not UTF-8: {folder}/latin",
    "episodes: []": "episodes: must be a list of 1 or more or text, got an empty list",
    "path: '('": "path: must be a regular expression: missing ), unterminated subpattern at position 0",
    "limit: 0": "limit: must be at least 1, got 0",
    "idle: {below: 0}": "idle.below: must be above 0.0, got 0",
}


@pytest.mark.parametrize("filters", REFUSED)
def test_what_cannot_be_is_said_when_a_recipe_is_read(make: Make, tmp_path: Path, filters: str) -> None:  # noqa: F811
    for name, content in {
        "list": b"a",
        "below.json": b'{"a": [[-1, 3]]}',
        "none.json": b"{}",
        "numbers": b"[1]",
        "blank": b"\n",
        "latin": b"\xe9",
        "ranges.json": b'{"a": [[0, 3]]}',
    }.items():
        (tmp_path / name).write_bytes(content)
    text = RECIPE.format(path=make().path, filters=filters)
    with pytest.raises(RecipeError) as caught:
        parse_recipe(text, "r.yaml", tmp_path, check=True)
    said = REFUSED[filters].format(folder=tmp_path)
    assert str(caught.value).partition(" robot.arm.filters.")[2] == said and caught.value.code == 2


def test_a_path_needs_an_origin(tmp_path: Path) -> None:
    bare = tuple(leaf for leaf in LEAVES if leaf.key != "episode_metadata/file_path")
    root = write_dataset(tmp_path, "bare", bare, {"train": [[episode(0)]]})
    with pytest.raises(RecipeError, match="there is no episode_metadata/file_path to match: there is action, is_first"):
        parse_recipe(RECIPE.format(path=root, filters="path: success"), "r.yaml", tmp_path, check=True)


def test_a_limit_needs_a_log_that_says_what_it_holds(toy_recipe: Callable[..., Any]) -> None:
    source = toy_recipe(robot__arm__filters__limit=3).sources["arm"]
    said = "a log of this kind says what its episodes are only when it is read"
    assert [(each.setting, each.message) for each in source.invalid_settings()] == [(("filters", "limit"), said)]
    with pytest.raises(UsageError, match=said):
        _ = source.limits


# Origins


def test_the_origin_is_what_the_log_says(make: Make) -> None:  # noqa: F811
    assert [step.origin for step in steps(make(2))] == ["raw/0"] * 3 + ["raw/1"] * 3


def test_origins_of_droid_are_joined_as_openpi_joins_them(make: Make) -> None:  # noqa: F811
    leaves = (*LEAVES, Leaf("episode_metadata/recording_folderpath", "text", "string"))
    made = make([episode(0) | {"episode_metadata/recording_folderpath": "r2d2/AUTO"}], leaves)
    assert {step.origin for step in steps(made)} == {"r2d2/AUTO--raw/0"}


def test_an_origin_that_is_no_text_is_no_fault(make: Make) -> None:  # noqa: F811
    made = make([episode(0) | {"episode_metadata/file_path": b"raw/\xff"}])
    assert {step.origin for step in steps(made)} == {"raw/\ufffd"}


def told(step: Step) -> tuple[Any, ...]:
    return step.episode, step.step, step.split, step.origin, step.action.tolist(), [image.place for image in step.images]


# Limit

names = st.lists(st.tuples(st.sampled_from(["train", "val"]), st.text(min_size=1)), unique=True, max_size=40)


@given(names, st.integers(1, 10))
def test_a_limit_keeps_so_many_of_each_split(names: list[tuple[str, str]], limit: int) -> None:
    found, by_split = limit_by_hash(names, limit), defaultdict[str, list[str]](list)
    for split, name in names:
        by_split[split].append(name)
    for split, each in by_split.items():
        assert sum(found.keep(split, name) for name in each) == min(limit, len(each))
    assert found.left_out == sum(max(len(each) - limit, 0) for each in by_split.values())
    assert limit_by_hash(reversed(names), limit) == found


@given(names, st.integers(1, 10), st.integers(0, 40))
def test_a_log_that_grows_keeps_what_new_episodes_do_not_push_out(names: list[tuple[str, str]], limit: int, known: int) -> None:
    before, after = limit_by_hash(names[:known], limit), limit_by_hash(names, limit)
    pushed_out = [each for each in names[:known] if before.keep(*each) and not after.keep(*each)]
    assert len(pushed_out) <= sum(after.keep(*each) for each in names[known:])
    assert not any(after.keep(*each) and not before.keep(*each) for each in names[:known])


def test_no_limit_keeps_all() -> None:
    assert limit_by_hash((), None).keep("train", "x")


@pytest.mark.parametrize("limit", [1, 5, 23, 24, 1000])
def test_only_the_chosen_records_are_read(tmp_path: Path, limit: int) -> None:
    shards = [[episode(8 * n + k) for k in range(8)] for n in range(3)]
    root = write_dataset(tmp_path, "toy", LEAVES, {"train": shards, "val": [[episode(50)]]})
    whole = RLDS(path=str(root), action_space="widowx_bridge")
    source = whole.model_copy(update={"filters": Filters(limit=limit)})
    kept = {name for split, name in source.episode_names() if source.limits.keep(split, name)}
    assert len(kept) == min(limit, 24) + 1
    assert [told(step) for step in steps(source)] == [told(step) for step in steps(whole) if step.episode in kept]
    read, size = (sum(unit.bytes for unit in each.units()) for each in (source, whole))
    assert read == pytest.approx(size * len(kept) / 25, rel=0.1)
    plan = source.sample_plan("train")
    sampled = {step.episode for part in plan.parts for step in plan.read(part) if isinstance(step, Step)}
    assert sampled == {name for name in kept if name.startswith("train")}


def test_a_part_depends_on_which_of_its_records_are_kept(tmp_path: Path) -> None:
    """Of a compressed file, which is read whole."""
    from tests.prepare.test_growth import Log

    log = Log(tmp_path / "log" / "1.0.0", compressed=True)
    log.write(range(6))
    source = RLDS(path=str(log.folder), action_space="widowx_bridge", filters=Filters(limit=2))
    parts = source.parts({})
    assert len(parts) == 2 and len({step.episode for step in steps(source)}) == 2
    assert [basis[-1] for basis in source.bases(parts)] == [0, 0], "each holds its first record, and depends on that"


class Notes(LogSource):
    """A log of columns whose episodes are known before they are read."""

    kind: Literal["notes"] = "notes"
    usual: ClassVar[Usual] = Usual(action=(("a",),))
    opened: ClassVar[list[str]] = []

    def files(self) -> list[str]:
        return [self.path]

    def columns(self) -> Sequence[Column]:
        return [Column("a", "numbers", 7)]

    def parts(self, known: Mapping[str, Sequence[Unit]]) -> list[Unit]:
        return [Unit(0, self.path, "train", start=n, bytes=1) for n in range(3)]

    def episodes(self, part: Unit, layout: LogLayout) -> Iterator[Episode | SourceRecord]:
        for name in (f"e{part.start}{k}" for k in range(4)):
            yield Episode(name, "train", f"notes/{name}", lambda name=name: self._read(name))  # type: ignore[misc]

    def _read(self, name: str) -> Recorded:
        self.opened.append(name)
        return Recorded(np.zeros((2, 7), np.float32), [(), ()])


def test_a_log_of_columns_reads_only_what_a_limit_keeps(tmp_path: Path) -> None:
    (tmp_path / "notes").touch()
    source = Notes(path=str(tmp_path / "notes"), action_space="widowx_bridge", filters=Filters(limit=5))
    whole = source.model_copy(update={"filters": Filters()})
    Notes.opened.clear()
    found = steps(source)
    assert len({step.episode for step in found}) == 5 and Notes.opened == [*dict.fromkeys(step.episode for step in found)]
    assert {step.origin for step in found} == {f"notes/{name}" for name in Notes.opened}
    assert source.limits.left_out == 7
    assert source.bases(source.parts({})) != whole.bases(whole.parts({})) and isinstance(whole.bases(whole.parts({}))[0], str)
