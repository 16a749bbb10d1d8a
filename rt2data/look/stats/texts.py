"""Sums over texts: how long, how many different ones, which are the commonest."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
import numpy as np
import pyarrow as pa
import xxhash
from numpy.typing import NDArray

from rt2data.look.stats.model import Text
from rt2data.look.stats.spreads import spread
from rt2data.order import U64
from rt2data.tally.counts import Counts, count
from rt2data.tally.sums import Sum

TOP = 20
"""Texts that are told."""


class TextSums(Sum, frozen=True, eq=False):
    """Texts by their 64-bit hashes: 16 bytes for each different one, however long it is."""

    hashes: Counts = msgspec.field(default_factory=Counts)
    blank: int = 0
    non_ascii: int = 0
    characters: Counts = msgspec.field(default_factory=Counts)
    words: Counts = msgspec.field(default_factory=Counts)

    @property
    def top(self) -> U64:
        """Hashes of the commonest texts."""
        return np.array([hash_ for hash_, _ in self.hashes.commonest(TOP)], np.uint64)

    def summary(self, texts: dict[int, str]) -> Text:
        """With the texts of at least the commonest hashes."""
        return Text(
            rows=self.hashes.total,
            unique=len(self.hashes),
            blank=self.blank,
            non_ascii=self.non_ascii,
            characters=spread(self.characters),
            words=spread(self.words),
            top=tuple((texts[hash_], times) for hash_, times in self.hashes.commonest(TOP)),
        )


def hashes_of(texts: Iterable[str]) -> U64:
    """xxh3 of each text, uint64[n]."""
    return np.array([xxhash.xxh3_64_intdigest(text.encode()) for text in texts], np.uint64)


def _different(column: pa.Array) -> tuple[list[str], NDArray[np.int32]]:
    """The different texts of a column, and for each row which it has."""
    coded = column.fill_null("").dictionary_encode()
    return coded.dictionary.to_pylist(), coded.indices.to_numpy()


def sum_texts(column: pa.Array) -> tuple[TextSums, U64]:
    """Sums of a column of text, and the hash of each row's text, uint64[rows]. Each different text is looked at once."""
    texts, which = _different(column)
    times, hashes = np.bincount(which, minlength=len(texts)), hashes_of(texts)
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
    """The texts of these hashes, as far as they are in this column."""
    if not len(wanted) or not len(column):
        return {}
    texts, _ = _different(column)
    hashes = hashes_of(texts)
    return {int(hashes[i]): texts[i] for i in np.flatnonzero(np.isin(hashes, wanted)).tolist()}


def hash_groups(column: pa.Array) -> U64:
    """The hash of each row's text, uint64[rows]."""
    texts, which = _different(column)
    found: U64 = hashes_of(texts)[which]
    return found


def merged(parts: Sequence[dict[int, str]]) -> dict[int, str]:
    """All texts that were found."""
    return {hash_: text for part in parts for hash_, text in part.items()}
