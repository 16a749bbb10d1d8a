"""One contract that every source of the table passes, on real data and on data made here. A new source: one more case below."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rt2data.cli.app import app
from rt2data.errors import UsageError
from rt2data.io.tfrecord.features import Leaf
from rt2data.plan.recipe import RecipeError, parse_recipe
from rt2data.read.rlds import units as rlds_units
from rt2data.read.source import SOURCES, RobotSource, Settings, Source, WebSource, source_class, source_classes
from rt2data.read.vqav2 import source as vqav2
from rt2data.records import Example, Fact, Image, Reject, Row, Step, Unit
from rt2data.standardize import standardize
from tests.contract import toy
from tests.tfds_writing import write_dataset

PLAIN = re.compile(r"[A-Za-z0-9_-]+")
LONGEST_KEY = 48  # of a row: with a source's name, an epoch and an ending it must fit the 100 bytes of a tar header
RECORD = {"robot": Step, "web": Example}


@dataclass(frozen=True)
class Dataset:
    """Settings of a source over one dataset, and what it holds."""

    settings: dict[str, Any]
    good: int  # steps or examples
    bad: int = 0  # rejects

    @property
    def source(self) -> Source:
        settings = {key: value for key, value in self.settings.items() if key != "kind"}
        return source_class(self.settings["kind"]).model_validate(settings)


def bridge(real: Callable[[], Path], folder: Path) -> Dataset:
    path = real() / "rlds_bridge" / "bridge_dataset" / "1.0.0"
    return Dataset({"kind": "rlds", "path": str(path), "action_space": "widowx_bridge"}, good=130)


def quadrotor(real: Callable[[], Path], folder: Path) -> Dataset:
    path = real() / "sim_quadrotor_rlds" / "sim_pyflyt_quad" / "1.0.0"
    return Dataset({"kind": "rlds", "path": str(path), "action_space": "generic_nd"}, good=739)


def written_rlds(real: Callable[[], Path], folder: Path) -> Dataset:
    """Three splits, several shards, raw pixels beside encoded pictures, and one episode whose numbers of steps disagree."""
    leaves = (
        Leaf("steps/action", "tensor", "float32", (7,)),
        Leaf("steps/language_instruction", "text", "string"),
        Leaf("steps/observation/eye", "image", "uint8", (32, 32, 3), "jpeg"),
        Leaf("steps/observation/raw", "tensor", "uint8", (16, 16, 3)),
    )
    splits = {
        "train": [[_episode(0), _episode(1)], [_episode(2)]],
        "val": [[_episode(3)]],
        "validation_of_unseen_objects": [[_episode(4), _ragged(5)]],
    }
    path = write_dataset(folder, "arm", leaves, splits)
    return Dataset({"kind": "rlds", "path": str(path), "action_space": "widowx_bridge"}, good=5 * 4, bad=1)


def _episode(number: int, steps: int = 4) -> dict[str, Any]:
    random = np.random.default_rng(number)
    return {
        "steps/action": random.normal(size=(steps, 7)).astype(np.float32),
        "steps/language_instruction": [f"lift block {number}"] * steps,
        "steps/observation/eye": [toy.jpeg(100 * number + step) for step in range(steps)],
        "steps/observation/raw": random.integers(0, 256, (steps, 16, 16, 3), dtype=np.uint8),
    }


def _ragged(number: int) -> dict[str, Any]:
    return _episode(number) | {"steps/language_instruction": ["lift"] * 3}


def coco(real: Callable[[], Path], folder: Path) -> Dataset:
    root = real() / "coco_web"
    return Dataset(
        {
            "kind": "vqav2",
            "questions": str(root / "annotations" / "v2_OpenEnded_mscoco_trainval2014_questions.json"),
            "annotations": str(root / "annotations" / "v2_mscoco_trainval2014_annotations.json"),
            "image_dirs": (str(root / "train2017"), str(root / "val2017")),
        },
        good=13,
    )


def written_vqa(real: Callable[[], Path], folder: Path) -> Dataset:
    """Several questions about each picture; of the last five questions each lacks something else."""
    toy.write_web(folder / "pictures", 6)
    questions: list[dict[str, Any]] = [{"question_id": n, "image_id": n // 4, "question": f"Is it {n}?"} for n in range(24)]
    answers: list[dict[str, Any]] = [{"question_id": n, "answers": [{"answer": "yes"}, {"answer": "no"}]} for n in range(24)]
    questions[19]["image_id"] = 99
    questions[20]["question"] = " "
    answers[21]["answers"] = []
    answers[22]["question_id"] = 1022
    questions[23]["image_id"] = -1
    (folder / "questions.json").write_text(json.dumps({"questions": questions}))
    (folder / "annotations.json").write_text(json.dumps({"annotations": answers}))
    paths = {name: str(folder / f"{name}.json") for name in ("questions", "annotations")}
    return Dataset({"kind": "vqav2", **paths, "image_dirs": (str(folder / "pictures"),)}, good=19, bad=6)


def toy_robot(real: Callable[[], Path], folder: Path) -> Dataset:
    path = str(toy.write_robot(folder, episodes=3, steps=5))
    return Dataset({"kind": "toy_robot", "path": path, "action_space": "widowx_bridge"}, good=15)


def toy_web(real: Callable[[], Path], folder: Path) -> Dataset:
    return Dataset({"kind": "toy_web", "path": str(toy.write_web(folder, pictures=5))}, good=5)


ROBOT = (bridge, quadrotor, written_rlds, toy_robot)
WEB = (coco, written_vqa, toy_web)
CASES = (*ROBOT, *WEB)


@pytest.fixture(autouse=True)
def with_toys(monkeypatch: pytest.MonkeyPatch) -> None:
    """The toys stand in the table beside the shipped sources."""
    for name, place in toy.TABLE.items():
        monkeypatch.setitem(SOURCES, name, place)


def over(cases: Sequence[Callable[..., Dataset]]) -> pytest.MarkDecorator:
    """Run a test over some of the cases only."""
    return pytest.mark.parametrize("dataset", cases, indirect=True, ids=lambda case: case.__name__)


@pytest.fixture(params=CASES, ids=lambda case: case.__name__)
def dataset(request: pytest.FixtureRequest, tmp_path: Path) -> Dataset:
    made: Dataset = request.param(lambda: request.getfixturevalue("shared_data"), tmp_path)
    return made


@pytest.fixture
def source(dataset: Dataset) -> Source:
    return dataset.source


def read(source: Source) -> list[Any]:
    """Every record, as plain comparable values: pictures may be views that die with the record they came from."""
    return [_plain(found) for unit in source.units() for found in records(source, unit)]


def records(source: Source, unit: Unit) -> Iterator[Step | Example | Reject]:
    """What a unit holds, without the facts that were counted."""
    return (found for found in source.read(unit) if not isinstance(found, Fact))


def _plain(found: Step | Example | Reject) -> tuple[Any, ...]:
    return type(found), *(_value(getattr(found, name)) for name in found.__slots__)


def _value(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return str(value.dtype), value.shape, value.tobytes()
    if isinstance(value, Image):
        return value.camera, value.place, _value(value.data) if isinstance(value.data, np.ndarray) else bytes(value.data)
    return tuple(map(_value, value)) if isinstance(value, tuple) else value


def test_every_kind_of_the_table_has_a_case(tmp_path: Path, shared_data: Path) -> None:
    tested = {case(lambda: shared_data, tmp_path / case.__name__).settings["kind"] for case in CASES}
    assert tested == set(SOURCES)


@pytest.mark.parametrize("kind", list(SOURCES))
def test_a_class_of_the_table_says_what_it_is(kind: str) -> None:
    found = source_class(kind)
    assert issubclass(found, RobotSource if found.role == "robot" else WebSource)
    assert found in source_classes(found.role)
    assert found.model_fields["kind"].default == kind
    assert issubclass(found, Settings)
    assert found.model_config["frozen"]
    assert found.model_config["extra"] == "forbid"


def test_a_recipe_reads_it(dataset: Dataset, tmp_path: Path) -> None:
    side, share = (dataset.source.role, 1) if dataset.source.role == "robot" else (dataset.source.role, 0)
    settings = {key: list(value) if isinstance(value, tuple) else value for key, value in dataset.settings.items()}
    text = json.dumps({"robot_frac": share, side: {"mine": settings}})
    assert parse_recipe(text, "mixture.yaml", tmp_path).sources == {"mine": dataset.source}


def test_files_are_sorted_and_there(source: Source) -> None:
    files = source.files()
    assert files == sorted(set(files))
    assert files == source.files()
    assert all(Path(path).is_file() for path in files)


def test_units_are_numbered_and_always_the_same(source: Source) -> None:
    units = source.units()
    assert [unit.index for unit in units] == list(range(len(units)))
    assert units == source.units()
    known = {*source.files(), *(str(Path(path).parent) for path in source.files())}
    for unit in units:
        assert unit.path in known
        assert PLAIN.fullmatch(unit.split)
        assert pickle.loads(pickle.dumps(unit)) == unit


def test_everything_is_read_and_nothing_else(dataset: Dataset) -> None:
    source = dataset.source
    found = [record for unit in source.units() for record in records(source, unit)]
    kinds = [type(record) for record in found]
    assert kinds.count(RECORD[source.role]) == dataset.good
    assert kinds.count(Reject) == dataset.bad
    assert len(kinds) == dataset.good + dataset.bad


def test_reading_again_gives_the_same(source: Source) -> None:
    assert read(source) == read(pickle.loads(pickle.dumps(source)))


def test_units_of_any_size_read_in_any_order(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = read(source)
    monkeypatch.setattr(rlds_units, "UNIT_BYTES", 1)
    monkeypatch.setattr(vqav2, "_BLOCK", 2)
    backwards = [_plain(found) for unit in reversed(source.units()) for found in records(source, unit)]
    assert sorted(map(repr, backwards)) == sorted(map(repr, whole))


def test_a_survey_holds_what_units_hold(source: Source) -> None:
    """All parts of a plan, read, are the records of its split; what is wrong beside them only the units tell."""
    for split in {unit.split for unit in source.units()}:
        plan = source.sample_plan(split)
        found = [_plain(record) for part in plan.parts for record in plan.read(part) if not isinstance(record, Fact)]
        whole = [_plain(record) for unit in source.units() if unit.split == split for record in records(source, unit)]
        assert sorted(map(repr, found)) == sorted(repr(each) for each in whole if each[0] is not Reject or each in found)
        assert sum(part.measure for part in plan.parts) == plan.whole > 0
        assert plan.bytes == pytest.approx(sum(unit.bytes for unit in source.units()), rel=0.1)
        assert plan.units == len(source.units())


def test_a_survey_of_another_split_is_empty(source: Source) -> None:
    plan = source.sample_plan("no_such_split")
    assert plan.whole == 0 and not plan.parts and plan.units > 0


def test_surveys_go_by_their_seed(source: Source) -> None:
    split = source.units()[0].split
    assert source.sample_plan(split, 1).parts == source.sample_plan(split, 1).parts
    one, other = (
        [_plain(r) for part in s.parts for r in s.read(part) if not isinstance(r, Fact)]
        for s in (source.sample_plan(split, 1), source.sample_plan(split, 2))
    )
    assert sorted(map(repr, one)) == sorted(map(repr, other))


@pytest.mark.parametrize("size", [1, 5000, 10**12])
def test_a_unit_in_pieces_is_the_unit(source: Source, size: int) -> None:
    for unit in source.units():
        pieces = source.pieces(unit, size)
        assert pieces and sum(piece.bytes for piece in pieces) == unit.bytes
        if unit.index:  # the first unit of a corpus also looks at what belongs to no unit
            assert [_plain(r) for piece in pieces for r in records(source, piece)] == [_plain(r) for r in records(source, unit)]


def test_rejects_say_what_and_where(source: Source) -> None:
    for unit in source.units():
        for found in source.read(unit):
            if isinstance(found, Reject):
                assert re.fullmatch(r"[a-z]+(_[a-z]+)*", found.reason)
                assert found.where
                assert found.count >= 1


def test_splits_of_records_are_those_of_their_units(source: Source) -> None:
    for unit in source.units():
        assert {found.split for found in records(source, unit) if not isinstance(found, Reject)} <= {unit.split}


@over(WEB)
def test_examples_are_questions_with_answers(source: Source) -> None:
    keys = []
    for unit in source.units():
        for found in source.read(unit):
            if isinstance(found, Example):
                keys.append(found.key)
                assert PLAIN.fullmatch(found.key)
                assert PLAIN.fullmatch(found.group)
                assert found.question.strip()
                assert found.answers
                assert all(isinstance(answer, str) and answer.strip() for answer in found.answers)
                assert found.images
    assert len(keys) == len(set(keys))


@over(ROBOT)
def test_steps_of_an_episode_come_together_and_in_order(source: Source) -> None:
    """Each step is let go before the next is read: its pictures may be views."""
    seen: list[tuple[str, int, int, bool, bool]] = []
    cameras, widths = set(), set()
    for unit in source.units():
        for found in source.read(unit):
            if isinstance(found, Step):
                seen.append((found.episode, found.step, found.steps, found.is_first, found.is_last))
                cameras.add(tuple(image.camera for image in found.images))
                widths.add((found.action.shape, found.action.dtype, None if found.state is None else found.state.shape))
                assert found.state is None or found.state.dtype == np.float32
    episodes = [(name, list(steps)) for name, steps in groupby(seen, key=lambda each: each[0])]
    assert len({name for name, _ in episodes}) == len(episodes)
    for name, steps in episodes:
        assert PLAIN.fullmatch(name)
        assert [each[1] for each in steps] == list(range(len(steps)))
        assert {each[2] for each in steps} == {len(steps)}
        assert [each[3] for each in steps] == [True] + [False] * (len(steps) - 1)
        assert [each[4] for each in steps] == [False] * (len(steps) - 1) + [True]
    assert len(cameras) == len(widths) == 1
    ((shape, dtype, _),) = widths
    assert len(shape) == 1
    assert dtype == np.float32


def test_places_hold_the_very_bytes(source: Source) -> None:
    placed = 0
    for unit in source.units():
        for found in records(source, unit):
            for image in () if isinstance(found, Reject) else found.images:
                assert image.camera
                if image.place is None:
                    assert not isinstance(image.data, bytes | memoryview) or len(image.data)
                    continue
                placed += 1
                assert image.place.path in source.files()
                with Path(image.place.path).open("rb") as file:
                    file.seek(image.place.offset)
                    assert file.read(image.place.length) == bytes(image.data)
    assert placed


def test_rows_have_keys_that_fit(source: Source) -> None:
    keys = []
    for unit in source.units():
        for row in standardize(source, source.read(unit)):
            if isinstance(row, Row):
                keys.append(row.key)
                assert re.fullmatch(rf"[A-Za-z0-9_-]{{1,{LONGEST_KEY}}}", row.key)
                assert PLAIN.fullmatch(row.group)
    assert len(keys) == len(set(keys)) > 0


def test_prepare_settings_are_plain_and_leave_the_weight_out(source: Source) -> None:
    settings = source.prepare_settings()
    assert json.loads(json.dumps(settings, allow_nan=False)) == settings
    assert settings == pickle.loads(pickle.dumps(source)).prepare_settings()
    assert settings == _changed(source, weight=3).prepare_settings()
    for change in ({"holdout": "0.1"}, {"max_text_bytes": 5}, {"images": {"resize": 64}}):
        assert settings != _changed(source, **change).prepare_settings()


@over(WEB)
def test_answer_rules_that_choose_at_drawing_share_a_store(source: Source) -> None:
    majority, sample, every = (_changed(source, answers=rule).prepare_settings() for rule in ("majority", "sample", "all"))
    assert majority == sample != every


def _changed(source: Source, **changes: Any) -> Source:
    """The source with some settings as a recipe would give them."""
    kept = {name: getattr(source, name) for name in type(source).model_fields if name not in changes}
    return type(source).model_validate(kept | changes)


def test_it_describes_itself_in_json(source: Source) -> None:
    described = source.describe()
    assert described
    assert json.loads(json.dumps(described, allow_nan=False)) == described


@over([case for case in CASES if not case.__name__.startswith("toy")])
def test_missing_data_is_told(dataset: Dataset, tmp_path: Path) -> None:
    """A path that is not there is the user's mistake, found before anything is read. (The toys look for nothing.)"""
    for key, value in dataset.settings.items():
        if key != "kind" and str(value).startswith(("/", "('/")):
            gone = str(tmp_path / "gone")
            source = Dataset(dataset.settings | {key: (gone,) if isinstance(value, tuple) else gone}, 0).source
            with pytest.raises(UsageError) as caught:
                source.files()
            assert "gone" in str(caught.value)


def test_a_new_source_is_one_file_and_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = json.dumps({"robot_frac": 1, "robot": {"arm": {"kind": "toy_robot", "path": "x", "action_space": "widowx_bridge"}}})
    monkeypatch.delitem(SOURCES, "toy_robot")
    with pytest.raises(RecipeError, match="must be 'rlds', got 'toy_robot'"):
        parse_recipe(text, "mixture.yaml", tmp_path)
    monkeypatch.setitem(SOURCES, "toy_robot", "tests.contract.toy:ToyRobot")
    assert isinstance(parse_recipe(text, "mixture.yaml", tmp_path).robot["arm"], toy.ToyRobot)


# Every command knows a new source


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A mixture of both toys, built by the command; its folder holds the raw data and the recipe too."""
    folder = tmp_path_factory.mktemp("commands")
    robot, web = toy.write_robot(folder / "robot"), toy.write_web(folder / "web")
    (folder / "mixture.yaml").write_text(
        f"""
robot_frac: 1/2
store: store
robot: {{arm: {{kind: toy_robot, path: {robot}, action_space: widowx_bridge, horizon: 4, history: [0, -1]}}}}
web: {{qa: {{kind: toy_web, path: {web}}}}}
"""
    )
    with pytest.MonkeyPatch.context() as patch:
        for name, place in toy.TABLE.items():
            patch.setitem(SOURCES, name, place)
        app(["build-mixture", str(folder / "mixture.yaml"), "--workers", "0", "-q"], standalone_mode=False)
        yield folder


def said(capsys: pytest.CaptureFixture[str], *words: object) -> Any:
    """What a command prints as JSON."""
    capsys.readouterr()
    assert not app([*map(str, words), "--json"], standalone_mode=False)
    return json.loads(capsys.readouterr().out)


def test_build_and_plan_know_a_new_source(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    planned = said(capsys, "plan", built / "mixture.yaml")
    kinds = {each["name"]: each["source"] for each in planned["sources"]}
    assert (
        kinds
        == {"arm": "toy_robot", "qa": "toy_web"}
        == {each["name"]: each["source"] for each in json.loads((built / "mixture/manifest.json").read_text())["plan"]["sources"]}
    )


@pytest.mark.parametrize(("raw", "kind", "count"), [("robot", "toy_robot", {"episodes": 6}), ("web", "toy_web", {"questions": 9})])
def test_inspect_knows_a_new_source(
    built: Path, capsys: pytest.CaptureFixture[str], raw: str, kind: str, count: dict[str, int]
) -> None:
    found = said(capsys, "inspect", built / raw)
    assert kind in json.dumps(found) and count.items() <= found["facts"].items()
    assert not app(["inspect", str(built / raw), "--suggest"], standalone_mode=False)
    assert f"kind: {kind}" in capsys.readouterr().out


@pytest.mark.parametrize(("raw", "words"), [("robot", "lift block 0"), ("web", "How many? 0")])
def test_view_shows_a_new_source(built: Path, capsys: pytest.CaptureFixture[str], raw: str, words: str) -> None:
    assert words in json.dumps(said(capsys, "view", built / raw, "-n", 1))
    source = {"robot": "arm", "web": "qa"}[raw]
    assert source in json.dumps(said(capsys, "view", built / "mixture", "-n", 1, "--source", source))


def test_stats_and_report_know_a_new_source(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in ("robot", "web"):
        assert said(capsys, "stats", built / path, "--workers", "0")
    page = built / "report.html"
    said(capsys, "report", *(built / path for path in ("robot", "web")), "-o", page, "--workers", "0", "--tiles", "2")
    assert all(kind in page.read_text() for kind in toy.TABLE)
