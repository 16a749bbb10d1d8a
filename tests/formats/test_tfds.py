"""Our directories as TFDS sees them, and our records as protobuf does."""

from __future__ import annotations

import hashlib
import io
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from rt2data.formats.flat import filled
from rt2data.formats.tfds import encode_columns, write_columns
from rt2data.render.fields import FIELDS
from rt2data.render.record import decode_record
from tests.contract.test_formats import SINGLE, robot_record, web_record
from tests.formats.conftest import examples
from tests.packages import need

pytestmark = [pytest.mark.long, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def tfds() -> Any:
    return need("tensorflow_datasets")


@pytest.fixture(scope="module")
def loaded(mixture: Callable[[str], Path], tfds: Any) -> list[Mapping[str, Any]]:
    """All examples, pictures undecoded."""
    builder = tfds.builder_from_directory(mixture("tfds"))
    assert builder.info.splits["train"].num_examples == 90
    return list(tfds.as_numpy(builder.as_dataset(split="train", decoders={"image": tfds.decode.SkipDecoding()})))


def test_shapes_and_types(mixture: Callable[[str], Path], tfds: Any, loaded: list[Mapping[str, Any]]) -> None:
    features = tfds.builder_from_directory(mixture("tfds")).info.features
    assert set(features) == {"image", "image_format", *(field.name for field in FIELDS)}
    assert features["action"].shape == (7,) and features["action"].np_dtype == np.float32
    assert {example["action"].shape for example in loaded} == {(7,)}
    assert {example["loss_mask"].dtype for example in loaded} == {np.dtype(np.uint8)}


def test_pictures_are_decoded(mixture: Callable[[str], Path], tfds: Any) -> None:
    """Within a step or two of another JPEG decoder."""
    example = next(iter(tfds.as_numpy(tfds.builder_from_directory(mixture("tfds")).as_dataset(split="train[:1]"))))
    image = next(image for image, record in examples(mixture("webdataset")) if record.key == example["key"].decode())
    seen = np.asarray(Image.open(io.BytesIO(image)).convert("RGB"), np.int16)
    assert example["image"].shape == seen.shape
    assert np.abs(example["image"] - seen).mean() < 2


def encoded(record: bytes, image: bytes, kind: str) -> bytes:
    """A record with its image, as the shards have it."""
    parts = encode_columns(filled(decode_record(record), SINGLE), [(0, kind, len(image))], SINGLE)
    block = memoryview(bytearray(parts.size))
    write_columns(parts, block)[0][:] = image
    return bytes(block)


@pytest.mark.parametrize("record", [robot_record("a", step=300, input_ids=[0, 127, 128, 2**31 - 1]), web_record("b", answers=[])])
def test_protobuf_reads_the_same_example(record: bytes) -> None:
    example_pb2 = need("tensorflow.core.example.example_pb2")
    columns, image = filled(decode_record(record), SINGLE), bytes(range(200))
    found = example_pb2.Example.FromString(encoded(record, image, "png")).features.feature
    assert found["image"].bytes_list.value == [image]
    for name in ("step", "input_ids", "loss_mask", "action_mask", "action_is_pad", "image_mask"):
        assert list(found[name].int64_list.value) == list(np.ravel(columns[name]).astype(int))
    for name in ("action", "actions"):
        assert list(found[name].float_list.value) == list(np.ravel(columns[name]))
    assert found["timestamp"].bytes_list.value == [struct.pack("<d", columns["timestamp"])]
    assert [part.decode() for part in found["messages/role"].bytes_list.value] == [each["role"] for each in columns["messages"]]
    assert [value.decode() for value in found["answers"].bytes_list.value] == list(columns["answers"])


def test_the_bytes_of_a_record_stay_the_same() -> None:
    """sha256 of records, pinned: short and long numbers, text that is no ASCII, a missing state, a large image."""
    records = [
        (robot_record("a", step=300, input_ids=[0, 127, 128, 2**31 - 1]), 200),
        (web_record("b", answers=[]), 70_000),
        (web_record("c", text="größer?", answers=["ja", "größer"] * 90), 3),
    ]
    whole = b"".join(encoded(record, bytes(size), "jpg") for record, size in records)
    assert hashlib.sha256(whole).hexdigest() == "e7fc119237b9db84bc11d555a55a8e16a969ab3a4536695ba86feb863a7c25a3"
