"""Limits of homes and readers: said where they are broken, never else, and the advice mends it."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rt2data.errors import UsageError
from rt2data.plan.layout import MAX_SHARDS, ShardLayout, layout_warnings, require_names
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


def test_shards_without_a_name_are_refused() -> None:
    """500 TB in shards of 256 MB; the advice mends it."""
    size = 500 * 10**12
    many: Any = SimpleNamespace(shards=shard_count(10**10, size, 256 * 10**6), bytes=size)
    with pytest.raises(UsageError, match="1,953,125 shards, there can be 1,000,000") as caught:
        require_names(many)
    assert caught.value.do == "set it to 550MB or more"
    fewer: Any = SimpleNamespace(shards=shard_count(10**10, size, 550 * 10**6), bytes=size)
    assert require_names(fewer) is fewer and fewer.shards < MAX_SHARDS


def test_parts_of_any_size_are_laid_out_exactly() -> None:
    """Draws times shards need more than 63 bits here."""
    sizes, shards = (10**12 - 7, 3, 10**11 + 1), (999_983, 2, 9)
    parts = tuple(SimpleNamespace(examples=size, shards=count) for size, count in zip(sizes, shards, strict=True))
    plan: Any = SimpleNamespace(parts=parts, shards=sum(shards))
    layout = ShardLayout(plan)
    for index in (0, 1, 500_000, 999_982, 999_983, 999_984, 999_985, 999_990, plan.shards):
        inside = [min(max(index - first, 0), count) for first, count in zip((0, 999_983, 999_985), shards, strict=True)]
        wanted = [size * k // count for size, k, count in zip(sizes, inside, shards, strict=True)]
        assert layout[index].tolist() == wanted
    assert layout.counts(999_983).tolist() == [0, 1, 0]
