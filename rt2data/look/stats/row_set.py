"""The data that statistics are summed over: one split of one source as files of rows. Kept small, because every work order carries
it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import pyarrow as pa

from rt2data.errors import DataError
from rt2data.io.location import path_of
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
    camera: str  # the one the mixture uses
    slots: tuple[Slot, ...]  # the image slots of its examples
    action_dim: int
    state_dim: int
    horizon: int = 1  # actions per example
    space: str = ""  # the action space as JSON; empty for web
    codec: str = ""  # the codec as JSON; empty for web, and if none can be made
    note: str = ""  # why no codec can be made
    job: str = ""  # the job as JSON, if tokenization is known
    lost: tuple[Lost, ...] = ()
    conversions: tuple[tuple[str, int], ...] = ()
    grown: bool = False  # see `StoreInfo.grown`

    @property
    def has_actions(self) -> bool:
        """Whether it is a robot's."""
        return self.kind == "robot"

    def read(self, number: int, columns: Sequence[str]) -> pa.Table:
        """Columns of one file of rows, in one chunk. Raises DataError."""
        folder = path_of(self.folder)
        if self.grown:
            return Store(folder).read(self.split, number, columns).combine_chunks()
        return read_columns(rows_file(folder, self.split, number), columns).combine_chunks()

    @property
    def cameras(self) -> set[str]:
        """The cameras that the mixture uses."""
        return {self.camera, *(slot.camera for slot in self.slots)}

    @property
    def place(self) -> str:
        """source/split, as used in leaks and warnings."""
        return f"{self.name}/{self.split}"


def row_sets(store: Store, codec: str, splits: Sequence[str] = (), bounds: str | None = None) -> list[RowSet]:
    """The splits of a prepared store that have rows; only those in `splits` if any are named.

    `codec` names the codec for actions; its bounds are those of the split `bounds`, or else of each split itself. Rejects and
    conversions belong to the whole store and are listed with its first split. Raises UsageError if the store is not complete or its
    action space cannot be read.
    """
    info, space = store.info, _space_of(store.info)
    bounds = bounds if bounds in info.splits else None
    here = [split for split in info.splits if info.splits[split].rows and (not splits or split in splits)]
    found = [_row_set(store, split, space, _codec_of(store, bounds or split, codec, space)) for split in here]
    conversions = tuple(sorted(info.conversions.items()))
    return [*(replace(each, lost=info.rejects, conversions=conversions) for each in found[:1]), *found[1:]]


def _row_set(store: Store, split: str, space: ActionSpace | None, codec: tuple[str, str]) -> RowSet:
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
        horizon=info.horizon,
        space=space_to_json(space) if space else "",
        codec=codec[0],
        note=codec[1],
        grown=split in info.grown,
    )


def _space_of(info: StoreInfo) -> ActionSpace | None:
    if not info.has_actions or not info.action_dim:
        return None
    return load_space(str(info.settings.get("action_space", GENERIC))).sized(info.action_dim)


def _codec_of(store: Store, split: str, name: str, space: ActionSpace | None) -> tuple[str, str]:
    """The codec with bounds from the statistics of a split, or the reason why there is none."""
    if space is None:
        return "", ""
    try:
        return json.dumps(make_codec(name, space, store.action_stats(split)).to_json()), ""
    except DataError as error:
        return "", str(error)


def space_to_json(space: ActionSpace) -> str:
    """An action space as JSON."""
    return SPACE.dump_json(space, by_alias=True, exclude_none=True).decode()


@lru_cache(maxsize=64)
def space_from_json(text: str) -> ActionSpace:
    """The action space of a RowSet."""
    return SPACE.validate_json(text)


@lru_cache(maxsize=64)
def codec_of(text: str) -> Codec:
    """The codec of a RowSet."""
    return codec_from_json(json.loads(text))
