"""Pictures that look alike: all pairs within a distance, and hashes that copies keep and other pictures do not have."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from rt2data.images.thumbnail import even_thumbnail
from rt2data.look.overlaps.alike import SIDE, close_pairs, distances, perceptual_hashes
from rt2data.look.overlaps.pairs import Looks, alike
from rt2data.order import U64
from tests.laws import tries
from tests.look.overlaps.corpora import encoded, photograph

NEAR = 4
"""What docs/hygiene.md advises."""


def brute(hashes: list[int], most: int) -> list[tuple[int, int]]:
    return [(i, j) for i, j in combinations(range(len(hashes)), 2) if (hashes[i] ^ hashes[j]).bit_count() <= most]


@st.composite
def clustered(draw: st.DrawFn) -> list[int]:
    """Hashes of which many are a few bits from others."""
    found = draw(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=6))
    for _ in range(draw(st.integers(0, 30))):
        bits = draw(st.lists(st.integers(0, 63), max_size=16))
        found.append(draw(st.sampled_from(found)) ^ sum({1 << bit for bit in bits}))
    return sorted(set(found))


@pytest.mark.slow
@tries(40)
@given(clustered(), st.integers(0, 11))
def test_every_close_pair_is_found_and_no_other(hashes: list[int], most: int) -> None:
    i, j = close_pairs(np.array(hashes, np.uint64), most)
    assert list(zip(i.tolist(), j.tolist(), strict=True)) == brute(hashes, most)


def test_no_hashes_have_no_pairs() -> None:
    assert not close_pairs(np.empty(0, np.uint64), 7)[0].size


def test_distances_are_bits() -> None:
    some = np.array([0, 1, 2**64 - 1, 2**63], np.uint64)
    assert distances(some, np.zeros(4, np.uint64)).tolist() == [0, 1, 64, 1]


COPIES = {
    "smaller": lambda image: encoded(image.resize((160, 120), Image.Resampling.LANCZOS), quality=90),
    "larger": lambda image: encoded(image.resize((500, 375), Image.Resampling.BILINEAR), quality=90),
    "worse": lambda image: encoded(image, quality=30),
    "lossless": lambda image: encoded(image, "PNG"),
    "webp": lambda image: encoded(image, "WEBP", quality=60),
    "stretched": lambda image: encoded(image.resize((256, 256)), quality=85),
    "blurred": lambda image: encoded(image.filter(ImageFilter.GaussianBlur(1)), quality=85),
}


def hashes_of(contents: list[bytes]) -> U64:
    found, even = perceptual_hashes(np.stack([even_thumbnail(content, SIDE) for content in contents]))
    assert not even.any()
    return found


@pytest.fixture(scope="module")
def thousand() -> U64:
    return hashes_of([encoded(photograph(seed), quality=90) for seed in range(1000)])


@pytest.mark.slow
def test_of_a_thousand_different_pictures_none_look_alike(thousand: U64) -> None:
    assert not close_pairs(np.unique(thousand), 11)[0].size
    assert len(np.unique(thousand)) == 1000


@pytest.mark.slow
@pytest.mark.parametrize("name", COPIES)
def test_copies_look_alike(thousand: U64, name: str) -> None:
    copies = hashes_of([COPIES[name](photograph(seed)) for seed in range(60)])
    assert (distances(copies, thousand[:60]) <= NEAR).mean() >= 0.95


def test_even_pictures_have_no_looks() -> None:
    grey = np.full((2, SIDE, SIDE, 3), 128, np.uint8)
    grey[1, :16] = 0
    assert perceptual_hashes(grey)[1].tolist() == [True, False]


@tries(60)
@given(st.lists(st.tuples(st.sampled_from([0, 1, 3, 255, 2**63]), st.integers(0, 5), st.integers(0, 2)), max_size=20))
def test_pictures_that_look_like_another_are_counted(given_: list[tuple[int, int, int]]) -> None:
    """Against the definition: pictures of one part for which another part has other bytes whose hash is close."""
    of = {picture: hash_ for hash_, picture, _ in given_}  # a picture has one hash
    seen = [(of[picture], picture, part, row) for row, (_, picture, part) in enumerate(given_)]
    columns = [np.array(each) for each in zip(*seen, strict=True)] or [np.empty(0)] * 4
    looks = Looks(
        columns[0].astype(np.uint64), columns[1].astype(np.uint64), columns[2].astype(np.int64), columns[3].astype(np.int64)
    )
    found = alike(looks, 3, 2)
    for a in range(3):
        for b in range(3):
            truth = {
                one[1] for one in seen for other in seen
                if one[2] == a and other[2] == b and one[1] != other[1] and (one[0] ^ other[0]).bit_count() <= 2
            }  # fmt: skip
            assert found.counts[a, b] == len(truth)
    for (a, b), examples in found.examples.items():
        for (part, row), (other_part, other_row) in examples:
            assert (part, other_part) == (a, b) == (seen[row][2], seen[other_row][2])
            assert seen[row][1] != seen[other_row][1]
