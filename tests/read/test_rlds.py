"""RLDS datasets: reading, guessing and every kind of damage. Compared with TFDS in tests/io/tfrecord."""

from __future__ import annotations

import gzip
import json
import os
import pickle
import re
import shutil
import struct
import tracemalloc
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rt2data.errors import DataError, UsageError
from rt2data.io.tfrecord import directory
from rt2data.io.tfrecord.columns import pack
from rt2data.io.tfrecord.example import encode_example
from rt2data.io.tfrecord.features import Leaf
from rt2data.io.tfrecord.framing import HEADER, frame, masked_crc, scan
from rt2data.read import units as read_units
from rt2data.read.rlds.source import RLDS
from rt2data.records import Reject, Step
from tests.tfds_writing import Episode, encode_episode, write_dataset

JPEG = b"\xff\xd8\xff\xe0 picture %d of camera %s\xff\xd9"
LEAVES = (
    Leaf("episode_metadata/file_path", "text", "string"),
    Leaf("steps/action", "tensor", "float32", (7,)),
    Leaf("steps/is_first", "scalar", "bool"),
    Leaf("steps/is_last", "scalar", "bool"),
    Leaf("steps/is_terminal", "scalar", "bool"),
    Leaf("steps/language_instruction", "text", "string"),
    Leaf("steps/observation/image_0", "image", "uint8", (64, 64, 3), "jpeg"),
    Leaf("steps/observation/image_1", "image", "uint8", (64, 64, 3), "jpeg"),
    Leaf("steps/observation/state", "tensor", "float32", (8,)),
)


def episode(number: int, steps: int = 3, **changed: Any) -> dict[str, Any]:
    random = np.random.default_rng(number)
    return {
        "episode_metadata/file_path": f"raw/{number}",
        "steps/action": random.normal(size=(steps, 7)).astype(np.float32),
        "steps/is_first": np.arange(steps) == 0,
        "steps/is_last": np.arange(steps) == steps - 1,
        "steps/is_terminal": np.arange(steps) == steps - 1,
        "steps/language_instruction": [f"lift block {number}"] * steps,
        "steps/observation/image_0": [JPEG % (n, b"0") for n in range(steps)],
        "steps/observation/image_1": [JPEG % (n, b"1") for n in range(steps)],
        "steps/observation/state": random.normal(size=(steps, 8)).astype(np.float32),
        **changed,
    }


Make = Callable[..., RLDS]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A source over a dataset of these episodes."""

    def build(episodes: int | list[Episode] = 4, leaves: tuple[Leaf, ...] = LEAVES, **settings: Any) -> RLDS:
        listed = [episode(n) for n in range(episodes)] if isinstance(episodes, int) else episodes
        root = write_dataset(tmp_path, "toy", leaves, {"train": [listed]})
        return RLDS(path=str(root), action_space="widowx_bridge", **settings)

    return build


def shard(source: RLDS) -> Path:
    return next(Path(path) for path in source.files() if "tfrecord" in path)


def read(source: RLDS) -> list[Any]:
    return [found for unit in source.units() for found in source.read(unit)]


def rejects(source: RLDS) -> list[tuple[str, int]]:
    return [(found.reason, found.count) for found in read(source) if isinstance(found, Reject)]


def episodes_of(found: list[Any]) -> Counter[str]:
    return Counter(one.episode for one in found if isinstance(one, Step))


# What is read


def test_every_step_as_it_was_written(make: Make) -> None:
    source = make([episode(0, 3), episode(1, 1)])
    found = read(source)
    assert [(s.episode, s.step, s.steps, s.split) for s in found] == [
        ("train-00000-000000", 0, 3, "train"),
        ("train-00000-000000", 1, 3, "train"),
        ("train-00000-000000", 2, 3, "train"),
        ("train-00000-000001", 0, 1, "train"),
    ]
    written = episode(0, 3)
    raw = shard(source).read_bytes()
    for number, step in enumerate(found[:3]):
        np.testing.assert_array_equal(step.action, written["steps/action"][number])
        np.testing.assert_array_equal(step.state, written["steps/observation/state"][number])
        assert step.action.dtype == step.state.dtype == np.float32
        assert step.instruction == "lift block 0"
        assert (step.is_first, step.is_last, step.is_terminal) == (number == 0, number == 2, number == 2)
        assert [image.camera for image in step.images] == ["image_0", "image_1"]
        for camera, image in enumerate(step.images):
            assert image.place is not None
            path, offset, length = image.place
            assert path == str(shard(source))
            assert bytes(image.data) == raw[offset : offset + length] == JPEG % (number, b"%d" % camera)


def test_flags_never_set_are_derived_but_a_terminal_is_not(make: Make) -> None:
    never = {f"steps/{name}": [False] * 3 for name in ("is_first", "is_last", "is_terminal")}
    found = read(make([episode(0, **never)]))
    assert [s.is_first for s in found] == [True, False, False]
    assert [s.is_last for s in found] == [False, False, True]
    assert not any(s.is_terminal for s in found)


def test_flags_that_are_not_there_at_all(make: Make) -> None:
    leaves = tuple(leaf for leaf in LEAVES if "/is_" not in leaf.key)
    found = read(make(1, leaves))
    assert [(s.is_first, s.is_last, s.is_terminal) for s in found] == [
        (True, False, False),
        (False, False, False),
        (False, True, False),
    ]


def test_splits_and_shards_name_the_episodes(tmp_path: Path) -> None:
    splits = {"train": [[episode(0)], [episode(1), episode(2)]], "val": [[episode(3)]]}
    root = write_dataset(tmp_path, "toy", LEAVES, splits)
    source = RLDS(path=str(root), action_space="widowx_bridge")
    names = list(episodes_of(read(source)))
    assert names == ["train-00000-000000", "train-00001-000000", "train-00001-000001", "val-00000-000000"]
    assert all(re.fullmatch(r"[A-Za-z0-9_-]+", name) for name in names)
    only = source.model_copy(update={"splits": ("val",)})
    assert list(episodes_of(read(only))) == ["val-00000-000000"]
    assert [Path(path).name for path in only.files()] == ["dataset_info.json", "features.json", "toy-val.tfrecord-00000-of-00001"]
    with pytest.raises(UsageError, match=r"no split `test`.*there is train, val"):
        source.model_copy(update={"splits": ("test",)}).units()


def test_long_names_of_splits_are_cut_in_keys(tmp_path: Path) -> None:
    """Rows of a mixture have names in a tar, which has 100 bytes for each."""
    names = ("a" * 64, "a" * 63 + "b")
    root = write_dataset(tmp_path, "toy", LEAVES, {name: [[episode(0)]] for name in names})
    found = read(RLDS(path=str(root), action_space="any"))
    assert {step.split for step in found} == set(names)
    assert len({step.episode for step in found}) == 2
    assert max(len(step.episode) for step in found) <= 40


@pytest.mark.parametrize("name", ["odd.name", "../up", "a" * 65])
def test_splits_that_no_recipe_can_name(tmp_path: Path, name: str) -> None:
    root = write_dataset(tmp_path, "toy", LEAVES, {"train": [[episode(0)]]})
    info = json.loads((root / "dataset_info.json").read_text())
    info["splits"].append({"name": name})
    (root / "dataset_info.json").write_text(json.dumps(info))
    source = RLDS(path=str(root), action_space="any")
    with pytest.raises(UsageError, match="name the others in `splits`"):
        source.units()
    assert len(source.model_copy(update={"splits": ("train",)}).units()) == 1


def test_units_are_ranges_of_whole_records(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    source = make(11)
    expected = [(s.episode, s.step, s.action.tobytes()) for s in read(source)]
    for limit in (1, 700, 2000, 10**9):
        monkeypatch.setattr(read_units, "UNIT_BYTES", limit)
        units = source.units()
        assert [unit.index for unit in units] == list(range(len(units)))
        assert (units[0].start, units[-1].stop) == (0, shard(source).stat().st_size)
        assert all(one.stop == two.start for one, two in pairwise(units))
        assert sum(unit.bytes for unit in units) == shard(source).stat().st_size
        found = [(s.episode, s.step, s.action.tobytes()) for unit in units for s in source.read(unit) if isinstance(s, Step)]
        assert found == expected
    assert len(units) == 1


def many_files(root: Path, files: int) -> RLDS:
    path = write_dataset(root, "many", LEAVES, {"train": [[episode(n)] for n in range(files)]})
    return RLDS(path=str(path), action_space="widowx_bridge")


def test_small_files_are_read_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = many_files(tmp_path, 12)
    shards = [path for path in source.files() if "tfrecord" in path]
    whole, *rest = source.units()
    assert not rest
    assert [part.path for part in whole.each] == shards
    alone = [found for part in whole.each for found in source.read(part)]
    assert list(map(_plain, source.read(whole))) == list(map(_plain, alone))
    monkeypatch.setattr(read_units, "UNIT_BYTES", 3 * Path(shards[0]).stat().st_size + 200)
    few = source.units()
    assert 3 <= len(few) <= 6
    assert [unit.index for unit in few] == list(range(len(few)))
    assert [part.path for unit in few for part in unit.each] == shards
    pieces = source.pieces(whole, 1)
    assert [piece.path for piece in pieces] == shards


def test_a_damaged_file_among_small_ones_loses_its_own_records_only(tmp_path: Path) -> None:
    source = many_files(tmp_path, 4)
    shards = [path for path in source.files() if "tfrecord" in path]
    content = bytearray(Path(shards[2]).read_bytes())
    content[40] ^= 1
    Path(shards[2]).write_bytes(content)
    (unit,) = source.units()
    found = list(source.read(unit))
    (reject,) = [each for each in found if isinstance(each, Reject)]
    assert (reject.reason, shards[2] in reject.where) == ("bad_crc", True)
    assert {each.episode for each in found if isinstance(each, Step)} == {f"train-{n:05d}-000000" for n in (0, 1, 3)}


def test_a_directory_is_parsed_once_and_again_where_it_changes(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    source = make(3)
    parsed: list[Path] = []
    monkeypatch.setattr(directory, "_read_json", lambda path, real=directory._read_json: parsed.append(path) or real(path))
    read(source)
    source.files()
    assert len(parsed) <= 2
    info = Path(source.path) / directory.INFO
    info.write_text(info.read_text().replace('"3"', '"4"'))
    with pytest.raises(DataError, match="expected 4 records, found 3"):
        source.units()


def _plain(found: Any) -> Any:
    return (found.episode, found.step, found.action.tobytes()) if isinstance(found, Step) else found


def test_a_source_travels_to_a_worker(make: Make) -> None:
    source = make(2, cameras={"front": "observation/image_1"}, action=["action"])
    twin = pickle.loads(pickle.dumps(source))
    assert twin == source
    assert len(read(twin)) == 6
    assert json.loads(json.dumps(source.prepare_settings()))["action"] == ["action"]


def test_steps_do_not_hold_the_file_in_memory(make: Make) -> None:
    big = {"steps/observation/image_0": [os.urandom(200_000)] * 3}
    source = make([episode(n, **big) for n in range(30)])
    tracemalloc.start()
    kept = [(step.action, step.state) for step in read_lazily(source)]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(kept) == 90
    assert peak < 6 << 20


def read_lazily(source: RLDS) -> Any:
    return (found for unit in source.units() for found in source.read(unit))


# Choosing features

GOOGLE = (
    Leaf("steps/action/base_displacement_vector", "tensor", "float32", (2,)),
    Leaf("steps/action/gripper_closedness_action", "tensor", "float32", (1,)),
    Leaf("steps/action/open_gripper", "scalar", "bool"),
    Leaf("steps/action/rotation_delta", "tensor", "float32", (3,)),
    Leaf("steps/action/terminate_episode", "tensor", "int32", (3,)),
    Leaf("steps/action/world_vector", "tensor", "float32", (3,)),
    Leaf("steps/is_last", "scalar", "bool"),
    Leaf("steps/observation/image", "image", "uint8", (256, 320, 3), "jpeg"),
    Leaf("steps/observation/natural_language_instruction", "text", "string"),
)


def google(**changed: Any) -> dict[str, Any]:
    return {
        "steps/action/base_displacement_vector": np.zeros((3, 2)),
        "steps/action/gripper_closedness_action": [[0.5], [0.0], [-1.0]],
        "steps/action/open_gripper": [True, False, True],
        "steps/action/rotation_delta": np.full((3, 3), 0.25),
        "steps/action/terminate_episode": [[0, 1, 0], [0, 0, 1], [1, 0, 0]],
        "steps/action/world_vector": [[1, 2, 3], [4, 5, 6], [7, 8, 9]],
        "steps/is_last": [False, False, True],
        "steps/observation/image": [b"\xff\xd8\xff"] * 3,
        "steps/observation/natural_language_instruction": ["pick rxbar"] * 3,
        **changed,
    }


def test_an_action_of_several_parts_is_joined_in_the_order_named(make: Make) -> None:
    parts = ["world_vector", "rotation_delta", "gripper_closedness_action", "open_gripper", "terminate_episode"]
    found = read(make([google()], GOOGLE, action=[f"action/{part}" for part in parts]))
    assert [step.action.tolist() for step in found] == [
        [1, 2, 3, 0.25, 0.25, 0.25, 0.5, 1, 1],
        [4, 5, 6, 0.25, 0.25, 0.25, 0.0, 0, 2],
        [7, 8, 9, 0.25, 0.25, 0.25, -1, 1, 0],
    ]
    assert found[0].instruction == "pick rxbar"
    assert found[0].state is None


def test_a_mode_that_is_none_of_the_three_is_not_a_number(make: Make) -> None:
    odd = google(**{"steps/action/terminate_episode": [[0, 0, 0], [1, 1, 0], [0, 1, 0]]})
    found = read(make([odd], GOOGLE, action="action/terminate_episode"))
    assert [str(step.action[0]) for step in found] == ["nan", "nan", "1.0"]


def test_language_table_words_are_bytes_in_integers(make: Make) -> None:
    leaves = (
        Leaf("steps/action", "tensor", "float32", (2,)),
        Leaf("steps/observation/instruction", "tensor", "int32", (64,)),
        Leaf("steps/observation/rgb", "image", "uint8", (180, 320, 3), "jpeg"),
    )
    words = np.frombuffer("slide the rød cube".encode().ljust(64, b"\0"), np.uint8)
    values = {
        "steps/action": np.zeros((2, 2)),
        "steps/observation/instruction": [words] * 2,
        "steps/observation/rgb": [b"\xff\xd8\xff"] * 2,
    }
    assert [step.instruction for step in read(make([values], leaves))] == ["slide the rød cube"] * 2


def test_pictures_stored_otherwise(make: Make) -> None:
    """Raw tensors are pixels; strings and tensors of any length that are stored as bytes are files."""
    pixels = np.random.default_rng(0).integers(0, 256, (2, 16, 20, 3), dtype=np.uint8)
    leaves = (
        Leaf("steps/action", "tensor", "float32", (2,)),
        Leaf("steps/observation/encoded", "text", "string"),
        Leaf("steps/observation/raw", "tensor", "uint8", (16, 20, 3)),
        Leaf("steps/observation/rawer", "tensor", "uint8", (16, 20, 3), "bytes"),
        Leaf("steps/observation/words", "text", "string"),
    )
    values = {
        "steps/action": np.zeros((2, 2)),
        "steps/observation/encoded": [b"\xff\xd8\xff one", b"\xff\xd8\xff two"],
        "steps/observation/raw": pixels,
        "steps/observation/rawer": pixels,
        "steps/observation/words": ["go"] * 2,
    }
    source = make([values], leaves, instruction="observation/words")
    assert [image.camera for image in read(source)[0].images] == ["raw", "rawer"]
    for number, step in enumerate(read(source)):
        for image in step.images:
            np.testing.assert_array_equal(image.data, pixels[number])
            assert image.place is None
    named = source.model_copy(update={"cameras": {"front": "observation/encoded"}})
    assert bytes(read(named)[1].images[0].data) == b"\xff\xd8\xff two"
    shutil.rmtree(Path(source.path).parent)
    found = read(make([values], tuple(leaf for leaf in leaves if "raw" not in leaf.key)))
    assert [(image.camera, image.place is not None) for image in found[0].images] == [("encoded", True)]


def test_cameras_in_colour_come_before_grey_ones_and_depth(make: Make) -> None:
    extra = (
        Leaf("steps/observation/depth", "image", "uint16", (64, 64, 1), "png"),
        Leaf("steps/observation/depth_8", "image", "uint8", (64, 64, 1), "png"),
    )
    values = episode(0, **{leaf.key: [b"x"] * 3 for leaf in extra})
    assert make([values], (*LEAVES, *extra)).describe()["guesses"]["cameras"].keys() == {"image_0", "image_1"}


def test_cameras_of_the_same_name_take_their_whole_path(make: Make) -> None:
    leaves = (LEAVES[1], *(Leaf(f"steps/observation/{side}/rgb", "image", "uint8", (64, 64, 3)) for side in ("left", "right")))
    values = episode(0, **{leaf.key: [b"\xff\xd8\xff"] * 3 for leaf in leaves[1:]})
    assert [image.camera for image in read(make([values], leaves))[0].images] == ["left_rgb", "right_rgb"]


def test_an_instruction_of_the_whole_episode(make: Make) -> None:
    assert {step.instruction for step in read(make(1, instruction="episode_metadata/file_path"))} == {"raw/0"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"action": "actoin"}, r"no feature `actoin` \[there is .*language_instruction.*\] -> did you mean action\?"),
        ({"action": "observation"}, r"`observation` is a group of features \[there is observation/image_0, .*name its parts"),
        ({"action": "language_instruction"}, "does not hold numbers"),
        ({"state": ["observation/state", "observation/stat"]}, r"did you mean observation/state\?"),
        ({"instruction": "action"}, "does not hold words"),
        ({"cameras": {"front": "observation/state"}}, "does not hold 8-bit images"),
        ({"cameras": {"front": "observation/image_9"}}, r"did you mean observation/image_"),
        ({"action": "episode_metadata/file_path"}, "does not hold numbers"),
    ],
)
def test_features_that_are_not_there_or_of_another_kind(make: Make, settings: dict[str, Any], message: str) -> None:
    source = make(1, **settings)
    with pytest.raises(UsageError, match=message):
        source.units()


def test_no_steps_no_action_no_pictures(make: Make, tmp_path: Path) -> None:
    for number, (leaves, message) in enumerate(
        [
            ((LEAVES[0],), "it has no `steps`"),
            ((LEAVES[6],), "no feature `action`"),
            ((LEAVES[1],), "no images under steps/observation"),
            (GOOGLE, r"`action` is a group of features \[there is action/base_displacement_vector"),
        ]
    ):
        values = google() if leaves is GOOGLE else episode(0)
        root = write_dataset(tmp_path, f"toy{number}", leaves, {"train": [[values]]})
        with pytest.raises(UsageError, match=message):
            RLDS(path=str(root), action_space="widowx_bridge").units()


def test_settings_take_one_path_or_a_list_and_nothing_else() -> None:
    one = RLDS(path="x", action_space="widowx_bridge", action="action", splits="train")
    assert (one.action, one.splits) == (("action",), ("train",))
    assert RLDS(path="x", action_space="widowx_bridge", action=["a", "b"]).action == ("a", "b")
    for wrong in (3, [], [3], ""):
        with pytest.raises(ValueError, match="action"):
            RLDS(path="x", action_space="widowx_bridge", action=wrong)
    assert RLDS.model_validate_json(one.model_dump_json()) == one
    assert {"type": "string"}.items() <= RLDS.model_json_schema()["properties"]["action"]["anyOf"][0].items()


# Damage

EPISODES = 200


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of 200 episodes of one step."""
    folder = tmp_path_factory.mktemp("many")
    return write_dataset(folder, "toy", LEAVES, {"train": [[episode(n, 1) for n in range(EPISODES)]]})


@pytest.fixture
def copy(many: Path, tmp_path: Path) -> RLDS:
    shutil.copytree(many, tmp_path / "copy")
    return RLDS(path=str(tmp_path / "copy"), action_space="widowx_bridge")


def damage(path: Path, at: int, mask: int = 0xFF) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ mask]))


def test_cut_inside_a_record(copy: RLDS) -> None:
    span = scan(str(shard(copy))).spans[150]
    os.truncate(shard(copy), span.offset + 100)
    with pytest.raises(
        DataError, match=rf"the file is cut inside a record of {span.length} bytes \[.*-00000-of-00001, byte {span.offset}\]"
    ):
        copy.units()


def test_cut_between_records(copy: RLDS) -> None:
    os.truncate(shard(copy), scan(str(shard(copy))).spans[100].offset)
    with pytest.raises(DataError, match=r"expected 200 records, found 100 \[.*toy-train"):
        copy.units()


def test_cut_inside_a_length_header(copy: RLDS) -> None:
    edge = scan(str(shard(copy))).spans[100].offset
    os.truncate(shard(copy), edge + 5)
    with pytest.raises(DataError, match=rf"cut inside the header of a record \[.*byte {edge}\]"):
        copy.units()


def test_flipped_payload_byte(copy: RLDS) -> None:
    span = scan(str(shard(copy))).spans[121]
    damage(shard(copy), span.offset + HEADER + 50)
    found = read(copy)
    (reject,) = [one for one in found if isinstance(one, Reject)]
    assert (reject.reason, reject.count, reject.fault) == ("bad_crc", 1, True)
    assert reject.where == f"{shard(copy)}, byte {span.offset}"
    assert episodes_of(found).keys() == {f"train-00000-{n:06d}" for n in range(EPISODES) if n != 121}


@pytest.mark.parametrize("byte", [0, 5, 7, 9])
def test_flipped_header_byte(copy: RLDS, byte: int) -> None:
    span = scan(str(shard(copy))).spans[121]
    damage(shard(copy), span.offset + byte)
    tracemalloc.start()
    found = read(copy)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    (reject,) = [one for one in found if isinstance(one, Reject)]
    assert (reject.reason, reject.count, reject.where) == ("bad_length", 1, f"{shard(copy)}, byte {span.offset}")
    assert episodes_of(found).keys() == {f"train-00000-{n:06d}" for n in range(EPISODES) if n != 121}
    assert peak < 64 << 20


def test_records_lost_in_one_gap_are_counted_from_dataset_info(copy: RLDS) -> None:
    """Three headers in a row are gone: one gap in the file, three episodes short."""
    spans = scan(str(shard(copy))).spans
    for span in spans[121:124]:
        damage(shard(copy), span.offset)
    found = read(copy)
    assert [(one.reason, one.count) for one in found if isinstance(one, Reject)] == [("bad_length", 1), ("bad_length", 2)]
    assert len(episodes_of(found)) == EPISODES - 3


def test_damage_of_every_kind_at_once_adds_up(copy: RLDS) -> None:
    spans = scan(str(shard(copy))).spans
    damage(shard(copy), spans[30].offset + HEADER + 3)
    damage(shard(copy), spans[60].offset + 6)
    damage(shard(copy), spans[61].offset + HEADER + 3)
    damage(shard(copy), spans[-1].offset)
    found = read(copy)
    lost = sum(one.count for one in found if isinstance(one, Reject))
    assert (len(episodes_of(found)), lost) == (EPISODES - 4, 4)


def test_a_forged_length_beyond_the_file(copy: RLDS) -> None:
    span = scan(str(shard(copy))).spans[121]
    length = struct.pack("<Q", 1 << 50)
    with shard(copy).open("r+b") as file:
        file.seek(span.offset)
        file.write(length + struct.pack("<I", masked_crc(length)))
    with pytest.raises(DataError, match=rf"cut inside a record of {1 << 50} bytes .*byte {span.offset}"):
        copy.units()


def test_more_records_than_declared(copy: RLDS) -> None:
    with shard(copy).open("ab") as file:
        file.write(frame(encode_episode(LEAVES, episode(0, 1))))
    with pytest.raises(DataError, match="expected 200 records, found 201"):
        copy.units()
    damage(shard(copy), scan(str(shard(copy))).spans[5].offset)
    with shard(copy).open("ab") as file:
        file.write(frame(encode_episode(LEAVES, episode(0, 1))))
    with pytest.raises(DataError, match="expected 200 records, found 201"):
        read(copy)


def test_a_missing_shard_is_named(make: Make) -> None:
    source = make(2)
    path = shard(source)
    path.unlink()
    for look in (source.files, source.units):
        with pytest.raises(DataError, match=rf"a shard is missing \[{path}\]"):
            look()


def test_a_dataset_without_episodes(make: Make) -> None:
    with pytest.raises(DataError, match="there are no episodes"):
        make([]).units()


def test_a_compressed_file_gives_pictures_without_places(make: Make) -> None:
    source = make(5)
    expected = read(source)
    packed = gzip.compress(shard(source).read_bytes())
    shard(source).write_bytes(packed)
    (unit,) = source.units()
    assert unit.bytes == len(packed)
    found = list(source.read(unit))
    assert [(s.episode, s.step, s.action.tobytes()) for s in found] == [(s.episode, s.step, s.action.tobytes()) for s in expected]
    for one, two in zip(found, expected, strict=True):
        assert [bytes(image.data) for image in one.images] == [bytes(image.data) for image in two.images]
        assert all(image.place is None for image in one.images)


# Episodes that are not what features.json says


def raw_source(make: Make, records: list[bytes]) -> RLDS:
    """A dataset of records written by hand."""
    source = make(len(records))
    shard(source).write_bytes(b"".join(map(frame, records)))
    return source


def encoded(values: Episode, **leaves: Leaf) -> bytes:
    """A record of these values, some leaves declared otherwise, where values are missing left out."""
    chosen = [leaves.get(leaf.name, leaf) for leaf in LEAVES if leaf.key in values]
    return encode_example({leaf.key: pack(leaf, values[leaf.key] if leaf.per_step else [values[leaf.key]]) for leaf in chosen})


GOOD = encoded(episode(0))


def test_a_record_that_is_no_example(make: Make) -> None:
    source = raw_source(make, [GOOD, b"\x0a\xff\xff", GOOD])
    assert rejects(source) == [("malformed_example", 1)]
    assert list(episodes_of(read(source))) == ["train-00000-000000", "train-00000-000002"]


@pytest.mark.parametrize("values", [{key: value[:0] for key, value in episode(0).items()}, {"episode_metadata/file_path": "x"}])
def test_an_empty_episode(make: Make, values: dict[str, Any]) -> None:
    assert rejects(raw_source(make, [GOOD, encoded(values)])) == [("empty_episode", 1)]


@pytest.mark.parametrize("key", ["steps/observation/image_1", "steps/is_last", "steps/language_instruction"])
def test_features_of_different_lengths(make: Make, key: str) -> None:
    short = episode(0)
    short[key] = short[key][:2]
    source = raw_source(make, [encoded(short), GOOD])
    (reject,) = [one for one in read(source) if isinstance(one, Reject)]
    assert (reject.reason, reject.count) == ("ragged_episode", 3)
    assert "episode train-00000-000000" in reject.where
    assert len(episodes_of(read(source))) == 1


@pytest.mark.parametrize("key", ["steps/action", "steps/observation/state"])
def test_numbers_that_are_not_as_many_as_declared(make: Make, key: str) -> None:
    """The total is known to be wrong, the step is not: values are stored without edges between steps."""
    name, width = key.rpartition("/")[2], 7 if key.endswith("action") else 8
    short = episode(0, **{key: np.zeros((3, width - 1))})
    narrow = Leaf(key, "tensor", "float32", (width - 1,))
    source = raw_source(make, [GOOD, encoded(short, **{name: narrow})])
    (reject,) = [one for one in read(source) if isinstance(one, Reject)]
    assert (reject.reason, reject.count, reject.fault) == ("ragged_episode", 3, True)
    assert "episode train-00000-000001" in reject.where and f"{key} holds {3 * width - 3} values" in reject.detail
    assert list(episodes_of(read(source))) == ["train-00000-000000"]
    fewer = episode(0, **{key: np.zeros((2, width))})
    assert rejects(replace_shard(source, [GOOD, encoded(fewer)])) == [("ragged_episode", 3)]
    missing = {leaf_key: value for leaf_key, value in episode(0).items() if leaf_key != key}
    assert rejects(replace_shard(source, [GOOD, encoded(missing)])) == [("ragged_episode", 3)]


def replace_shard(source: RLDS, records: list[bytes]) -> RLDS:
    shard(source).write_bytes(b"".join(map(frame, records)))
    return source


def test_an_action_of_another_type_is_taken_where_nothing_is_lost(make: Make) -> None:
    whole, stored = np.arange(21).reshape(3, 7), Leaf("steps/action", "tensor", "int64", (7,))
    source = raw_source(make, [encoded(episode(0, **{"steps/action": whole}), action=stored)])
    assert [step.action.tolist() for step in read(source)] == whole.tolist()
    large = encoded(episode(0, **{"steps/action": whole + 2**24}), action=stored)
    assert rejects(replace_shard(source, [large])) == [("ragged_episode", 3)]
    words = encoded(episode(0, **{"steps/action": [b"x"] * 3}), action=Leaf("steps/action", "text", "string"))
    assert rejects(replace_shard(source, [words])) == [("ragged_episode", 3)]


def test_an_action_stored_as_bytes_names_the_wrong_step(make: Make) -> None:
    stored = Leaf("steps/action", "tensor", "float64", (7,), "bytes")
    leaves = tuple(stored if leaf.name == "action" else leaf for leaf in LEAVES)
    source = make(1, leaves)
    np.testing.assert_allclose(read(source)[0].action, episode(0)["steps/action"][0])
    wrong = {
        **{leaf.key: pack(leaf, episode(0)[leaf.key]) for leaf in leaves[1:]},
        "steps/action": [bytes(56), bytes(56), bytes(48)],
    }
    (reject,) = read(replace_shard(source, [encode_example(wrong)]))
    assert (reject.reason, reject.count) == ("ragged_episode", 3)
    assert reject.detail == "steps/action holds 48 bytes instead of 56, step 2"


# Marks of success


def marked(make: Make, leaf: Leaf, *values: Any) -> list[list[bool | None]]:
    """`success` of the steps of each episode."""
    source = make([episode(n, **{leaf.key: value}) for n, value in enumerate(values)], (*LEAVES, leaf))
    found = [step for step in read(source) if isinstance(step, Step)]
    return [[step.success for step in found if step.episode.endswith(f"{n:06d}")] for n in range(len(values))]


def test_a_mark_of_the_whole_episode_stands_at_its_last_step(make: Make) -> None:
    leaf = Leaf("episode_metadata/success", "scalar", "bool")
    assert marked(make, leaf, True, False) == [[None, None, True], [None, None, False]]


def test_a_mark_of_each_step(make: Make) -> None:
    assert marked(make, Leaf("steps/is_success", "scalar", "bool"), [False, True, False]) == [[False, True, False]]


def test_google_robots_success_counts_only_where_somebody_looked(make: Make) -> None:
    leaves = tuple(Leaf(f"aspects/{name}", "scalar", "bool") for name in ("has_aspects", "success"))
    looked = [{"aspects/has_aspects": has, "aspects/success": won} for has, won in ((True, True), (True, False), (False, False))]
    source = make([episode(n, 1, **values) for n, values in enumerate(looked)], (*LEAVES, *leaves))
    assert [step.success for step in read(source)] == [True, False, None]


def test_a_mark_that_is_named_and_a_reward(make: Make) -> None:
    leaves = (*LEAVES, Leaf("steps/reward", "scalar", "float32"), Leaf("won", "scalar", "int32"))
    source = make([episode(0, won=1, **{"steps/reward": [0.0, 0.5, 1.0]})], leaves, success="won")
    assert [(step.success, step.reward) for step in read(source)] == [(None, 0.0), (None, 0.5), (True, 1.0)]
    with pytest.raises(UsageError, match="one flag for each step or episode"):
        source.model_copy(update={"success": "action"}).units()


# Words and numbers


def test_words_that_are_no_utf8(make: Make) -> None:
    source = raw_source(make, [encoded(episode(0, **{"steps/language_instruction": [b"ok", b"\xc3", b"ok"]})), GOOD])
    assert rejects(source) == [("bad_text", 3)]
    assert list(episodes_of(read(source))) == ["train-00000-000001"]


def test_not_a_number_is_left_for_standardizing(make: Make) -> None:
    odd = episode(0)
    odd["steps/action"][1, 2] = np.nan
    assert np.isnan(read(make([odd]))[1].action[2])


# Describing


def test_describe_says_what_is_there(make: Make) -> None:
    found = make(3, holdout="10%").describe()
    assert (found["name"], found["version"]) == ("toy", "1.0.0")
    assert found["splits"]["train"] | {"bytes": 0} == {"episodes": 3, "shards": 1, "missing_shards": 0, "bytes": 0}
    assert "action: tensor float32[7]" in found["features"]
    assert found["guesses"] == {
        "action": ["action"],
        "state": ["observation/state"],
        "instruction": "language_instruction",
        "cameras": {"image_0": "observation/image_0", "image_1": "observation/image_1"},
    }
    assert found["first_episode"] == {
        "episode": "train-00000-000000",
        "steps": 3,
        "instruction": "lift block 0",
        "action": 7,
        "state": 8,
        "cameras": ["image_0", "image_1"],
    }
    json.dumps(found)


def test_describe_goes_on_where_a_choice_is_still_open(make: Make) -> None:
    found = make([google()], GOOGLE).describe()
    assert found["guesses"]["action"] == []
    assert "`action` is a group of features" in found["first_episode"]["problem"]


def test_real_bridge_with_its_traps(shared_data: Path) -> None:
    source = RLDS(path=str(shared_data / "rlds_bridge"), action_space="widowx_bridge")
    found = read(source)
    assert len(found) == 130
    assert Counter(step.split for step in found) == {"train": 100, "val": 30}
    assert all(step.is_last == (step.step == 9) for step in found)
    assert not any(step.is_terminal for step in found)
    assert [image.camera for image in found[0].images] == ["image_0", "image_1", "image_2", "image_3"]
    assert all(bytes(image.data[:3]) == b"\xff\xd8\xff" for step in found for image in step.images)
    assert replace(found[0], images=()).instruction == "put cup from counter or drying rack into sink"


# Ranges and constants


def columns(source: RLDS) -> list[tuple[list[float], list[float]]]:
    """Actions and states as they are read."""
    return [(step.action.tolist(), step.state.tolist()) for step in read(source) if isinstance(step, Step)]


def test_ranges_of_features_and_constants(make: Make) -> None:
    action = ["observation/state[0:2]", "zero[2]", "action[-1:]", "one[1]", "is_last"]
    found = columns(make([episode(0, 3)], action=action, state=["action[5:]", "zero[1]", "observation/state[-3:-1]"]))
    written = episode(0, 3)
    grip, state = written["steps/action"], written["steps/observation/state"]
    for at, (actions, states) in enumerate(found):
        assert actions == [*state[at, :2].tolist(), 0, 0, grip[at, 6], 1, at == 2]
        assert states == [*grip[at, 5:].tolist(), 0, *state[at, 5:7].tolist()]


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("action[0:8]", r"does not hold the range action\[0:8\]"),
        ("action[-8:]", "does not hold the range"),
        ("action[7:]", "does not hold the range"),
        ("action[3:3]", "is an empty range"),
        ("action[-1:-2]", "is an empty range"),
        ("actoin[0:1]", "there is no feature `actoin`"),
        ("zero[0]", r"there is no feature `zero\[0\]`"),
    ],
)
def test_ranges_that_are_not_there(path: str, says: str, make: Make) -> None:
    source = make(action=path)
    with pytest.raises(UsageError, match=says):
        source.units()
    found = [(each.setting, each.message) for each in source.invalid_settings() if each.setting == ("action",)]
    assert len(found) == 1 and re.search(says, found[0][1])


def test_the_size_of_an_action_is_checked_behind_its_conversions(make: Make) -> None:
    assert list(make(action=["action[0:6]", "zero[1]"]).invalid_settings()) == []
    (short,) = make(action="action[0:6]").invalid_settings()
    assert (short.setting, short.message) == (("action_space",), "widowx_bridge has 7 numbers, and the action 6")
    turned = {"rule": "rotation", "dims": "3:7", "source": "quaternion_xyzw", "target": "rpy"}
    assert list(make(action=["action", "zero[1]"], conversions=(turned,)).invalid_settings()) == []
    (long,) = make(conversions=({"rule": "select", "dims": "0:3"},)).invalid_settings()
    assert long.message == "widowx_bridge has 7 numbers, and the action 3 after its conversions"
    (absent,) = make(conversions=({"rule": "negate", "dims": "grip"},)).invalid_settings()
    assert absent.setting == ("conversions",) and "names dimension grip, and there are 7, called x, y, z" in absent.message


def test_a_one_hot_mode_counts_as_one_number(make: Make) -> None:
    whole = ["terminate_episode", "world_vector", "rotation_delta", "gripper_closedness_action"]
    source = make([google()], GOOGLE, action=[f"action/{part}" for part in whole])
    assert list(RLDS(path=source.path, action=source.action, action_space="google_robot").invalid_settings()) == []
