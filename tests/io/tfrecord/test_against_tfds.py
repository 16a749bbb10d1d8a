"""TensorFlow and TFDS as oracles: they write, we read; we write, they read; on real data both read the same. Imports them once."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rt2data.io.tfrecord.columns import frames, numbers, texts
from rt2data.io.tfrecord.directory import open_directory
from rt2data.io.tfrecord.example import decode_example, encode_example
from rt2data.io.tfrecord.features import Leaf
from rt2data.io.tfrecord.framing import FrameFault, frame
from rt2data.io.tfrecord.reading import read_gzipped, read_records
from rt2data.read.rlds.source import RLDS
from rt2data.records import Step
from tests.laws import tries
from tests.packages import later
from tests.tfds_writing import write_dataset

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
tf, tfds = later("tensorflow"), later("tensorflow_datasets")
pytestmark = pytest.mark.long
logging.getLogger("absl").setLevel(logging.ERROR)


def read(path: Path, **settings: Any) -> list[Step]:
    source = RLDS(path=str(path), action_space="any", **settings)
    found = [one for unit in source.units() for one in source.read(unit)]
    assert all(isinstance(one, Step) for one in found)
    return [one for one in found if isinstance(one, Step)]


def oracle(path: Path, cameras: tuple[str, ...]) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """Every step of every episode of every split, pictures not decoded."""
    builder = tfds.builder_from_directory(str(path))
    skip = {"steps": {"observation": {camera: tfds.decode.SkipDecoding() for camera in cameras}}}
    for split in builder.info.splits:
        for number, episode in enumerate(builder.as_dataset(split=split, decoders=skip)):
            for step in tfds.as_numpy(episode["steps"]):
                yield split, number, step


@pytest.mark.parametrize(
    ("folder", "cameras"),
    [
        ("rlds_bridge/bridge_dataset/1.0.0", ("image_0", "image_1", "image_2", "image_3")),
        ("sim_quadrotor_rlds/sim_pyflyt_quad/1.0.0", ("image",)),
    ],
)
def test_real_data_reads_the_same(shared_data: Path, folder: str, cameras: tuple[str, ...]) -> None:
    ours = read(shared_data / folder)
    files = {Path(path): Path(path).read_bytes() for path in {i.place.path for s in ours for i in s.images if i.place}}
    theirs = list(oracle(shared_data / folder, cameras))
    assert len(ours) == len(theirs)
    for mine, (split, number, step) in zip(ours, theirs, strict=True):
        assert (mine.split, mine.episode) == (split, f"{split}-00000-{number:06d}")
        assert mine.action.tobytes() == step["action"].tobytes()
        assert mine.state is not None
        assert mine.state.tobytes() == step["observation"]["state"].tobytes()
        assert mine.instruction == step["language_instruction"].decode()
        assert mine.is_terminal == step["is_terminal"]
        for camera, image in zip(cameras, mine.images, strict=True):
            assert image.place is not None
            assert image.camera == camera
            assert bytes(image.data) == step["observation"][camera]
            path, offset, length = image.place
            assert files[Path(path)][offset : offset + length] == step["observation"][camera]


# They write, we read

STEPS = 5
RANDOM = np.random.default_rng(7)
ODD: dict[str, Any] = {
    "observation": {
        "png": RANDOM.integers(0, 256, (STEPS, 12, 16, 3), dtype=np.uint8),
        "raw": RANDOM.integers(0, 256, (STEPS, 24, 20, 3), dtype=np.uint8),
        "raw_bytes": RANDOM.integers(0, 256, (STEPS, 24, 20, 3), dtype=np.uint8),
        "encoded": [b"\xff\xd8\xff %d" % n for n in range(STEPS)],
        "state": RANDOM.normal(size=(STEPS, 2, 3)),
        "zipped": RANDOM.integers(-(2**31), 2**31, (STEPS, 4), dtype=np.int32),
        "counter": RANDOM.integers(0, 2**64, (STEPS,), dtype=np.uint64),
        "small": RANDOM.integers(-128, 128, (STEPS, 3), dtype=np.int8),
        "half": RANDOM.normal(size=(STEPS, 2)).astype(np.float16),
        "brain": RANDOM.normal(size=(STEPS, 2)).astype(np.float32),
        "mask": RANDOM.integers(0, 2, (STEPS, 4)).astype(bool),
    },
    "action": {
        "world_vector": RANDOM.normal(size=(STEPS, 3)).astype(np.float32),
        "gripper": np.array([True, False, True, True, False]),
        "terminate_episode": np.eye(3, dtype=np.int32)[[1, 1, 2, 1, 0]],
    },
    "label": ["a", "b", "a", "a", "b"],
    "language_instruction": ["pick the größe"] * STEPS,
    "is_first": np.arange(STEPS) == 0,
}


def odd_features() -> Any:
    f = tfds.features
    observation = {
        "png": f.Image(shape=(12, 16, 3), encoding_format="png"),
        "raw": f.Tensor(shape=(24, 20, 3), dtype=np.uint8),
        "raw_bytes": f.Tensor(shape=(24, 20, 3), dtype=np.uint8, encoding="bytes"),
        "encoded": f.Tensor(shape=(), dtype=np.object_),
        "state": f.Tensor(shape=(2, 3), dtype=np.float64, encoding="bytes"),
        "zipped": f.Tensor(shape=(4,), dtype=np.int32, encoding="zlib"),
        "counter": np.uint64,
        "small": f.Tensor(shape=(3,), dtype=np.int8),
        "half": f.Tensor(shape=(2,), dtype=np.float16),
        "brain": f.Tensor(shape=(2,), dtype=tf.bfloat16.as_numpy_dtype, encoding="bytes"),
        "mask": f.Tensor(shape=(4,), dtype=np.bool_),
    }
    action = {
        "world_vector": f.Tensor(shape=(3,), dtype=np.float32),
        "gripper": f.Scalar(np.bool_),
        "terminate_episode": f.Tensor(shape=(3,), dtype=np.int32),
    }
    step = {"observation": observation, "action": action, "label": f.ClassLabel(names=["a", "b"]), "is_first": np.bool_}
    return f.FeaturesDict({"steps": f.Dataset(step | {"language_instruction": f.Text()}), "episode_metadata": {"path": f.Text()}})


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of features one rarely meets, built by TFDS.

    Unregistered: a process whose tests another one took, and that takes some back, sets this up twice.
    """

    class OddRobot(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self) -> Any:
            return tfds.core.DatasetInfo(builder=self, features=odd_features())

        def _split_generators(self, manager: Any) -> Any:
            return {"train": self._generate_examples()}

        def _generate_examples(self) -> Any:
            values = ODD | {
                "observation": ODD["observation"] | {"brain": ODD["observation"]["brain"].astype(tf.bfloat16.as_numpy_dtype)}
            }
            steps = [tf.nest.map_structure(lambda column, n=n: column[n], _columns(values)) for n in range(STEPS)]
            yield "one", {"steps": steps, "episode_metadata": {"path": "x"}}

    folder = tmp_path_factory.mktemp("odd")
    builder = OddRobot(data_dir=str(folder))
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(num_shards=1))
    return Path(builder.data_dir)


def _columns(tree: Any) -> Any:
    """Columns as leaves: nest would look into lists."""
    return {
        name: _columns(value) if isinstance(value, dict) else np.array(value, object if isinstance(value, list) else None)
        for name, value in tree.items()
    }


@pytest.fixture(scope="module")
def odd_record(odd: Path) -> tuple[dict[str, Leaf], dict[str, Any]]:
    directory = open_directory(str(odd))
    (found,) = read_records(directory.splits["train"][0].path)
    assert not isinstance(found, FrameFault)
    return {leaf.path: leaf for leaf in directory.leaves}, decode_example(found[1])


NUMBERS = [
    *(f"observation/{name}" for name in ("raw", "raw_bytes", "state", "zipped", "counter", "small", "half", "brain", "mask")),
    *(f"action/{name}" for name in ("world_vector", "gripper", "terminate_episode")),
    "is_first",
]


@pytest.mark.parametrize("path", NUMBERS)
def test_numbers_of_every_type_and_encoding(odd_record: Any, path: str) -> None:
    leaves, features = odd_record
    group, _, name = path.rpartition("/")
    expected = np.asarray((ODD[group] if group else ODD)[name])
    found = numbers(leaves[path], features[leaves[path].key])
    assert found.dtype == expected.dtype
    if name == "brain":
        np.testing.assert_allclose(found, expected, rtol=2**-8)
    else:
        np.testing.assert_array_equal(found, expected)


def test_words_labels_and_pictures(odd: Path, odd_record: Any) -> None:
    leaves, features = odd_record
    assert texts(leaves["language_instruction"], features["steps/language_instruction"]) == ODD["language_instruction"]
    assert numbers(leaves["label"], features["steps/label"]).tolist() == [0, 1, 0, 0, 1]
    np.testing.assert_array_equal(frames(leaves["observation/raw"], features["steps/observation/raw"]), ODD["observation"]["raw"])
    png = [bytes(features["steps/observation/png"].payload[a:b]) for a, b in features["steps/observation/png"].spans()]
    np.testing.assert_array_equal([tf.io.decode_png(one).numpy() for one in png], ODD["observation"]["png"])
    for mine, (_, _, step) in zip(read(odd, action="action/world_vector"), oracle(odd, ("png",)), strict=True):
        assert bytes(mine.images[0].data) == step["observation"]["png"]


def test_a_dict_of_actions_with_a_mode_and_a_bool(odd: Path) -> None:
    found = read(odd, action=["action/world_vector", "action/gripper", "action/terminate_episode"], state="observation/state")
    expected = np.column_stack([ODD["action"]["world_vector"], ODD["action"]["gripper"], [1, 1, 2, 1, 0]])
    np.testing.assert_array_equal([step.action for step in found], expected.astype(np.float32))
    np.testing.assert_array_equal([step.state for step in found], ODD["observation"]["state"].reshape(STEPS, 6).astype(np.float32))
    cameras = {"a": "observation/encoded", "b": "observation/raw_bytes"}
    images = [step.images for step in read(odd, action="action/world_vector", cameras=cameras)]
    assert [bytes(one.data) for one, _ in images] == ODD["observation"]["encoded"]
    np.testing.assert_array_equal([two.data for _, two in images], ODD["observation"]["raw_bytes"])


# We write, they read

LEAVES = (
    Leaf("episode_metadata/episode_id", "scalar", "int32"),
    Leaf("episode_metadata/file_path", "text", "string"),
    Leaf("steps/action", "tensor", "float32", (7,)),
    Leaf("steps/is_last", "scalar", "bool"),
    Leaf("steps/language_instruction", "text", "string"),
    Leaf("steps/observation/image", "image", "uint8", (8, 10, 3), "png"),
    Leaf("steps/observation/packed", "tensor", "int32", (3,), "zlib"),
    Leaf("steps/observation/state", "tensor", "float64", (2,), "bytes"),
    Leaf("steps/reward", "scalar", "float32"),
)


def episode(number: int, steps: int) -> dict[str, Any]:
    random = np.random.default_rng(number)
    pixels = random.integers(0, 256, (steps, 8, 10, 3), dtype=np.uint8)
    return {
        "episode_metadata/episode_id": number,
        "episode_metadata/file_path": f"raw/{number}",
        "steps/action": random.normal(size=(steps, 7)).astype(np.float32),
        "steps/is_last": np.arange(steps) == steps - 1,
        "steps/language_instruction": [f"näh {number}"] * steps,
        "steps/observation/image": [tf.io.encode_png(one).numpy() for one in pixels],
        "steps/observation/packed": random.integers(-9, 9, (steps, 3)),
        "steps/observation/state": random.normal(size=(steps, 2)),
        "steps/reward": random.normal(size=steps).astype(np.float32),
    }


def test_tfds_loads_what_we_write(tmp_path: Path) -> None:
    written = [episode(number, number + 1) for number in range(5)]
    root = write_dataset(tmp_path, "our_robot", LEAVES, {"train": [written[:2], written[2:4]], "val": [written[4:]]})
    builder = tfds.builder_from_directory(str(root))
    assert {name: split.num_examples for name, split in builder.info.splits.items()} == {"train": 4, "val": 1}
    assert tfds.builder("our_robot", data_dir=str(tmp_path)).info.full_name == "our_robot/1.0.0"
    loaded = [one for part in ("train[:50%]", "train[50%:]", "val") for one in builder.as_dataset(split=part)]
    for episode_, mine in zip(loaded, written, strict=True):
        steps = list(tfds.as_numpy(episode_["steps"]))
        meta = tfds.as_numpy(episode_["episode_metadata"])
        assert (meta["episode_id"], meta["file_path"].decode()) == (
            mine["episode_metadata/episode_id"],
            mine["episode_metadata/file_path"],
        )
        assert len(steps) == len(mine["steps/reward"])
        for number, step in enumerate(steps):
            np.testing.assert_array_equal(step["action"], mine["steps/action"][number])
            np.testing.assert_array_equal(step["observation"]["state"], mine["steps/observation/state"][number])
            np.testing.assert_array_equal(step["observation"]["packed"], mine["steps/observation/packed"][number])
            np.testing.assert_array_equal(step["observation"]["image"], tf.io.decode_png(mine["steps/observation/image"][number]))
            assert step["language_instruction"].decode() == mine["steps/language_instruction"][number]
            assert (step["is_last"], step["reward"]) == (mine["steps/is_last"][number], mine["steps/reward"][number])


# Bytes

FLOATS = hnp.arrays(np.float32, st.integers(0, 9), elements=st.floats(width=32, allow_nan=False))
VALUES = st.one_of(FLOATS, hnp.arrays(np.int64, st.integers(0, 9)), st.lists(st.binary(max_size=200), max_size=4))


# Where one name begins with another protobuf's own order differs between its implementations.
@given(st.dictionaries(st.from_regex(r"[a-z/]{4}", fullmatch=True), VALUES, max_size=5))
@tries(60)
def test_examples_are_tensorflows_own_bytes(features: dict[str, Any]) -> None:
    message = tf.train.Example()
    for name, values in features.items():
        feature = message.features.feature[name]
        if isinstance(values, list):
            feature.bytes_list.value.extend(values)
            feature.bytes_list.SetInParent()
        elif values.dtype == np.float32:
            feature.float_list.value.extend(values.tolist())
            feature.float_list.SetInParent()
        else:
            feature.int64_list.value.extend(values.tolist())
            feature.int64_list.SetInParent()
    message.features.SetInParent()
    raw = encode_example(features)
    assert tf.train.Example.FromString(raw) == message
    assert raw == message.SerializeToString(deterministic=True)


@given(st.binary(max_size=60))
@tries(100)
@example(b"\x80\x80\x80\x80\x10\x00")  # a tag of 33 bits
def test_what_we_accept_protobuf_accepts(raw: bytes) -> None:
    entry = b"\x0a\x01x\x12" + bytes([len(raw)]) + raw
    framed = b"\x0a" + bytes([len(entry)]) + entry
    message = b"\x0a" + bytes([len(framed)]) + framed
    try:
        found = {name: feature.values() for name, feature in decode_example(memoryview(message)).items()}
    except ValueError:
        return
    theirs = tf.train.Example.FromString(message).features.feature["x"]
    for kind, field in (("bytes", theirs.bytes_list), ("float", theirs.float_list), ("int64", theirs.int64_list)):
        if theirs.WhichOneof("kind") == f"{kind}_list":
            np.testing.assert_array_equal(np.asarray(found["x"]), np.asarray(list(field.value), np.asarray(found["x"]).dtype))


def test_frames_are_tensorflows_own_bytes(tmp_path: Path) -> None:
    payloads = [os.urandom(n * 37) for n in range(20)]
    for compression, reader in (("", read_records), ("GZIP", read_gzipped)):
        path = str(tmp_path / f"x{compression}")
        with tf.io.TFRecordWriter(path, tf.io.TFRecordOptions(compression_type=compression)) as writer:
            for payload in payloads:
                writer.write(payload)
        assert [bytes(found[1]) for found in reader(path) if not isinstance(found, FrameFault)] == payloads
    assert (tmp_path / "x").read_bytes() == b"".join(map(frame, payloads))
