"""Sums over the text, images and token lengths of rows, and the distributions made from their counts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from numpy.typing import NDArray

from rt2data.look.stats.model import Camera, Distribution, Text, Tokens
from rt2data.order import U64, mix64
from rt2data.tally.counts import Counts, count, histogram, quantiles_of
from rt2data.tally.sums import Sum

TOP_TEXTS = TOP_SIZES = 20
"""Number of most common texts, and image sizes, in the summary."""


def distribution(found: Counts) -> Distribution:
    """The distribution of integers from their counts."""
    if not len(found):
        return Distribution()
    values = found.keys.astype(np.float64)
    total = float(np.dot(values, found.counts))
    p05, p50, p95, p99 = quantiles_of(values, found.counts, (0.05, 0.5, 0.95, 0.99))
    ends = {"min": float(values[0]), "max": float(values[-1])}
    return Distribution(count=found.total, total=total, mean=total / found.total, p05=p05, p50=p50, p95=p95, p99=p99, **ends)


class TextSums(Sum, frozen=True, eq=False):
    """Texts by their 64-bit hashes: 16 bytes per distinct text, whatever its length."""

    hashes: Counts = msgspec.field(default_factory=Counts)
    blank: int = 0
    non_ascii: int = 0
    characters: Counts = msgspec.field(default_factory=Counts)
    words: Counts = msgspec.field(default_factory=Counts)

    @property
    def top(self) -> U64:
        """Hashes of the most common texts."""
        return np.array([hash_ for hash_, _ in self.hashes.most_common(TOP_TEXTS)], np.uint64)

    def summary(self, texts: dict[int, str]) -> Text:
        """`texts` holds at least the most common texts, by hash."""
        return Text(
            rows=self.hashes.total,
            unique=len(self.hashes),
            blank=self.blank,
            non_ascii=self.non_ascii,
            characters=distribution(self.characters),
            words=distribution(self.words),
            top=tuple((texts[hash_], times) for hash_, times in self.hashes.most_common(TOP_TEXTS)),
        )


def _hashes(texts: Iterable[str]) -> U64:
    return np.array([xxhash.xxh3_64_intdigest(text.encode()) for text in texts], np.uint64)


def _distinct(column: pa.Array) -> tuple[list[str], NDArray[np.int32]]:
    """The distinct texts of a column, and the index of each row's text."""
    coded = column.fill_null("").dictionary_encode()
    return coded.dictionary.to_pylist(), coded.indices.to_numpy()


def sum_texts(column: pa.Array) -> tuple[TextSums, U64]:
    """Sums of a text column, and the hash of each row's text, uint64[rows]. Each distinct text is measured once."""
    texts, which = _distinct(column)
    times, hashes = np.bincount(which, minlength=len(texts)), _hashes(texts)
    blank = np.array([not text.strip() for text in texts], np.bool_)
    foreign = np.array([not text.isascii() for text in texts], np.bool_)
    sums = TextSums(
        count(hashes, times),
        int(times[blank].sum()),
        int(times[foreign].sum()),
        count(np.array([len(text) for text in texts], np.int64), times),
        count(np.array([len(text.split()) for text in texts], np.int64), times),
    )
    return sums, hashes[which]


def find_texts(column: pa.Array, wanted: U64) -> dict[int, str]:
    """The texts with these hashes that are in this column."""
    if not len(wanted) or not len(column):
        return {}
    texts, _ = _distinct(column)
    hashes = _hashes(texts)
    return {int(hashes[i]): texts[i] for i in np.flatnonzero(np.isin(hashes, wanted)).tolist()}


def text_hashes(column: pa.Array) -> U64:
    """The hash of each row's text, uint64[rows]."""
    texts, which = _distinct(column)
    found: U64 = _hashes(texts)[which]
    return found


class TokenSums(Sum, frozen=True, eq=False):
    """Lengths of examples in tokens."""

    prompt: Counts = msgspec.field(default_factory=Counts)  # all tokens without loss
    target: Counts = msgspec.field(default_factory=Counts)  # all tokens with loss, end tokens too
    whole: Counts = msgspec.field(default_factory=Counts)

    def summary(self, limit: int | None) -> Tokens:
        """`limit` is the recipe's max_tokens."""
        over = 0 if limit is None else int(self.whole.counts[self.whole.keys > limit].sum())
        return Tokens(
            prompt=distribution(self.prompt),
            target=distribution(self.target),
            whole=distribution(self.whole),
            limit=limit,
            over=over,
            target_lengths=histogram(self.target),
            whole_lengths=histogram(self.whole),
        )


def sum_tokens(prompt: Sequence[int], whole: Sequence[int]) -> TokenSums:
    """Token sums of examples, from the number of tokens without loss, and of all tokens."""
    before, all_ = np.array(prompt, np.int64), np.array(whole, np.int64)
    return TokenSums(count(before), count(all_ - before), count(all_))


class CameraSums(Sum, frozen=True, eq=False):
    """Images of one camera, from their headers and hashes: no image is opened."""

    hashes: Counts = msgspec.field(default_factory=Counts)
    sizes: Counts = msgspec.field(default_factory=Counts)  # width in the high 32 bits, height in the low
    bytes: Counts = msgspec.field(default_factory=Counts)
    kinds: dict[str, int] = msgspec.field(default_factory=dict)

    def summary(self, name: str, used: bool) -> Camera:
        """`used`: the mixture uses this camera."""
        sizes = self.sizes.most_common(TOP_SIZES)
        return Camera(
            name=name,
            used=used,
            images=self.hashes.total,
            unique=len(self.hashes),
            commonest=int(self.hashes.counts.max(initial=0)),
            kinds=dict(sorted(self.kinds.items())),
            sizes=tuple((size >> 32, size & 0xFFFFFFFF, times) for size, times in sizes),
            bytes=distribution(self.bytes),
        )


def sum_cameras(images: pa.ListArray) -> dict[str, CameraSums]:
    """Sums of the images of some rows, by camera."""
    every = images.flatten()
    every = every.filter(pc.equal(every.field("at"), 0))  # history shows the same images again
    cameras = every.field("camera").dictionary_encode()
    which = cameras.indices.to_numpy()
    return {name: _sum_camera(every.filter(pa.array(which == i))) for i, name in enumerate(cameras.dictionary.to_pylist())}


def _sum_camera(images: pa.StructArray) -> CameraSums:
    width, height, length = (images.field(name).to_numpy().astype(np.uint64) for name in ("width", "height", "length"))
    kinds = images.field("format").value_counts().to_pylist()
    return CameraSums(
        count(images.field("xxh3").to_numpy()),
        count(width << np.uint64(32) | height),
        count(length),
        {entry["values"]: entry["counts"] for entry in kinds},
    )


def first_images(images: pa.ListArray) -> U64:
    """uint64[rows]: hash of each row's first image; 0 if there is none."""
    offsets = images.offsets.to_numpy()
    hashes = np.append(images.flatten().field("xxh3").to_numpy(), np.uint64(0))
    first = np.where(np.diff(offsets) > 0, offsets[:-1] - offsets[0], len(hashes) - 1)
    found: U64 = hashes[first]
    return found


def taken_bytes(images: pa.ListArray) -> int:
    """Total bytes of the images used by a mixture."""
    every = images.flatten()
    return pc.sum(every.field("length").filter(every.field("chosen"))).as_py() or 0


def pair_hashes(texts: U64, images: U64) -> U64:
    """A hash of each pair of a text and an image, by their hashes, uint64[n]."""
    return mix64(mix64(texts, 1) + images, 2)
