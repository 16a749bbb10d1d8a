"""What is summed: the files of rows of one split of one source, and what is known of them. Small: every work order carries it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import msgspec
import pyarrow as pa

from rt2data.errors import DataError
from rt2data.prepare.statistics import DimStats
from rt2data.prepare.store import Lost, Store, StoreInfo, read_columns, rows_file
from rt2data.read.action_space import SPACE, ActionSpace, load_space
from rt2data.records import Kind, Slot
from rt2data.render.codecs.table import Codec, codec_from_json, make_codec

GENERIC = "generic_nd"


@dataclass(frozen=True, slots=True)
class RowSet:
    """One split of one source, as files of rows."""

    name: str
    kind: Kind
    source: str  # kind of raw format
    split: str
    folder: str
    files: int
    rows: int
    digest: str
    camera: str  # the one that the mixture takes
    slots: tuple[Slot, ...]
    action_dim: int
    state_dim: int
    space: str = ""  # the action space as JSON; empty for web
    codec: str = ""  # the codec as JSON; empty for web, and where none can be made
    note: str = ""  # why none can be made
    job: str = ""  # the job as JSON, where it is known how text becomes tokens
    lost: tuple[Lost, ...] = ()
    conversions: tuple[tuple[str, int], ...] = ()

    def read(self, number: int, columns: Sequence[str]) -> pa.Table:
        """Some columns of one file of rows, in one piece. Raises DataError."""
        return read_columns(rows_file(Path(self.folder), self.split, number), columns).combine_chunks()

    @property
    def place(self) -> str:
        """source/split, as leaks and warnings name it."""
        return f"{self.name}/{self.split}"


def rowsets(store: Store, codec: str, splits: Sequence[str] = (), bounds: str | None = None) -> list[RowSet]:
    """The splits of a prepared store that have rows, or those of them that are named.

    `codec` is the name of the codec for actions; its bounds are those of the split `bounds`, or of each split by itself. Raises
    UsageError where the store is not complete or its action space cannot be read.
    """
    info, space = store.info, _space_of(store.info)
    bounds = bounds if bounds in info.splits else None
    here = [split for split in info.splits if info.splits[split].rows and (not splits or split in splits)]
    bare = [_bare(store, split, space, _codec_of(store, bounds or split, codec, space)) for split in here]
    conversions = tuple(sorted(info.conversions.items()))
    return [*(replace(each, lost=info.rejects, conversions=conversions) for each in bare[:1]), *bare[1:]]


def _bare(store: Store, split: str, space: ActionSpace | None, codec: tuple[str, str]) -> RowSet:
    info = store.info
    return RowSet(
        name=info.name,
        kind=info.kind,
        source=info.source,
        split=split,
        folder=str(store.path),
        files=len(info.splits[split].files),
        rows=info.splits[split].rows,
        digest=info.digest,
        camera=info.camera,
        slots=info.slots,
        action_dim=info.action_dim,
        state_dim=info.state_dim,
        space=written(space) if space else "",
        codec=codec[0],
        note=codec[1],
    )


def written(space: ActionSpace) -> str:
    """An action space as JSON."""
    return SPACE.dump_json(space, by_alias=True, exclude_none=True).decode()


def _space_of(info: StoreInfo) -> ActionSpace | None:
    if info.kind != "robot" or not info.action_dim:
        return None
    return load_space(str(info.settings.get("action_space", GENERIC))).sized(info.action_dim)


def _codec_of(store: Store, split: str, name: str, space: ActionSpace | None) -> tuple[str, str]:
    """The codec with bounds by the statistics of a split; or why there is none."""
    if space is None:
        return "", ""
    found = msgspec.json.decode((store.path / "stats.json").read_bytes())[split]["action"]
    try:
        return json.dumps(make_codec(name, space, DimStats.from_json(found)).to_json()), ""
    except DataError as error:
        return "", str(error)


@lru_cache(maxsize=64)
def space_from(text: str) -> ActionSpace:
    """The action space of a RowSet."""
    return SPACE.validate_json(text)


@lru_cache(maxsize=64)
def codec_from(text: str) -> Codec:
    """The codec of a RowSet."""
    return codec_from_json(json.loads(text))


RENDERED = ("key", "group", "step", "text", "answers", "pick", "action", "state", "terminate")
"""Columns that the renderer needs."""
