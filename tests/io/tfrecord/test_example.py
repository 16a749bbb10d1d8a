"""tf.train.Example without protobuf: the round trip, what other writers may do, and bytes that are no Example."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rt2data.io.tfrecord import example
from rt2data.io.tfrecord.example import (
    Feature,
    Room,
    Values,
    decode_example,
    encode_example,
    encode_feature,
    encode_text,
    encode_with_room,
    record_with_room,
)
from rt2data.io.tfrecord.framing import frame
from rt2data.io.tfrecord.wire import MalformedError, block, decode_int64s, encode_int64s, encode_varint, fields
from tests.laws import tries

FLOATS = hnp.arrays(np.float32, st.integers(0, 30), elements=st.floats(width=32, allow_nan=True, allow_infinity=True))
INTS = hnp.arrays(np.int64, st.integers(0, 30))
SMALL = hnp.arrays(np.int64, st.integers(0, 30), elements=st.integers(0, 1))
BYTES = st.lists(st.binary(max_size=300), max_size=8)
FEATURES = st.dictionaries(st.text(max_size=150), st.one_of(FLOATS, INTS, SMALL, BYTES), max_size=8)


def same(left: Any, right: Any) -> bool:
    if isinstance(left, np.ndarray) and isinstance(right, np.ndarray):
        return left.dtype == right.dtype and left.tobytes() == right.tobytes()
    return type(left) is type(right) and left == right


def read(raw: bytes) -> dict[str, Any]:
    return {name: feature.values() for name, feature in decode_example(memoryview(raw)).items()}


@given(FEATURES)
@tries(150)
def test_decode_inverts_encode(features: dict[str, Any]) -> None:
    found = read(encode_example(features))
    assert found.keys() == features.keys()
    assert all(same(found[name], features[name]) for name in features)


def test_encoding_does_not_depend_on_the_order_of_names() -> None:
    one, two = {"b": [b"1"], "a": [b"2"]}, {"a": [b"2"], "b": [b"1"]}
    assert encode_example(one) == encode_example(two)


@pytest.mark.parametrize("values", [np.zeros(3), np.zeros(3, np.int32), np.zeros(3, np.uint8)])
def test_only_three_types_can_be_encoded(values: np.ndarray[Any, Any]) -> None:
    with pytest.raises(TypeError, match=r"not (float64|int32|uint8)"):
        encode_example({"x": values})


def test_bytes_are_ranges_of_the_payload() -> None:
    raw = encode_example({"image": [b"first", b"", b"x" * 70_000]})
    spans = decode_example(memoryview(raw))["image"].spans()
    assert [raw[start:stop] for start, stop in spans] == [b"first", b"", b"x" * 70_000]


def test_values_of_the_wrong_kind_are_refused() -> None:
    feature = decode_example(memoryview(encode_example({"x": [b"abc"]})))["x"]
    with pytest.raises(MalformedError, match="this one holds bytes values"):
        feature.floats()
    with pytest.raises(MalformedError, match="this one holds bytes values"):
        feature.int64s()


def test_a_feature_that_was_not_set_is_empty_of_every_kind() -> None:
    feature = Feature(memoryview(b""), None, 0, 0)
    assert (feature.spans(), feature.floats().tolist(), feature.int64s().tolist()) == ([], [], [])
    raw = block(1, block(1, block(1, b"x") + block(2, b"")))
    assert decode_example(memoryview(raw))["x"].kind is None


# What other writers may do


def entry(name: bytes, feature: bytes) -> bytes:
    return block(1, block(1, name) + block(2, feature))


def test_numbers_that_are_not_packed() -> None:
    floats = b"".join(b"\x0d" + np.float32(x).tobytes() for x in (1.5, -2))
    ints = b"".join(b"\x08" + encode_varint(x % 2**64) for x in (3, -1, 300))
    found = read(block(1, entry(b"f", block(2, floats)) + entry(b"i", block(3, ints))))
    assert found["f"].tolist() == [1.5, -2]
    assert found["i"].tolist() == [3, -1, 300]


def test_numbers_in_several_packed_runs() -> None:
    runs = block(1, encode_int64s(np.array([1, 2]))) + b"\x08\x03" + block(1, encode_int64s(np.array([-4])))
    assert read(block(1, entry(b"i", block(3, runs))))["i"].tolist() == [1, 2, 3, -4]


def test_unknown_fields_and_an_entry_with_its_value_first() -> None:
    unknown = block(15, b"later") + b"\x78\x05" + b"\x79" + bytes(8) + b"\x7d" + bytes(4)
    turned = block(1, block(2, block(1, block(1, b"v"))) + block(1, b"k") + unknown)
    assert read(unknown + block(1, turned + unknown))["k"] == [b"v"]


def test_names_longer_than_a_byte_can_count_and_names_that_come_twice() -> None:
    long = b"n" * 500
    found = read(
        block(1, entry(long, block(3, b"\x08\x01")) + entry(b"x", block(3, b"\x08\x01")) + entry(b"x", block(3, b"\x08\x02")))
    )
    assert found[long.decode()].tolist() == [1]
    assert found["x"].tolist() == [2]


def test_features_split_over_two_messages_are_merged() -> None:
    found = read(block(1, entry(b"a", block(3, b"\x08\x01"))) + block(1, entry(b"b", block(3, b"\x08\x02"))))
    assert {name: values.tolist() for name, values in found.items()} == {"a": [1], "b": [2]}


def test_a_feature_of_two_lists_is_refused_not_guessed() -> None:
    with pytest.raises(MalformedError, match="must hold one list"):
        read(block(1, entry(b"x", block(1, b"") + block(3, b"\x08\x01"))))


# Numbers


@given(INTS)
@tries(100)
def test_integers_round_trip(values: np.ndarray[Any, np.dtype[np.int64]]) -> None:
    raw = encode_int64s(values)
    assert decode_int64s(np.frombuffer(raw, np.uint8)).tolist() == values.tolist()


def test_integers_of_every_length() -> None:
    edges = [0, 1, -1, 2**63 - 1, -(2**63)] + [2**k + d for k in range(7, 63, 7) for d in (-1, 0)]
    values = np.array(edges, np.int64)
    assert decode_int64s(np.frombuffer(encode_int64s(values), np.uint8)).tolist() == edges


def test_many_integers_go_by_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rt2data.io.tfrecord.wire._RUN", 11)
    values = np.arange(-20, 400, 3)
    assert decode_int64s(np.frombuffer(encode_int64s(values), np.uint8)).tolist() == values.tolist()


@pytest.mark.parametrize("raw", [b"\x80", b"\x01\xff", b"\x80" * 10 + b"\x00", b"\x01" + b"\xff" * 11 + b"\x01"])
def test_integers_cut_or_too_long(raw: bytes) -> None:
    with pytest.raises(MalformedError):
        decode_int64s(np.frombuffer(raw, np.uint8))


# Bytes that are no Example

GOOD = encode_example({"steps/action": np.arange(4, dtype=np.float32), "steps/image": [b"a" * 200, b"b"], "t": np.array([7, -7])})


@given(st.binary(max_size=200))
@tries(300)
def test_any_bytes_decode_or_are_malformed(raw: bytes) -> None:
    for attempt in (raw, block(1, raw), block(1, block(1, raw)), block(1, entry(b"x", raw)), block(1, entry(b"x", block(1, raw)))):
        try:
            read(attempt)
        except MalformedError as error:
            assert str(error)


@given(st.integers(0, len(GOOD) - 1), st.integers(0, 255))
@tries(300)
def test_any_changed_byte_decodes_or_is_malformed(at: int, byte: int) -> None:
    raw = bytearray(GOOD)
    raw[at] = byte
    try:
        read(bytes(raw))
    except MalformedError as error:
        assert str(error)


@pytest.mark.parametrize("kept", range(1, len(GOOD)))
def test_every_cut_is_malformed(kept: int) -> None:
    with pytest.raises(MalformedError):
        read(GOOD[:kept])


@pytest.mark.parametrize(
    "raw",
    [
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",  # a length of 2**64 - 1
        b"\x0a" + b"\xff" * 50,  # a varint without end
        b"\x0b",  # a group
        b"\x02\x00",  # field number 0
        block(1, b"\x08\x01"),  # an entry that is no block
        block(1, block(1, b"\x08\x01")),  # a name that is no block
        block(1, entry(b"\xff", b"")),  # a name that is not UTF-8
        block(1, entry(b"x", b"\x10\x01")),  # a list that is no block
        block(1, entry(b"x", block(2, block(1, b"123")))),  # floats of three bytes
        block(1, entry(b"x", block(2, b"\x08\x01"))),  # a float as a varint
        block(1, entry(b"x", block(3, b"\x0d\0\0\0\0"))),  # an integer of fixed size
        block(1, entry(b"x", block(1, b"\x08\x01"))),  # a number among bytes
    ],
)
def test_malformed_in_every_way(raw: bytes) -> None:
    with pytest.raises(MalformedError):
        read(raw)


def test_a_megabyte_of_continuation_bytes_is_refused_at_once() -> None:
    began = time.monotonic()
    for raw in (b"\xff" * 10**6, block(1, b"\xff" * 10**6), block(1, entry(b"x", block(1, b"\x0a" + b"\xff" * 10**6)))):
        with pytest.raises(MalformedError):
            read(raw)
    assert time.monotonic() - began < 2


def test_fields_give_ranges_of_values() -> None:
    raw = memoryview(block(1, b"abc") + b"\x10\x96\x01" + b"\x1d\0\0\0\0")
    assert fields(raw, 0, len(raw)) == [(1, 2, 2, 5), (2, 0, 6, 8), (3, 5, 9, 13)]


# --- room for bytes that are read later -------------------------------------------------------------------------------------------

NAMES = st.text(min_size=1, max_size=8)
IMAGES = st.lists(st.binary(max_size=300), max_size=5)
OTHERS = st.one_of(
    IMAGES,
    st.lists(st.integers(-(2**63), 2**63 - 1), max_size=6).map(lambda v: np.array(v, np.int64)),
    st.lists(st.floats(width=32, allow_nan=False), max_size=6).map(lambda v: np.array(v, np.float32)),
)


@given(st.dictionaries(NAMES, OTHERS, max_size=5), st.dictionaries(NAMES, IMAGES, max_size=3))
@tries(100)
def test_the_bytes_are_those_of_the_plain_encoder(others: dict[str, Values], images: dict[str, list[bytes]]) -> None:
    known: dict[str, Values] = {**others, **images}
    left: dict[str, Values | Room] = {**others, **{name: Room([len(p) for p in each]) for name, each in images.items()}}
    record = record_with_room(left)
    for name, each in images.items():
        for place, content in zip(record.places.get(name, ()), each, strict=True):
            place[:] = content
    assert bytes(record.close()) == frame(encode_example(known))


def test_a_record_that_would_be_too_long_is_refused_before_it_takes_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="more than"):
        record_with_room({"image": Room([2**30, 2**30])})
    monkeypatch.setattr(example, "MAX_PAYLOAD", 50)
    with pytest.raises(ValueError, match="more than 50"):
        record_with_room({"image": Room([60])})


@given(st.lists(st.tuples(NAMES, OTHERS), max_size=4), st.lists(st.tuples(NAMES, IMAGES), max_size=2))
@tries(100)
def test_entries_keep_the_order_given(others: list[tuple[str, Values]], images: list[tuple[str, list[bytes]]]) -> None:
    entries = [encode_feature(*each) for each in others]
    parts = encode_with_room([*entries, *((name, Room([*map(len, each)])) for name, each in images)])
    payload = bytearray(parts.size)
    places = parts.write(memoryview(payload))
    for name in dict(images):
        for place, content in zip(
            places.get(name, ()), (one for other, each in images if other == name for one in each), strict=True
        ):
            place[:] = content
    assert bytes(payload) == block(1, b"".join([*entries, *(encode_feature(*each) for each in images)]))


@given(
    st.lists(st.integers(-(2**63), 2**63 - 1), max_size=6), st.lists(st.floats(width=32, allow_nan=False), max_size=300), st.text()
)
def test_numbers_of_python_and_numpy_give_the_same_bytes(ints: list[int], floats: list[float], text: str) -> None:
    assert encode_feature("x", ints, "int64") == encode_feature("x", np.array(ints, np.int64))
    assert encode_feature("x", floats, "float") == encode_feature("x", np.array(floats, np.float32))
    assert encode_text("x", text) == encode_feature("x", [text.encode()])
