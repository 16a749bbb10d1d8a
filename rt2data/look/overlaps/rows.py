"""Finds the pictures, COCO images and episodes in one file of rows. A work order for any worker."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from numpy.typing import NDArray

from rt2data.io.location import path_of
from rt2data.look.overlaps.seen import Place, Seen, begins, joined, write_sorted
from rt2data.order import I64, U64, mix64
from rt2data.prepare.row_table import vectors
from rt2data.prepare.store import FILES_PARQUET, Store, stamps_table

COCO_NAME = re.compile(r"(?:^|[/\\])(?:COCO_(?:train|val|test)20\d\d_)?(\d{12})\.[A-Za-z]+$")
"""COCO_train2014_000000000139.jpg and 000000000139.jpg are the same image."""
COCO_GROUP = re.compile(r"(?:COCO_[a-z]+20\d\d_)?(\d{12})")
NUMBER = re.compile(r"\d{1,12}")
COCO = "coco"
"""Occurs in the settings of a source whose groups are plain COCO ids, as in VQAv2's and OK-VQA's own files."""
NONE, OWN = -1, -2
"""No COCO id; and the marker for images in a store's own file, which have lost their names."""


class RowsOrder(NamedTuple):
    """A file of rows, and where to write the findings."""

    store: str
    split: str
    number: int
    part: int
    first: int  # index of its first row in the split
    found: str  # prefix of the files to write
    places: bool  # whether to keep the images' places


class Found(NamedTuple):
    """The results: counts of pictures and COCO images written, one per group; and the episodes' actions."""

    pictures: int
    coco: int
    episodes: Seen  # `key`: sum of the hashes of a group's steps here


def read_rows(order: RowsOrder) -> Found:
    """Write keys of pictures (`-bytes`) and of COCO images (`-coco`), and places. Raises DataError."""
    store = Store(path_of(order.store))
    robot = store.info.has_actions
    table = store.read(order.split, order.number, ["group", "images", *(["step", "action"] if robot else [])])
    groups, names = _groups(table["group"])
    images, row = _taken(table["images"])
    part, numbers = np.full(len(row), order.part, np.int32), order.first + row
    hashes = images.field("xxh3").to_numpy()
    pictures = Seen(hashes, part, groups[row], numbers).once()
    write_sorted(Path(f"{order.found}-bytes"), pictures)
    ids = _coco_ids(store, images.field("file").to_numpy(), names[row])
    known = ids >= 0
    coco = Seen(mix64(ids[known].astype(np.uint64), 0), part[known], groups[row][known], numbers[known]).once()
    write_sorted(Path(f"{order.found}-coco"), coco)
    if order.places:
        files, offsets, lengths = (images.field(name).to_numpy() for name in ("file", "offset", "length"))
        write_sorted(Path(f"{order.found}-places"), Place(hashes, part, files, offsets, lengths).once())
    episodes = _episodes(table, groups, order, store.info.action_dim) if robot else pictures.take(np.empty(0, np.int64))
    return Found(len(pictures.key), len(coco.key), episodes)


def _groups(column: pa.ChunkedArray) -> tuple[U64, NDArray[np.int64]]:
    """For each row: the hash of its group, and the group's number if that is, or may be (negative, from -2 on), a COCO id."""
    coded = column.combine_chunks().dictionary_encode()
    texts = coded.dictionary.to_pylist()
    hashes = np.array([xxhash.xxh3_64_intdigest(text.encode()) for text in texts], np.uint64)
    at = coded.indices.to_numpy()
    return hashes[at], np.array([_named(text) for text in texts], np.int64)[at]


def _named(group: str) -> int:
    if found := COCO_GROUP.fullmatch(group):
        return int(found[1])
    return -2 - int(group) if NUMBER.fullmatch(group) else NONE


def _taken(column: pa.ChunkedArray) -> tuple[pa.StructArray, I64]:
    """The images that a mixture uses, and the row of each."""
    lists = column.combine_chunks()
    every, chosen = lists.flatten(), pc.struct_field(lists.flatten(), "chosen")
    row = np.repeat(np.arange(len(lists)), np.diff(lists.offsets.to_numpy()))
    return every.filter(chosen), row[chosen.to_numpy(zero_copy_only=False)]


def _coco_ids(store: Store, files: NDArray[np.int32], named: I64) -> I64:
    """The COCO id of each image, from its file name or else its group; negative if neither is one."""
    by_file = _file_ids(str(store.path))[files]
    numbers = (by_file == OWN) & (COCO in str(store.info.settings).lower())
    by_group = np.where(numbers & (named <= -2), -2 - named, named)
    found: I64 = np.where(by_file >= 0, by_file, by_group)
    return found


@lru_cache(maxsize=4)
def _file_ids(store: str) -> I64:
    """The COCO id of each of a store's files, `OWN`, or `NONE` if its name is not a COCO name."""
    paths = stamps_table(path_of(store) / FILES_PARQUET)["path"].to_pylist()
    stores = f"{path_of(store).parent}/"
    ids = [int(found[1]) if (found := COCO_NAME.search(path)) else OWN if path.startswith(stores) else NONE for path in paths]
    return np.array([*ids, NONE], np.int64)


def _episodes(table: pa.Table, groups: U64, order: RowsOrder, dim: int) -> Seen:
    """For each group, the sum of hashes of step and action over its rows in this file: rows may be in any order, and sums of files
    can be added.
    """
    actions = vectors(table["action"], dim)
    hashed = mix64(table["step"].to_numpy().astype(np.uint64), 0)
    for column in np.empty((0, 0)) if actions is None else actions.view(np.uint32).T:
        hashed = mix64(hashed ^ column.astype(np.uint64), 1)
    by_group = np.argsort(groups, kind="stable")
    starts = np.flatnonzero(begins(groups[by_group]))
    sums = np.add.reduceat(hashed[by_group], starts) if len(starts) else hashed
    first = by_group[starts]
    return Seen(sums, np.full(len(first), order.part, np.int32), groups[first], order.first + first)


def add_episodes(some: Seen, more: Seen) -> Seen:
    """Sums of one part of the data, added by group."""
    both = joined(Seen, [some, more])
    order = np.lexsort((both.row, both.group))
    starts = np.flatnonzero(begins(both.group[order]))
    found = both.take(order[starts])
    return found._replace(key=np.add.reduceat(both.key[order], starts)) if len(starts) else found
