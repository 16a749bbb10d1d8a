"""Where each row is written: a store holds rows in random order, an output of episodes holds whole episodes, steps in order.

An episode with steps missing in the middle is cut there, dropped or joined, as the source's `gaps` says: readers of episodes assume
that two adjacent steps are consecutive in time.

Only small columns are read, one file of rows at a time. Episodes are ordered by a keyed hash of their names, as in TFDS, so that
any part of the output is a fair sample; web rows are already in such an order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rt2data.formats.rlds.dataset import ShardPlan
from rt2data.order import I64, U64, key64
from rt2data.prepare.store import Store
from rt2data.read.source import RobotSource, Source

STEP_BYTES = 160
"""Approximate bytes of a step without its images."""

ImageKind = tuple[str, str, int, int]
"""Camera, format, height, width."""


@dataclass(frozen=True)
class SplitIndex:
    """Order and sizes of one split of n rows, in store order."""

    places: I64  # n: output position of each row; dropped rows come last
    pieces: I64  # n: which piece of its episode each row is in, 0 if not cut
    starts: I64  # per episode: output position of its first row
    sizes: I64  # per episode: approximate bytes
    kinds: Mapping[ImageKind, int]  # number of rows with such an image, dropped ones included
    rows: int  # number of rows written
    gapped: int = 0  # episodes with steps missing in the middle

    @property
    def kept(self) -> NDArray[np.bool_]:
        """bool[n]: whether each row is written."""
        found: NDArray[np.bool_] = self.places < self.rows
        return found

    @property
    def dropped(self) -> int:
        """Number of rows not written."""
        return len(self.places) - self.rows

    @property
    def added(self) -> int:
        """Number of extra episodes that begin after a gap."""
        found = np.empty_like(self.pieces)
        found[self.places] = self.pieces
        return int((found[self.starts] > 0).sum())

    def shards(self, shard_bytes: int) -> tuple[ShardPlan, ...]:
        """Runs of whole episodes of about `shard_bytes` each."""
        if not len(self.starts):
            return ()
        total = int(self.sizes.sum())
        count = max(1, min(len(self.starts), round(total / shard_bytes)))
        before = np.cumsum(self.sizes) - self.sizes
        number = before * count // max(total, 1)
        firsts = np.flatnonzero(np.diff(number, prepend=-1))
        edges = np.append(self.starts[firsts], self.rows).tolist()
        episodes = np.diff(np.append(firsts, len(self.starts))).tolist()
        return tuple(ShardPlan(a, b - a, n) for a, b, n in zip(edges, edges[1:], episodes, strict=False))


@dataclass(frozen=True)
class GapRule:
    """How to treat episodes with steps missing in the middle; pieces with fewer steps than `shortest` are dropped."""

    gaps: Literal["cut", "drop", "join"]
    shortest: int = 1

    @staticmethod
    def of(source: Source) -> GapRule:
        """The rule of a source."""
        return GapRule(source.gaps, source.filters.min_steps) if isinstance(source, RobotSource) else GapRule("join")


def index_split(store: Store, split: str, cameras: set[str], rule: GapRule) -> SplitIndex:
    """Order of one split; only images of `cameras` are written."""
    groups, steps, sizes, kinds = [np.empty(0, np.uint64)], [], [], Counter[ImageKind]()
    for number in range(len(store.info.splits[split].files)):
        table = store.read(split, number, ["group", "step", "images"])
        images = _images(table, cameras)
        groups += [_hashes(table["group"])] if store.info.has_actions else []
        steps.append(table["step"].to_numpy().astype(np.int64))
        sizes.append(np.bincount(images["row"], images["length"], table.num_rows).astype(np.int64) + STEP_BYTES)
        kinds.update(_kinds(images))
    size = np.concatenate(sizes)
    if not store.info.has_actions:
        whole = np.arange(len(size), dtype=np.int64)
        return SplitIndex(whole, np.zeros_like(whole), whole, size, kinds, len(whole))
    return order_episodes(np.concatenate(groups), np.concatenate(steps), size, kinds, rule)


def _hashes(groups: pa.ChunkedArray) -> U64:
    """Keyed hash of each row's episode."""
    coded = groups.combine_chunks().dictionary_encode()
    hashes = np.array([key64("episode", name) for name in coded.dictionary.to_pylist()], np.uint64)
    found: U64 = hashes[coded.indices.to_numpy()]
    return found


def _images(table: pa.Table, cameras: set[str]) -> pa.Table:
    """The images of these cameras, with the row number of each."""
    images = table["images"].combine_chunks()
    fields = {name: images.flatten().field(name) for name in ("camera", "at", "format", "height", "width", "length")}
    found = pa.table({**fields, "row": pc.list_parent_indices(images).cast(pa.int64())})
    wanted = pc.is_in(found["camera"], pa.array(sorted(cameras), pa.string()))
    return found.filter(pc.and_(wanted, pc.equal(found["at"], 0)))


def _kinds(images: pa.Table) -> Counter[ImageKind]:
    grouped = images.group_by(["camera", "format", "height", "width"], use_threads=False).aggregate([("row", "count")])
    return Counter({(r["camera"], r["format"], r["height"], r["width"]): r["row_count"] for r in grouped.to_pylist()})


def order_episodes(group: U64, step: I64, size: I64, kinds: Mapping[ImageKind, int], rule: GapRule) -> SplitIndex:
    """Order n rows by hash of their episode, then by step; `size` is the bytes of each."""
    order = np.lexsort((step, group))
    begins, jumps = _edges(group[order], step[order])
    episode = np.cumsum(begins) - 1
    gapped = np.bincount(episode, jumps) > 0
    cuts = begins | jumps if rule.gaps == "cut" else begins
    piece = np.cumsum(cuts) - 1
    keep = ~gapped[episode] | _fits(rule, np.bincount(piece)[piece])
    places, pieces = np.empty_like(order), np.empty_like(order)
    places[np.concatenate([order[keep], order[~keep]])] = np.arange(len(order))
    pieces[order] = piece - piece[np.flatnonzero(begins)][episode]
    starts = np.flatnonzero(cuts[keep])
    sizes = np.add.reduceat(size[order][keep], starts) if len(starts) else starts
    return SplitIndex(places, pieces, starts, sizes, kinds, int(keep.sum()), int(gapped.sum()))


def _edges(group: U64, step: I64) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """bool[n], bool[n]: rows (in order) that begin an episode, and rows inside one that do not follow the previous step."""
    begins = np.append(True, group[1:] != group[:-1])
    return begins, ~begins & (np.diff(step, prepend=step[:1]) != 1)


def _fits(rule: GapRule, length: I64) -> NDArray[np.bool_]:
    """Whether a piece of an episode with gaps is written, by its length."""
    found: NDArray[np.bool_] = (length >= rule.shortest) & (rule.gaps == "cut") | (rule.gaps == "join")
    return found
