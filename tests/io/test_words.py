"""Counts, sizes, durations and "did you mean"."""

from __future__ import annotations

import pytest

from rt2data.io.words import choose, closest, did_you_mean, duration, number, plural, size


@pytest.mark.parametrize(
    ("word", "found"), [("Trian", "train"), ("VALID", "Valid"), ("xyzzy", ""), ("t" * 65, ""), (3, ""), (None, "")]
)
def test_the_closest_name_in_any_case(word: object, found: str) -> None:
    assert closest(word, ["train", "Valid"]) == found


def test_advice_for_an_unknown_name() -> None:
    assert did_you_mean("trian", ["train"]) == "did you mean train? "
    assert choose("trian", ["train", "val"]) == "did you mean train? choose one of train, val"
    assert choose("xyzzy", ["train", "val"], ", or a path") == "choose one of train, val, or a path"


@pytest.mark.parametrize(("count", "said"), [(0, "0 shards"), (1, "1 shard"), (2000, "2,000 shards")])
def test_plurals(count: int, said: str) -> None:
    assert plural(count, "shard") == said
    assert plural(2, "index", "indices") == "2 indices"


@pytest.mark.parametrize(("value", "said"), [(12345, "12,345"), (1.25, "1.25"), (1234.5, "1,234")])
def test_numbers(value: float, said: str) -> None:
    assert number(value) == said


@pytest.mark.parametrize(("count", "said"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (2.5e9, "2.5 GB"), (7e15, "7,000.0 TB")])
def test_sizes(count: float, said: str) -> None:
    assert size(count) == said
    assert size(1_234_567, 2) == "1.23 MB"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.42, "0.4 s"), (9.97, "10 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")],
)
def test_durations(seconds: float, said: str) -> None:
    assert duration(seconds) == said
