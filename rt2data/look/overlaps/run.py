"""Finds all overlaps between stores: files of rows are read once, then ranges of keys are compared, both by any worker.

Memory holds one range of keys, and 16 to 32 bytes per episode and, if appearance is compared, per picture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np

from rt2data.look.overlaps.alike import CHUNKS
from rt2data.look.overlaps.model import Overlap, Overlaps, Part, Sample, What, level_of
from rt2data.look.overlaps.pairs import Looks, Pairs, RangeOrder, Spot, alike, compare_range, shared_keys
from rt2data.look.overlaps.pictures import Decoded, PicturesOrder, decode_pictures
from rt2data.look.overlaps.rows import Found, RowsOrder, add_episodes, read_rows
from rt2data.look.overlaps.seen import Seen, joined, key_ranges
from rt2data.look.stats.run import Passed, StatsPool, results
from rt2data.order import mix64
from rt2data.prepare.store import Store
from rt2data.records import RANK

COMPARED, DECODED = 1 << 20, 1 << 13
"""Number of keys compared together, and of pictures decoded per work order."""
FARTHEST = 4 * CHUNKS - 1
"""Maximum allowed differing bits of hashes: beyond this, pictures that are not alike would match."""


@dataclass(frozen=True)
class Asked:
    """What to search for besides equal bytes, COCO ids and episodes."""

    near: int | None = None  # maximum differing hash bits of pictures that look alike
    pixels: bool = False


@dataclass(frozen=True)
class Subject:
    """The stores to compare."""

    recipe: str
    stores: Mapping[str, Store]
    trained: frozenset[str]  # sources that are drawn from
    split: str  # the split that is drawn

    @property
    def parts(self) -> list[Part]:
        """Every split of every store that has rows."""
        return [
            Part(name, split, store.info.kind, name in self.trained and split == self.split, here.rows, here.images)
            for name, store in self.stores.items()
            for split, here in sorted(store.info.splits.items())
            if here.rows
        ]


def find_overlaps(
    subject: Subject, asked: Asked, scratch: Path, pool: StatsPool | None = None, report: Callable[[Passed], None] = lambda _: None
) -> Overlaps:
    """Everything the parts share. Raises DataError if a store cannot be read."""
    return _Run(subject, asked, scratch, pool, report, subject.parts).all()


@dataclass
class _Run:
    subject: Subject
    asked: Asked
    scratch: Path
    pool: StatsPool | None
    report: Callable[[Passed], None]
    parts: list[Part]

    def all(self) -> Overlaps:
        """All overlaps: bytes and COCO ids, episodes, then those that need decoding."""
        orders = list(self._row_orders())
        found: list[Found] = list(self._work(orders, "read", read_rows))
        pictures, coco = sum(each.pictures for each in found), sum(each.coco for each in found)
        pairs: dict[What, Pairs] = {
            "bytes": self._compare([Path(f"{order.found}-bytes") for order in orders], pictures),
            "coco": self._compare([Path(f"{order.found}-coco") for order in orders], coco),
            "actions": shared_keys(self._episodes(found, orders), len(self.parts)),
        }
        decoded = self._decode([order for order in orders if order.places], pictures) if self.asked != Asked() else []
        if self.asked.pixels:
            paths = [self._pixels(number) for number in range(len(decoded))]
            pairs["pixels"] = self._compare(paths, sum(each.pixels for each in decoded))
        if self.asked.near is not None and decoded:
            looks = Looks(*map(np.concatenate, zip(*(each.looks for each in decoded), strict=True)))
            pairs["alike"] = alike(looks, len(self.parts), self.asked.near)
        overlaps = [each for what, some in pairs.items() for each in self._overlaps(what, some)]
        return Overlaps(
            recipe=self.subject.recipe,
            parts=tuple(self.parts),
            overlaps=tuple(sorted(overlaps, key=lambda each: (RANK[each.level], each.what, each.one, each.other))),
            near=self.asked.near,
            plain=sum(each.plain for each in decoded),
            unread=sum(each.unread for each in decoded),
        )

    def _work(self, orders: Sequence[Any], name: str, work: Callable[[Any], Any]) -> Iterator[Any]:
        return results(orders, self.pool, name, self.report, work)

    def _store(self, part: int) -> Store:
        return self.subject.stores[self.parts[part].source]

    def _row_orders(self) -> Iterator[RowsOrder]:
        for number, part in enumerate(self.parts):
            store, places = self._store(number), part.kind == "web" and self.asked != Asked()
            files = store.info.splits[part.split].files
            firsts = np.cumsum([0, *files]).tolist()
            for file, first in enumerate(firsts[:-1]):
                yield RowsOrder(str(store.path), part.split, file, number, first, f"{self.scratch}/{number}-{file}", places)

    def _compare(self, paths: Sequence[Path], count: int) -> Pairs:
        """Keys shared in some files."""
        orders = [RangeOrder(tuple(paths), keys, len(self.parts)) for keys in key_ranges(count, COMPARED)]
        empty = Pairs(np.zeros((len(self.parts),) * 2, np.int64), {})
        return reduce(Pairs.plus, self._work(orders, "compare", compare_range), empty)

    def _episodes(self, found: Sequence[Found], orders: Sequence[RowsOrder]) -> Seen:
        """The episodes of all robots; the same steps and actions give the same key."""
        empty = joined(Seen, [])
        by_part = [
            reduce(add_episodes, (each.episodes for each, order in zip(found, orders, strict=True) if order.part == number), empty)
            for number in range(len(self.parts))
        ]
        every = joined(Seen, by_part)
        return every._replace(key=mix64(every.key, 2))

    def _decode(self, orders: Sequence[RowsOrder], count: int) -> list[Decoded]:
        """The decoded pictures of the web side."""
        places = tuple(Path(f"{order.found}-places") for order in orders)
        seen = tuple(Path(f"{order.found}-bytes") for order in orders)
        stores = {order.part: order.store for order in orders}
        work = [
            PicturesOrder(places, seen, keys, stores, self.asked.near is not None, self._pixels(at) if self.asked.pixels else None)
            for at, keys in enumerate(key_ranges(count, DECODED))
        ]
        return list(self._work(work, "decode", decode_pictures)) if orders else []

    def _pixels(self, number: int) -> Path:
        return self.scratch / f"pixels-{number}"

    def _overlaps(self, what: What, pairs: Pairs) -> Iterator[Overlap]:
        for (a, b), examples in sorted(pairs.examples.items()):
            shown = tuple((self._sample(what, one), self._sample(what, other)) for one, other in examples)
            level = level_of(what, self.parts[a], self.parts[b])
            yield Overlap(what, str(self.parts[a]), str(self.parts[b]), int(pairs.counts[a, b]), level, shown)

    def _sample(self, what: What, spot: Spot) -> Sample:
        """The sample for a row."""
        part, row = spot
        store = self._store(part)
        table = store.take(self.parts[part].split, np.array([row]))
        images = [image for image in table["images"][0].as_py() if image["chosen"]]
        path = store.stamps[images[0]["file"]].path if images and what != "actions" else ""
        return Sample(str(self.parts[part]), table["key"][0].as_py(), table["group"][0].as_py(), path)
