"""Limits of homes and readers: said where they are broken, never else, and the advice mends it."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rt2data.plan.layout import layout_warnings
from rt2data.plan.plan import shard_count


@pytest.mark.parametrize(
    ("form", "shards", "size", "words"),
    [
        ("webdataset", 16, 4_000_000_000, []),
        ("webdataset", 4_992, 4_992 * 256_000_000, []),
        ("webdataset", 4_993, 4_993 * 256_000_000, ["10,002 files in one folder"]),
        ("parquet", 4_993, 4_993 * 256_000_000, []),
        ("parquet", 9_999, 9_999 * 256_000_000, ["10,015 files in one folder"]),
        ("tfds", 10_000, 10_000 * 256_000_000, ["10,016 files in one folder"]),
        ("webdataset", 10_000, 10_000 * 256_000_000, ["20,016 files in one folder", "10,000 shards: Energon"]),
        ("tfds", 2, 12_000_000_000, ["shards of about 6.0 GB"]),
        ("webdataset", 1, 8_000_000, ["one shard: at most 1 reader of webdataset"]),
        ("parquet", 1, 8_000_000, []),
    ],
)
def test_what_is_said(form: str, shards: int, size: int, words: list[str]) -> None:
    found = layout_warnings(form, shards, size)
    assert len(found) == len(words)
    assert all(warning.what.startswith(word) for warning, word in zip(found, words, strict=True))


@given(
    form=st.sampled_from(["webdataset", "tfds", "parquet"]),
    size=st.integers(10**9, 5 * 10**13),
    shard=st.integers(10**6, 10**11),
)
def test_the_advice_mends_it(form: str, size: int, shard: int) -> None:
    warnings = layout_warnings(form, shard_count(10**9, size, shard), size)
    for warning in warnings:
        asked = re.search(r"set shards.bytes to (\d+)(MB|GB) or", warning.do)
        assert asked
        better = int(asked[1]) * (10**6 if asked[2] == "MB" else 10**9)
        left = layout_warnings(form, shard_count(10**9, size, better), size)
        assert warning.code not in [each.code for each in left]
