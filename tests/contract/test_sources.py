"""One contract that every source of the table passes, on real data and on data made here. A new source: one more case below."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pytest

from rt2data.cli.app import app
from rt2data.errors import UsageError
from rt2data.io import location
from rt2data.io.location import path_of
from rt2data.io.location.base import Range
from rt2data.io.tfrecord.features import Leaf
from rt2data.plan.recipe import RecipeError, parse_recipe
from rt2data.read import units as read_units
from rt2data.read.filters import Filters
from rt2data.read.source import SOURCES, RobotSource, Settings, Source, WebSource, source_class, source_classes
from rt2data.read.vqav2 import source as vqav2
from rt2data.records import Example, Fact, Image, Reject, Row, Step, Unit
from rt2data.standardize import standardize
from rt2data.standardize.conversation import conversation_fault
from tests.contract import toy
from tests.objects.here import FAILING, used_here
from tests.objects.stand_in import StandIn, stand_in
from tests.read import bridges, folders, lerobot_writing, zarrs
from tests.read.corpus import writing as corpora
from tests.read.hdf5 import test_films
from tests.read.hdf5 import writing as hdf5s
from tests.read.ros.writing import write_robots
from tests.tfds_writing import write_dataset

PLAIN = re.compile(r"[A-Za-z0-9_-]+")
LONGEST_KEY = 48  # of a row: with a source's name, an epoch and an ending it must fit the 100 bytes of a tar header
SCHEMES = ("gs", "s3")
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


def metaworld_hdf5(real: Callable[[], Path], folder: Path) -> Dataset:
    path = real() / "sim_metaworld_hdf5" / "metaworld.hdf5"
    return Dataset({"kind": "hdf5", "path": str(path), "action_space": "metaworld"}, good=266)


def written_hdf5(real: Callable[[], Path], folder: Path) -> Dataset:
    """Files with compressed frames and with masks, and one episode that is not in its file."""
    hdf5s.write_robomimic(folder / "a.hdf5", (6, 7, 8), {"train": ["demo_0", "demo_2"], "valid": ["demo_1"]})
    hdf5s.write_robomimic(folder / "below/b.hdf5", (5, 4))
    with h5py.File(folder / "below/b.hdf5", "r+") as file:
        file["data/demo_2"] = h5py.ExternalLink("elsewhere.hdf5", "/demo")
    settings = {"kind": "hdf5", "path": str(folder), "action_space": "widowx_bridge", "blank_instruction": "keep"}
    return Dataset(settings, good=30, bad=1)


def filmed_hdf5(real: Callable[[], Path], folder: Path) -> Dataset:
    """DROID's files with videos beside them."""
    for seed in range(2):
        test_films.write(folder / "droid", seed)
    return Dataset({"kind": "hdf5", "path": str(folder / "droid"), "action_space": "franka_droid_eef"}, good=12)


def metaworld_mcap(real: Callable[[], Path], folder: Path) -> Dataset:
    """Three recordings of 348 steps, of which 8 lack an image of one camera: three times that of the scarcer one, which has the
    steps.
    """
    settings = {"path": str(real() / "sim_metaworld_mcap"), "action_space": "metaworld", "cameras": "all"}
    return Dataset({"kind": "ros", **settings}, good=340, bad=2)


def bridge_bag(real: Callable[[], Path], folder: Path) -> Dataset:
    """The same episode by ROS 1 and by ROS 2; behind its last image there is no action."""
    path = real() / "ros_bridge"
    return Dataset({"kind": "ros", "path": str(path), "action_space": "widowx_bridge"}, good=2 * 23, bad=2)


def written_ros(real: Callable[[], Path], folder: Path) -> Dataset:
    """The same robot in a bag, a database and MCAP files; the last of them was cut."""
    path = str(write_robots(folder / "robots"))
    return Dataset({"kind": "ros", "path": path, "action_space": "generic_nd", "cameras": "all"}, good=4 * 6 + 8, bad=1)


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


def llava(real: Callable[[], Path], folder: Path) -> Dataset:
    root = str(real() / "llava_json_llamafactory" / "data")
    return Dataset({"kind": "conversations", "data": (f"{root}/mllm_demo.json",), "image_dirs": (root,)}, good=6)


def written_conversations(real: Callable[[], Path], folder: Path) -> Dataset:
    root = str(corpora.conversations(folder))
    return Dataset({"kind": "conversations", "data": (root,), "image_dirs": (root,)}, good=8, bad=7)


def gvt(real: Callable[[], Path], folder: Path) -> Dataset:
    """Real questions about 2017's images, which rows name by number."""
    root = real() / "coco_web"
    files = tuple(str(root / "annotations" / f"gvt_coco_{name}.json") for name in ("mci", "oc"))
    return Dataset({"kind": "vqa", "data": files, "image_dirs": (str(root / "train2017"), str(root / "val2017"))}, good=31)


def written_questions(real: Callable[[], Path], folder: Path) -> Dataset:
    root = str(corpora.questions(folder))
    return Dataset({"kind": "vqa", "data": (root,), "image_dirs": (root,)}, good=8, bad=4)


def img2dataset(real: Callable[[], Path], folder: Path) -> Dataset:
    return Dataset({"kind": "captions", "data": (str(real() / "wds_img2dataset"),)}, good=8)


def coco_captions(real: Callable[[], Path], folder: Path) -> Dataset:
    root = real() / "coco_web"
    files = tuple(str(root / "annotations" / f"captions_{split}2017.json") for split in ("train", "val"))
    return Dataset({"kind": "captions", "data": files, "image_dirs": (str(root),)}, good=23)


def written_captions(real: Callable[[], Path], folder: Path) -> Dataset:
    root = corpora.captions(folder)
    return Dataset({"kind": "captions", "data": (str(root / "data"),), "image_dirs": (str(root),)}, good=20, bad=9)


def coco_instances(real: Callable[[], Path], folder: Path) -> Dataset:
    """Boxes made up here for COCO's photographs, which have all sizes."""
    root = real() / "coco_web"
    folder.mkdir(parents=True, exist_ok=True)
    corpora.boxes_of_photographs(folder / "instances.json", sorted(root.glob("*2017/*.jpg")))
    return Dataset({"kind": "grounding", "data": (str(folder),), "image_dirs": (str(root),)}, good=23)


def written_grounding(real: Callable[[], Path], folder: Path) -> Dataset:
    root = corpora.grounding(folder)
    settings = {"kind": "grounding", "data": (str(root / "data"),), "image_dirs": (str(root),), "box": "xywh"}
    return Dataset(settings, good=14, bad=11)


def written_entities(real: Callable[[], Path], folder: Path) -> Dataset:
    root = str(corpora.entities(folder))
    return Dataset({"kind": "grounding", "data": (root,), "image_dirs": (root,)}, good=4, bad=2)


def language_table(real: Callable[[], Path], folder: Path) -> Dataset:
    path = real() / "sim_language_table_zarr" / "language_table.zarr"
    return Dataset({"kind": "zarr", "path": str(path), "action_space": "language_table"}, good=758)


def written_zarr(real: Callable[[], Path], folder: Path) -> Dataset:
    """Two cameras, of which one is stored as networks take images; an episode without steps, and steps behind the last one."""
    path = zarrs.write(folder / "arm.zarr", [5, 0, 7, 4], behind=2)
    return Dataset({"kind": "zarr", "path": str(path), "action_space": "widowx_bridge"}, good=16, bad=2)


def zipped_zarr(real: Callable[[], Path], folder: Path) -> Dataset:
    path = zarrs.zipped(zarrs.write(folder / "arm.zarr", [5, 7, 4], version=3))
    return Dataset({"kind": "zarr", "path": str(path), "action_space": "widowx_bridge"}, good=16)


def lerobot_images(real: Callable[[], Path], folder: Path) -> Dataset:
    path = real() / "sim_quadrotor_lerobot_v30_images"
    return Dataset({"kind": "lerobot", "path": str(path), "action_space": "generic_nd"}, good=311)


def written_lerobot(real: Callable[[], Path], folder: Path) -> Dataset:
    """v2.1: two splits, a video and a column of images, and one episode whose actions have different sizes."""
    root = lerobot_writing.write_v21(
        folder / "arm",
        [lerobot_writing.made(seed, 6, ("eye", "wrist")) for seed in range(5)],
        stills=["wrist"],
        splits={"train": "0:3", "validation_of_unseen_objects": "3:5"},
    )
    lerobot_writing.change_rows(root, 2, action=pa.array([[0.0] * (1 + at) for at in range(6)], pa.list_(pa.float32())))
    return Dataset({"kind": "lerobot", "path": str(root), "action_space": "widowx_bridge"}, good=4 * 6, bad=1)


def written_lerobot_v3(real: Callable[[], Path], folder: Path) -> Dataset:
    """v3.0: several episodes to a file and to a video."""
    root = lerobot_writing.write_v30(folder / "arm", [lerobot_writing.made(seed, 5) for seed in range(4)], files=2)
    return Dataset({"kind": "lerobot", "path": str(root), "action_space": "widowx_bridge"}, good=4 * 5)


def written_folder(real: Callable[[], Path], folder: Path) -> Dataset:
    """Episodes of which one has a damaged line, and one no lines."""
    path = folders.write(folder / "log")
    folders.write_episode(path / "episode_10", ['{"action": [1', '{"action": [2]}'])
    folders.write_episode(path / "an episode", [])
    return Dataset({"kind": "folder", "path": str(path), "action_space": "widowx_bridge"}, good=16, bad=2)


def written_bridge(real: Callable[[], Path], folder: Path) -> Dataset:
    """Trajectories of 6, 4 and 5 observations; the same from the days of late cameras; one whose pickle would run a command."""
    path = bridges.write(bridges.write(folder / "bridge"), bridges.EARLY)
    hostile = bridges.write_trajectory(bridges.trajectory(path, 7), 3) / "obs_dict.pkl"
    hostile.write_bytes(b"cos\nsystem\n(X\x04\0\0\0truetR.")
    return Dataset({"kind": "bridge_raw", "path": str(path), "action_space": "widowx_bridge"}, good=12 + 9, bad=1)


def toy_robot(real: Callable[[], Path], folder: Path) -> Dataset:
    path = str(toy.write_robot(folder, episodes=3, steps=5))
    return Dataset({"kind": "toy_robot", "path": path, "action_space": "widowx_bridge"}, good=15)


def toy_web(real: Callable[[], Path], folder: Path) -> Dataset:
    return Dataset({"kind": "toy_web", "path": str(toy.write_web(folder, pictures=5))}, good=5)


ROBOT = (
    bridge,
    quadrotor,
    written_rlds,
    metaworld_hdf5,
    written_hdf5,
    filmed_hdf5,
    language_table,
    written_zarr,
    zipped_zarr,
    lerobot_images,
    written_lerobot,
    written_lerobot_v3,
    metaworld_mcap,
    bridge_bag,
    written_ros,
    written_folder,
    written_bridge,
    toy_robot,
)
WEB = (
    coco,
    written_vqa,
    llava,
    written_conversations,
    gvt,
    written_questions,
    img2dataset,
    coco_captions,
    written_captions,
    coco_instances,
    written_grounding,
    written_entities,
    toy_web,
)
CASES = (*ROBOT, *WEB)
AGAIN = (
    bridge,
    quadrotor,
    metaworld_hdf5,
    language_table,
    zipped_zarr,
    lerobot_images,
    metaworld_mcap,
    bridge_bag,
    coco,
    llava,
    gvt,
    img2dataset,
    coco_captions,
    coco_instances,
)
"""Real logs and corpora of formats of which another case is always run; their own tests read them too."""


def each(cases: Sequence[Any]) -> list[Any]:
    """Cases as parameters; the slow ones are marked."""
    return [pytest.param(case, marks=pytest.mark.slow, id=case.__name__) if case in AGAIN else case for case in cases]


@pytest.fixture(autouse=True)
def with_toys(monkeypatch: pytest.MonkeyPatch) -> None:
    """The toys stand in the table beside the shipped sources."""
    for name, place in toy.TABLE.items():
        monkeypatch.setitem(SOURCES, name, place)


def over(cases: Sequence[Any]) -> pytest.MarkDecorator:
    """Run a test over some of the cases only."""
    return pytest.mark.parametrize("near", each(cases), indirect=True, ids=lambda case: getattr(case, "__name__", None))


@pytest.fixture(params=each(CASES), ids=lambda case: case.__name__)
def near(request: pytest.FixtureRequest, tmp_path: Path) -> Dataset:
    made: Dataset = request.param(lambda: request.getfixturevalue("shared_data"), tmp_path)
    return made


@pytest.fixture(scope="module")
def objects() -> Iterator[StandIn]:
    with stand_in() as found:
        yield found


@pytest.fixture(params=["", *(pytest.param(scheme, marks=pytest.mark.slow) for scheme in SCHEMES)])
def dataset(request: pytest.FixtureRequest, near: Dataset) -> Iterator[Dataset]:
    """On the disk; and in an object store, of whose requests some fail."""
    if not request.param:
        yield near
        return
    with moved(near, request.getfixturevalue("objects"), request.param) as far:
        yield far


@contextmanager
def moved(near: Dataset, objects: StandIn, scheme: str) -> Iterator[Dataset]:
    """The same in an object store, under its local path."""
    for path in _paths(near):
        objects.upload(path, f"{path}/".lstrip("/")) if path.is_dir() else objects.put(str(path).lstrip("/"), path.read_bytes())
    settings = {key: _far(value, f"{scheme}://bucket") for key, value in near.settings.items()}
    with used_here(objects.env(scheme)), objects.faults(**FAILING, seed=len(near.settings)):
        yield replace(near, settings=settings)


def _paths(near: Dataset) -> Iterator[Path]:
    for value in near.settings.values():
        yield from (Path(each) for each in (value if isinstance(value, tuple) else (value,)) if each.startswith("/"))


def _far(value: Any, root: str) -> Any:
    if isinstance(value, tuple):
        return tuple(_far(each, root) for each in value)
    return root + value if value.startswith("/") else value


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
        content = value.content()
        return value.camera, value.place, _value(content) if isinstance(content, np.ndarray) else bytes(content)
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
    assert all(location.is_file(path) for path in files)


def test_units_are_numbered_and_always_the_same(source: Source) -> None:
    units = source.units()
    assert [unit.index for unit in units] == list(range(len(units)))
    assert units == source.units()
    known = {*source.files(), *(str(path_of(path).parent) for path in source.files())}
    for unit in units:
        assert unit.path in known
        assert PLAIN.fullmatch(unit.split)
        assert pickle.loads(pickle.dumps(unit)) == unit


FAR = (
    written_zarr,
    zipped_zarr,
    filmed_hdf5,
    written_lerobot,
    written_lerobot_v3,
    written_ros,
    written_folder,
    written_bridge,
    written_captions,
    toy_robot,
    toy_web,
)


@over([written_rlds, written_vqa, *(pytest.param(case, marks=pytest.mark.slow, id=case.__name__) for case in FAR)])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_objects_hold_the_same_records(near: Dataset, objects: StandIn, scheme: str) -> None:
    """Whatever fails on the way."""
    with moved(near, objects, scheme) as far:
        assert repr(read(far.source)).replace(f"{scheme}://bucket", "") == repr(read(near.source))


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
    monkeypatch.setattr(read_units, "UNIT_BYTES", 1)
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


@over(ROBOT)
def test_a_limit_reads_the_episodes_that_it_keeps(near: Dataset) -> None:
    """Of a source that knows its episodes before they are read; any other refuses a limit."""
    source = near.source
    assert isinstance(source, RobotSource)
    limited = source.model_copy(update={"filters": Filters(limit=1)})
    if type(source).episode_names is RobotSource.episode_names:
        assert any(invalid.setting == ("filters", "limit") for invalid in limited.invalid_settings())
        return
    named = {*source.episode_names()}
    steps = [found for unit in source.units() for found in source.read(unit) if isinstance(found, Step)]
    assert named >= {(step.split, step.episode) for step in steps} and limited.limits.left_out > 0
    kept = [_plain(step) for step in steps if limited.limits.keep(step.split, step.episode)]
    found = [_plain(step) for unit in limited.units() for step in limited.read(unit) if isinstance(step, Step)]
    assert sorted(map(repr, found)) == sorted(map(repr, kept))


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
def test_examples_are_questions_with_answers_or_conversations(source: Source) -> None:
    keys = []
    for unit in source.units():
        for found in source.read(unit):
            if isinstance(found, Example):
                keys.append(found.key)
                assert PLAIN.fullmatch(found.key)
                assert len(found.key) <= LONGEST_KEY
                assert PLAIN.fullmatch(found.group)
                if found.turns:
                    assert (found.question, found.answers, conversation_fault(found)) == ("", (), None)
                    continue
                assert found.question.strip()
                assert found.answers
                assert all(isinstance(answer, str) and answer.strip() for answer in found.answers)
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
        numbers = [each[1] for each in steps]  # they jump where the log lacks steps
        assert numbers[0] == 0 and all(before < after for before, after in pairwise(numbers))
        assert {each[2] for each in steps} == {numbers[-1] + 1}
        assert [each[3] for each in steps] == [True] + [False] * (len(steps) - 1)
        assert [each[4] for each in steps] == [False] * (len(steps) - 1) + [True]
    assert len(cameras) == len(widths) == 1
    ((shape, dtype, _),) = widths
    assert len(shape) == 1
    assert dtype == np.float32


def test_places_hold_the_very_bytes(source: Source) -> None:
    placed: list[tuple[Range, bytes]] = []
    files = set(source.files())
    for unit in source.units():
        for found in records(source, unit):
            for image in () if isinstance(found, Reject) else found.images:
                assert image.camera
                if image.place is None:
                    assert not isinstance(image.data, bytes | memoryview) or len(image.data)
                    continue
                assert image.place.path in files
                content = bytes(memoryview(image.content()))
                placed.append((Range(image.place.path, image.place.offset, image.place.length), content))
    if not placed:  # a log that holds no encoded images as they are
        return
    body, _ = location.resolve(placed[0][0].name)
    assert body.read([place for place, _ in placed]) == [data for _, data in placed]


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
def test_missing_data_is_told(dataset: Dataset) -> None:
    """A path that is not there is the user's mistake, found before anything is read. (The toys look for nothing.)"""
    for key, value in dataset.settings.items():
        first = value[0] if isinstance(value, tuple) else value
        if "/" in first:
            gone = str(path_of(first).parent / "gone")
            source = Dataset(dataset.settings | {key: (gone,) if isinstance(value, tuple) else gone}, 0).source
            with pytest.raises(UsageError) as caught:
                source.files()
            assert "gone" in str(caught.value)


def test_a_new_source_is_one_file_and_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = json.dumps({"robot_frac": 1, "robot": {"arm": {"kind": "toy_robot", "path": "x", "action_space": "widowx_bridge"}}})
    monkeypatch.delitem(SOURCES, "toy_robot")
    with pytest.raises(RecipeError, match=r"must be 'rlds'.* got 'toy_robot'"):
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
