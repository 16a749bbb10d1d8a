"""A record with room left in it has the bytes of the plain encoder, once its room is filled."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rt2data.io.tfrecord import example
from rt2data.io.tfrecord.example import Room, Values, encode_example, record_with_room
from rt2data.io.tfrecord.framing import frame

NAMES = st.text(min_size=1, max_size=8)
PICTURES = st.lists(st.binary(max_size=300), max_size=5)
OTHERS = st.one_of(
    PICTURES,
    st.lists(st.integers(-(2**63), 2**63 - 1), max_size=6).map(lambda v: np.array(v, np.int64)),
    st.lists(st.floats(width=32, allow_nan=False), max_size=6).map(lambda v: np.array(v, np.float32)),
)


@given(st.dictionaries(NAMES, OTHERS, max_size=5), st.dictionaries(NAMES, PICTURES, max_size=3))
@settings(max_examples=100, deadline=None)
def test_the_bytes_are_those_of_the_plain_encoder(others: dict[str, Values], pictures: dict[str, list[bytes]]) -> None:
    known: dict[str, Values] = {**others, **pictures}
    left: dict[str, Values | Room] = {**others, **{name: Room([len(p) for p in each]) for name, each in pictures.items()}}
    record = record_with_room(left)
    for name, each in pictures.items():
        for place, content in zip(record.places.get(name, ()), each, strict=True):
            place[:] = content
    assert bytes(record.close()) == frame(encode_example(known))


def test_a_record_that_would_be_too_long_is_refused_before_it_takes_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="more than"):
        record_with_room({"picture": Room([2**30, 2**30])})
    monkeypatch.setattr(example, "MAX_PAYLOAD", 50)
    with pytest.raises(ValueError, match="more than 50"):
        record_with_room({"picture": Room([60])})
