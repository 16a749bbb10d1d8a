"""features.json and dataset_info.json both ways, the columns their leaves describe, and version directories."""

from __future__ import annotations

import gzip
import json
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rt2data.errors import DataError, UsageError
from rt2data.io.tfrecord.columns import ColumnError, TextError, frames, numbers, pack, texts
from rt2data.io.tfrecord.directory import INFO, TEMPLATE, encode_info, find_version, open_directory, shard_name
from rt2data.io.tfrecord.example import Feature, decode_example, encode_example
from rt2data.io.tfrecord.features import Leaf, decode_features, encode_features
from rt2data.io.tfrecord.framing import FrameFault, frame
from rt2data.io.tfrecord.reading import is_gzipped, read_gzipped, scan_gzipped
from rt2data.io.tfrecord.wire import MalformedError
from rt2data.read.rlds.source import open_dataset
from tests.laws import tries
from tests.tfds_writing import write_dataset

LEAVES = (
    Leaf("episode_metadata/file_path", "text", "string"),
    Leaf("steps/action", "tensor", "float32", (2,)),
    Leaf("steps/is_last", "scalar", "bool"),
    Leaf("steps/language_instruction", "text", "string"),
    Leaf("steps/observation/arm/pose", "tensor", "float64", (2, 3), "zlib"),
    Leaf("steps/observation/image", "image", "uint8", (None, None, 3), "png"),
)

# features.json

LEAF = st.builds(
    lambda path, leaf: Leaf("/".join(path), *leaf),
    st.lists(st.from_regex(r"[a-z_]{1,8}", fullmatch=True), min_size=1, max_size=3),
    st.one_of(
        st.just(("text", "string")),
        st.tuples(st.just("scalar"), st.sampled_from(["bool", "int32", "float32"])),
        st.tuples(
            st.just("tensor"),
            st.sampled_from(["uint8", "float64"]),
            st.lists(st.integers(1, 9), min_size=1, max_size=3).map(tuple),
            st.sampled_from(["none", "bytes", "zlib"]),
        ),
        st.tuples(st.just("image"), st.just("uint8"), st.just((None, 4, 3)), st.sampled_from(["", "jpeg", "png"])),
    ),
)


def as_tree(leaves: list[Leaf]) -> list[Leaf]:
    """Those leaves that can be in one tree: no path is another's, or goes through it."""
    kept: list[Leaf] = []
    for leaf in leaves:
        if not any(f"{one.key}/".startswith(f"{leaf.key}/") or f"{leaf.key}/".startswith(f"{one.key}/") for one in kept):
            kept.append(leaf)
    return kept


@given(st.lists(LEAF, max_size=8).map(as_tree), st.booleans())
@tries(100)
def test_decode_inverts_encode(leaves: list[Leaf], in_steps: bool) -> None:
    if in_steps:
        leaves = as_tree([Leaf(f"steps/{one.key}", one.kind, one.dtype, one.shape, one.encoding) for one in leaves])
    tree = json.loads(json.dumps(encode_features(leaves)))
    assert decode_features(tree) == tuple(sorted(leaves, key=lambda leaf: leaf.key))


def test_real_features_json(shared_data: Path) -> None:
    bridge = json.loads((shared_data / "rlds_bridge/bridge_dataset/1.0.0/features.json").read_text())
    by_key = {leaf.key: leaf for leaf in decode_features(bridge)}
    assert by_key["steps/action"] == Leaf("steps/action", "tensor", "float32", (7,))
    assert by_key["steps/observation/image_3"] == Leaf("steps/observation/image_3", "image", "uint8", (64, 64, 3), "jpeg")
    assert by_key["steps/is_last"] == Leaf("steps/is_last", "scalar", "bool")
    assert by_key["episode_metadata/file_path"] == Leaf("episode_metadata/file_path", "text", "string")
    assert len(by_key) == 20


CLASSES = "tensorflow_datasets.core.features"
TENSOR = {"shape": [2], "dtype": "float32", "encoding": "none"}


@pytest.mark.parametrize("inner", ["plain", "json", "text of json"])
def test_the_older_form_of_features_json(inner: str) -> None:
    """Class and content: settings as plain JSON, or as a protobuf message in JSON, or that in a string."""
    tensor: dict[str, Any] = {"type": f"{CLASSES}.feature.Tensor", "content": TENSOR}
    image = {"shape": [None, 64, 3], "dtype": "uint8", "encoding_format": "jpeg"}
    if inner != "plain":
        image = {"shape": {"dimensions": ["-1", "64", "3"]}, "dtype": "uint8", "encodingFormat": "jpeg"}
    children = {"action": tensor, "image": {"type": f"{CLASSES}.image_feature.Image", "content": image}}
    group: dict[str, Any] = {"type": f"{CLASSES}.features_dict.FeaturesDict", "content": children}
    if inner != "plain":
        content: Any = {"features": children}
        group |= {"proto_cls": "tensorflow_datasets.FeaturesDict", "content": json.dumps(content) if "text" in inner else content}
    steps = {"type": f"{CLASSES}.dataset_feature.Dataset", "content": {"feature": group, "length": None}}
    tree = {"type": f"{CLASSES}.features_dict.FeaturesDict", "content": {"steps": steps}}
    assert decode_features(tree) == (
        Leaf("steps/action", "tensor", "float32", (2,)),
        Leaf("steps/image", "image", "uint8", (None, 64, 3), "jpeg"),
    )


def test_what_cannot_be_a_column_is_named_not_dropped() -> None:
    ragged = {"sequence": {"feature": {"tensor": {"shape": {}, "dtype": "int32"}}}}
    group = {
        "featuresDict": {"features": {"boxes": ragged, "sound": {"pythonClassName": f"{CLASSES}.audio_feature.Audio", "audio": {}}}}
    }
    tree = {"featuresDict": {"features": {"steps": {"sequence": {"feature": group}}}}}
    boxes, sound = decode_features(tree)
    assert (boxes.kind, boxes.encoding) == ("other", "ragged")
    assert (sound.kind, sound.dtype) == ("other", "Audio")
    with pytest.raises(ValueError, match="cannot write"):
        encode_features([boxes])


@pytest.mark.parametrize(
    "tree", [[], 3, {"featuresDict": 1}, {"sequence": {}}, {"tensor": {"shape": {"dimensions": ["x"]}, "dtype": "f"}}]
)
def test_no_tree_of_features(tree: Any) -> None:
    with pytest.raises(DataError, match="not a tree of TFDS features"):
        decode_features(tree)


def test_a_tree_without_end_is_refused() -> None:
    tree: dict[str, Any] = {"text": {}}
    for _ in range(100):
        tree = {"featuresDict": {"features": {"a": tree}}}
    with pytest.raises(DataError, match="nested more than 32 deep"):
        decode_features(tree)


# Columns


def stored(leaf: Leaf, values: Any) -> Feature:
    return decode_example(memoryview(encode_example({leaf.key: pack(leaf, values)})))[leaf.key]


@pytest.mark.parametrize("encoding", ["none", "bytes", "zlib"])
@pytest.mark.parametrize("dtype", ["bool", "uint8", "int8", "int32", "int64", "uint64", "float16", "float32", "float64"])
def test_numbers_invert_pack(dtype: str, encoding: str) -> None:
    leaf = Leaf("steps/x", "tensor", dtype, (2, 3), encoding)
    random = np.random.default_rng(1)
    bits = random.integers(0, 2**63, (5, 2, 3)) if np.dtype(dtype).kind != "f" else random.normal(size=(5, 2, 3)).astype(np.float16)
    values = bits.astype(dtype)
    found = numbers(leaf, stored(leaf, values))
    assert found.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(found, values)


def test_scalars_have_one_number_a_step() -> None:
    leaf = Leaf("steps/reward", "scalar", "float32")
    assert numbers(leaf, stored(leaf, [0.5, 1.0])).tolist() == [0.5, 1.0]


def test_bfloat16_is_read_as_float32() -> None:
    values = np.array([1.0, -2.5, 3.0e38], np.float32)
    raw = (values.view(np.uint32) >> 16).astype("<u2")
    leaf = Leaf("steps/x", "tensor", "bfloat16", (3,), "bytes")
    feature = decode_example(memoryview(encode_example({"x": [raw.tobytes()]})))["x"]
    np.testing.assert_allclose(numbers(leaf, feature), values[None], rtol=2**-8)


def test_values_that_make_no_whole_steps() -> None:
    seven = Leaf("steps/action", "tensor", "float32", (7,))
    feature = stored(Leaf("steps/action", "tensor", "float32", (1,)), np.zeros((69, 1)))
    with pytest.raises(ColumnError, match="holds 69 values, which make no whole steps of 7"):
        numbers(seven, feature)
    halves = stored(Leaf("steps/action", "tensor", "float32", (1,)), np.full((70, 1), 0.5))
    with pytest.raises(MalformedError, match="holds float values that are no int32"):
        numbers(Leaf("steps/action", "tensor", "int32", (7,)), halves)


@pytest.mark.parametrize("encoding", ["bytes", "zlib"])
def test_raw_memory_of_the_wrong_size_is_found_at_its_step(encoding: str) -> None:
    leaf = Leaf("steps/x", "tensor", "float32", (2,), encoding)
    parts = [bytes(8), bytes(8), bytes(12)]
    values = [zlib.compress(part) for part in parts] if encoding == "zlib" else parts
    feature = decode_example(memoryview(encode_example({"x": values})))["x"]
    with pytest.raises(ColumnError, match="bytes instead of 8") as caught:
        numbers(leaf, feature)
    assert caught.value.step == 2


def test_a_compressed_bomb_is_not_inflated() -> None:
    leaf = Leaf("steps/x", "tensor", "uint8", (2,), "zlib")
    feature = decode_example(memoryview(encode_example({"x": [zlib.compress(bytes(50_000_000))]})))["x"]
    with pytest.raises(ColumnError, match="holds 3 bytes instead of 2"):
        numbers(leaf, feature)
    with pytest.raises(ColumnError, match="not compressed"):
        numbers(leaf, decode_example(memoryview(encode_example({"x": [b"no zlib"]})))["x"])


def test_texts_invert_pack_and_name_the_bad_step() -> None:
    leaf = Leaf("steps/language_instruction", "text", "string")
    words = ["pick", "把", "", "pick"]
    assert texts(leaf, stored(leaf, words)) == words
    with pytest.raises(TextError, match="not UTF-8") as caught:
        texts(leaf, stored(leaf, [b"fine", b"\xff\xfe"]))
    assert caught.value.step == 1


def test_integers_that_are_the_bytes_of_a_text() -> None:
    leaf = Leaf("steps/observation/instruction", "tensor", "int32", (12,))
    codes = [list("größe".encode().ljust(12, b"\0")), list(b"push".ljust(12, b"\0"))]
    assert texts(leaf, stored(leaf, codes)) == ["größe", "push"]
    with pytest.raises(TextError, match="no bytes"):
        texts(leaf, stored(leaf, [[300] * 12]))


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_raw_frames_are_in_colour_and_keep_their_alpha(channels: int) -> None:
    leaf = Leaf("steps/observation/image", "tensor", "uint8", (16, 20, channels))
    pixels = np.random.default_rng(0).integers(0, 256, (3, 16, 20, channels), dtype=np.uint8)
    found = frames(leaf, stored(leaf, pixels))
    assert (found.shape, found.dtype) == ((3, 16, 20, max(channels, 3)), np.uint8)
    np.testing.assert_array_equal(found, np.repeat(pixels, 3, axis=3) if channels == 1 else pixels)


def test_pack_refuses_another_shape() -> None:
    with pytest.raises(ColumnError, match=r"has shape \[2\], not \[3\]"):
        pack(LEAVES[1], np.zeros((4, 3)))


# Directories


def episode(steps: int, words: str = "go") -> dict[str, Any]:
    return {
        "episode_metadata/file_path": "raw/1",
        "steps/action": np.arange(steps * 2).reshape(steps, 2),
        "steps/is_last": [n == steps - 1 for n in range(steps)],
        "steps/language_instruction": [words] * steps,
        "steps/observation/arm/pose": np.ones((steps, 2, 3)),
        "steps/observation/image": [b"\x89PNG\r\n\x1a\n"] * steps,
    }


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_dataset(tmp_path, "toy", LEAVES, {"train": [[episode(3), episode(2)], [episode(4)]], "val": [[episode(1)]]})


def test_a_directory_says_what_was_written(root: Path) -> None:
    found = open_directory(str(root))
    assert (found.name, found.version, found.leaves) == ("toy", "1.0.0", LEAVES)
    assert {name: [shard.records for shard in shards] for name, shards in found.splits.items()} == {"train": [2, 1], "val": [1]}
    assert [Path(shard.path).name for shard in found.splits["train"]] == [
        "toy-train.tfrecord-00000-of-00002",
        "toy-train.tfrecord-00001-of-00002",
    ]
    assert all(Path(shard.path).is_file() for shards in found.splits.values() for shard in shards)


def test_the_directory_may_have_any_name(root: Path, tmp_path: Path) -> None:
    moved = root.parent.rename(tmp_path / "bridge_orig")
    assert open_directory(str(moved)).splits["val"][0].path == str(moved / "1.0.0" / "toy-val.tfrecord-00000-of-00001")


def test_found_from_above_when_it_is_the_only_one(root: Path, tmp_path: Path) -> None:
    assert find_version(str(root)) == find_version(str(root.parent)) == find_version(str(tmp_path)) == root
    (tmp_path / "toy" / "2.0.0.incompleteABC").mkdir()
    (tmp_path / "toy" / "2.0.0.incompleteABC" / INFO).write_text("{}")
    assert find_version(str(tmp_path)) == root
    (tmp_path / "toy" / "2.0.0").mkdir()
    (tmp_path / "toy" / "2.0.0" / INFO).write_text("{}")
    with pytest.raises(UsageError, match=r"2 TFDS versions are below: toy/1.0.0, toy/2.0.0"):
        find_version(str(tmp_path))


def test_no_directory_and_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="only local files"):
        find_version("hdfs://host/robot/1.0.0")
    with pytest.raises(UsageError, match="no such directory"):
        find_version(str(tmp_path / "nowhere"))
    with pytest.raises(UsageError, match="this is an empty folder"):
        open_dataset(str(tmp_path))
    (tmp_path / "notes.txt").touch()
    with pytest.raises(UsageError, match=r"no dataset_info\.json"):
        find_version(str(tmp_path))


def edit(root: Path, **changes: Any) -> None:
    info = json.loads((root / INFO).read_text())
    (root / INFO).write_text(json.dumps(info | changes))


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"{", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "has no name"),
        (b'{"name": "x", "splits": [3]}', "a split"),
    ],
)
def test_a_damaged_dataset_info(root: Path, content: bytes, match: str) -> None:
    (root / INFO).write_bytes(content)
    with pytest.raises(DataError, match=match):
        open_directory(str(root))


def test_other_file_formats_and_missing_features_are_refused(root: Path) -> None:
    edit(root, fileFormat="array_record")
    with pytest.raises(UsageError, match="stored as array_record"):
        open_directory(str(root))
    edit(root, fileFormat="tfrecord")
    (root / "features.json").unlink()
    with pytest.raises(UsageError, match=r"there is no features\.json"):
        open_directory(str(root))


def test_a_split_without_shards_is_empty(root: Path) -> None:
    edit(root, splits=[{"name": "test"}])
    assert open_directory(str(root)).splits == {"test": ()}


@pytest.mark.parametrize(
    ("template", "name"),
    [
        (TEMPLATE, "toy-train.tfrecord-00003-of-00012"),
        ("{SPLIT}/data.{FILEFORMAT}-{SHARD_INDEX}", "train/data.tfrecord-00003"),
        ("{DATASET}-{SPLIT}-{SHARD_INDEX}-of-{NUM_SHARDS}.{FILEFORMAT}", "toy-train-00003-of-00012.tfrecord"),
    ],
)
def test_file_name_templates(template: str, name: str) -> None:
    assert shard_name(template, "toy", "train", 3, 12) == name


def test_many_shards_take_more_digits() -> None:
    assert shard_name(TEMPLATE, "toy", "train", 7, 123456) == "toy-train.tfrecord-000007-of-123456"


@pytest.mark.parametrize("template", ["../{SPLIT}", "/etc/{SPLIT}", "{HOME}"])
def test_templates_that_lead_out_are_refused(root: Path, template: str) -> None:
    edit(root, splits=[{"name": "train", "shardLengths": ["1"], "filepathTemplate": template}])
    with pytest.raises(DataError, match="file name template"):
        open_directory(str(root))


def test_info_counts_records_and_bytes(root: Path) -> None:
    found = open_directory(str(root)).splits["train"]
    shards = [replace(shard, bytes=Path(shard.path).stat().st_size) for shard in found]
    (split,) = encode_info("toy", "1.0.0", {"train": shards})["splits"]
    assert split["shardLengths"] == ["2", "1"]
    assert int(split["numBytes"]) == sum(Path(shard.path).stat().st_size for shard in shards)


# Files compressed as a whole


def test_gzipped_files_are_known_and_read(tmp_path: Path) -> None:
    plain, packed = tmp_path / "plain", tmp_path / "packed"
    frames_ = [frame(bytes([n]) * 100 * n) for n in range(1, 6)]
    plain.write_bytes(b"".join(frames_))
    packed.write_bytes(gzip.compress(b"".join(frames_)))
    assert (is_gzipped(str(plain)), is_gzipped(str(packed))) == (False, True)
    assert [bytes(found[1]) for found in read_gzipped(str(packed)) if not isinstance(found, FrameFault)] == [
        bytes([n]) * 100 * n for n in range(1, 6)
    ]
    assert scan_gzipped(str(packed)).size == plain.stat().st_size


def test_a_record_whose_length_looks_like_gzip_is_no_gzip(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(frame(bytes(0x088B1F)))
    assert path.read_bytes()[:3] == b"\x1f\x8b\x08"
    assert not is_gzipped(str(path))


@pytest.mark.parametrize("damage", ["cut", "flip", "inner cut", "inner header", "inner length"])
def test_damaged_gzipped_files(tmp_path: Path, damage: str) -> None:
    inner = frame(b"a" * 500) + frame(b"b" * 500)
    inner = {"inner cut": inner[:-10], "inner header": inner[:5], "inner length": b"\xff" * 20}.get(damage, inner)
    packed = bytearray(gzip.compress(inner))
    if damage == "flip":
        packed[-20] ^= 0xFF
    path = tmp_path / "x"
    path.write_bytes(packed[:-12] if damage == "cut" else packed)
    with pytest.raises(DataError, match=r"cut|damaged"):
        scan_gzipped(str(path))
