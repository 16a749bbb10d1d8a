"""A finished mixture on disk: the contents of its manifest, and random access to the examples of its tar shards.

Only what reading needs is decoded from the manifest, so a trainer's workers import neither pyarrow nor the recipe's modules.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from rt2data.errors import DataError, UsageError, command
from rt2data.formats.base import Member, MemberImage, ShardEntry, Sizes, slot_and_extension
from rt2data.io import location
from rt2data.io.location.base import Stat
from rt2data.io.location.open_files import RangeFiles
from rt2data.io.tar import BLOCK, padded, read_header
from rt2data.loading.sampling import Run
from rt2data.records import Slot
from rt2data.render.fields import FIELDS

FORMAT = "webdataset"
VERSION = 1
OLDEST_PLAN = 3
"""Earlier plans describe records without chunks and turns."""
_OPEN_FILES = 16
_OFFSETS = 1 << 22
"""Maximum number of cached offsets, 8 bytes each, whatever the number of examples; the shard in use is always cached."""


class SourceFacts(msgspec.Struct, frozen=True):
    """One source of the plan. `codec` decodes its action bins, `slots` are its image places."""

    name: str
    kind: str
    draws: int
    codec: dict[str, Any] | None = None
    horizon: int = 1
    slots: tuple[Slot, ...] = ()


class PartFacts(msgspec.Struct, frozen=True):
    """One source with shards of its own."""

    shards: int


class PlanFacts(msgspec.Struct, frozen=True):
    """The plan of the mixture."""

    version: int
    fingerprint: str
    format: str
    split: str
    tokenizer: dict[str, Any]
    action_dim: int
    sources: tuple[SourceFacts, ...]
    horizon: int = 1
    images: int | None = None
    more: tuple[str, ...] = ()  # fields that only some mixtures have
    parts: tuple[PartFacts, ...] = ()  # one per source, if each row is written once

    @property
    def sizes(self) -> Sizes:
        """Sizes common to all examples."""
        return Sizes(self.action_dim, self.horizon, self.images, self.more)

    @property
    def places(self) -> int:
        """Image places per example."""
        return 1 if self.images is None else self.images

    def sides(self) -> list[list[int]]:
        """Draws of the robot sources and of the web sources."""
        return [[source.draws for source in self.sources if source.kind == kind] for kind in ("robot", "web")]

    def parts_add_up(self, shards: int) -> bool:
        """Whether there are no parts, or one per source that together have all shards."""
        counts = [part.shards for part in self.parts]
        return not counts or (len(counts) == len(self.sources) and sum(counts) == shards and min(counts) > 0)


class Longest(msgspec.Struct, frozen=True):
    """The tokens of a source's longest example."""

    longest: int


class Contents(msgspec.Struct, frozen=True):
    """A finished mixture."""

    version: int
    examples: int
    robot_frac: float
    totals: dict[str, Longest]
    statistics: dict[str, Any]
    plan: PlanFacts
    shards: tuple[ShardEntry, ...]

    @property
    def pad_id(self) -> int:
        """The token that pads input_ids."""
        return int(self.plan.tokenizer["pad_id"])

    @property
    def longest(self) -> int:
        """Tokens in the longest example."""
        return max(total.longest for total in self.totals.values())

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shape per row of a batch, for each column with the same shape in the whole mixture."""
        dim, horizon = self.plan.action_dim, self.plan.horizon
        fixed: dict[str, tuple[int, ...]] = {"one": (), "vector": (dim,), "pads": (horizon,), "chunk": (horizon, dim)}
        bins = [int(source.codec["width"]) * source.horizon for source in self.plan.sources if source.codec]
        states = [len(found["state"]["mean"]) for found in self.statistics.values() if found.get("state")]
        lists = {"action_bins": (max(bins, default=0),), "state": (max(states, default=0),)}
        return {field.name: fixed[field.shape] for field in FIELDS if field.shape in fixed} | lists


def read_contents(folder: Path) -> Contents:
    """The contents of a complete output, after checking that all shards exist with the sizes in the manifest.

    Raises DataError if it is incomplete or damaged, UsageError for a format that `load` does not read.
    """
    found = _decoded(folder / "manifest.json")
    if found.plan.format != FORMAT:
        raise UsageError(f"load does not read shards of format {found.plan.format}", str(folder), f"build with format {FORMAT}")
    if found.examples != sum(shard.examples for shard in found.shards) or not found.plan.parts_add_up(len(found.shards)):
        raise DataError("a damaged manifest: examples do not add up", str(folder / "manifest.json"), "build it again")
    paths = [folder / shard.name for shard in found.shards]
    for path, shard, stat in zip(paths, found.shards, location.stats(paths), strict=True):
        _require_size(path, stat, shard.bytes)
    return found


def _decoded(path: Path) -> Contents:
    try:
        found = msgspec.json.decode(location.read_bytes(path), type=Contents)
        _ = found.pad_id, found.longest, found.shapes
    except FileNotFoundError:
        raise DataError("no manifest: not a complete output", str(path.parent), "build it") from None
    except (msgspec.MsgspecError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"a damaged manifest: {error}", str(path), "build it again") from None
    if found.version != VERSION or found.plan.version < OLDEST_PLAN:
        what = f"a mixture of manifest version {found.version}, plan version {found.plan.version}"
        raise DataError(what, str(path), "read it with the release of rt2data that wrote it, or build it again")
    return found


def require_size(path: Path, size: int) -> None:
    """Raises DataError if a shard is missing or has another size."""
    _require_size(path, location.stats([path])[0], size)


def _require_size(path: Path, stat: Stat | None, size: int) -> None:
    if stat is None:
        raise DataError("a shard is missing", str(path), "build it again, or copy the whole folder here")
    if stat.size != size:
        raise DataError(
            f"a shard has {stat.size:,} bytes where the manifest says {size:,}", str(path), "build it again, or copy it again"
        )


@lru_cache(maxsize=256)
def _slot_and_extension(name: str) -> tuple[int, str]:
    """Slot and extension from the part after the key and a dot. Raises ValueError if no image has such a name."""
    return slot_and_extension(f"key.{name}")


class _Part(NamedTuple):
    """Where one member of an example is."""

    key: str
    name: str  # the part after the key and a dot
    start: int
    stop: int


@dataclass
class Shards:
    """The shards of one mixture.

    The offsets of examples come from `shard.tar.idx` (unsigned 64-bit offsets, one per example and one past the last) if it exists
    next to a shard, else from the shard's headers, read only as far as needed. Offsets of recently read shards are cached.

    A pickled copy keeps the offsets; each process opens its own files.
    """

    folder: Path
    entries: Sequence[ShardEntry]
    _starts: dict[int, array[int]] = field(default_factory=dict)  # in order of use, latest last
    _held: int = 0  # number of cached offsets

    @cached_property
    def _files(self) -> RangeFiles:
        return RangeFiles([str(self.path(shard)) for shard in range(len(self.entries))], _OPEN_FILES, sequential=True)

    def path(self, shard: int) -> Path:
        """Path of a shard."""
        return self.folder / self.entries[shard].name

    def read(self, run: Run, images: bool = True) -> Iterator[Member]:
        """The examples of a run, in one read; without `images` only the records are read.

        The members are views that stay valid as long as they are referenced. Raises DataError naming shard and byte if the shard is
        cut or malformed.
        """
        starts = self._starts_to(run.shard, run.stop)
        if not images:
            yield from (self._record(run.shard, starts[i], starts[i + 1]) for i in range(run.start, run.stop))
            return
        origin = starts[run.start]
        whole = self._bytes(run.shard, origin, starts[run.stop])
        for i in range(run.start, run.stop):
            yield self._example(run.shard, starts[i], whole[starts[i] - origin : starts[i + 1] - origin])

    def _example(self, shard: int, at: int, whole: memoryview) -> Member:
        images = list[MemberImage]()
        for key, name, start, stop in self._parts(shard, at, whole):
            if stop - at > len(whole):
                raise self._fault(shard, at, f"{key}.{name} is larger than its example")
            body = whole[start - at : stop - at]
            if name == "json":
                break
            try:
                images.append(MemberImage(*_slot_and_extension(name), body))
            except ValueError:
                raise self._fault(shard, at, f"member '{key}.{name}' is neither an image nor a record") from None
        return Member(key, tuple(images), body)

    def _record(self, shard: int, at: int, end: int) -> Member:
        """An example without its images, which are not read."""
        *_, record = self._parts(shard, at)
        if record.stop > end:
            raise self._fault(shard, at, f"{record.key}.json is larger than its example")
        return Member(record.key, (), self._bytes(shard, record.start, record.stop))

    def _parts(self, shard: int, at: int, whole: memoryview | None = None) -> Iterator[_Part]:
        """The members of the example at `at`, its record last. Headers are read from `whole`, if given."""
        first, origin = "", at
        while True:
            header = whole[at - origin : at - origin + BLOCK] if whole is not None else self._bytes(shard, at, at + BLOCK)
            member, size = self._header(shard, at, header)
            key, _, name = member.partition(".")
            if first and key != first:
                raise self._fault(shard, at, f"images of {first!r} are not followed by their record but by {member!r}")
            first = key
            yield _Part(key, name, at + BLOCK, at + BLOCK + size)
            if name == "json":
                return
            at += BLOCK + padded(size)

    def _starts_to(self, shard: int, last: int) -> array[int]:
        """Offsets of the examples of a shard, at least up to example `last`."""
        starts = self._starts.pop(shard, None) or array("Q")
        self._held -= len(starts)
        starts = starts or self._indexed(shard) or array("Q", [0])
        while len(starts) <= last:
            *_, record = self._parts(shard, starts[-1])
            starts.append(record.start + padded(record.stop - record.start))
        self._keep(shard, starts)
        return starts

    def _keep(self, shard: int, starts: array[int]) -> None:
        """Cache the offsets of the shard used last, and drop older ones if there are too many."""
        self._starts[shard] = starts
        self._held += len(starts)
        while self._held > _OFFSETS and len(self._starts) > 1:
            self._held -= len(self._starts.pop(next(iter(self._starts))))

    def _indexed(self, shard: int) -> array[int] | None:
        """The offsets in `shard.tar.idx`, if there is one."""
        entry = self.entries[shard]
        path = self.folder / f"{entry.name}.idx"
        if not location.is_file(path):
            return None
        content = location.read_bytes(path) if location.stat(path).size == 8 * (entry.examples + 1) else b""
        found = np.frombuffer(content, "<u8")
        if not len(found) or found[0] or found[-1] > entry.bytes or not (found[1:] > found[:-1]).all():
            raise DataError("an index of another shard", str(path), "remove it, or make it again")
        return array("Q", found.tolist())

    def _header(self, shard: int, at: int, header: memoryview) -> tuple[str, int]:
        """Name and size of a member, if its header is exactly as written by us."""
        try:
            return read_header(header)
        except ValueError:
            raise self._fault(shard, at, "a damaged member header") from None

    def _fault(self, shard: int, at: int, what: str) -> DataError:
        do = f"check it: {command('verify', self.folder)}; build it again, or copy it again"
        return DataError(what, f"{self.path(shard)} byte {at}", do)

    def _bytes(self, shard: int, start: int, stop: int) -> memoryview:
        if shard not in self._files:
            require_size(self.path(shard), self.entries[shard].bytes)
        found = self._files.read(shard, start, stop - start)
        if len(found) != stop - start:
            raise self._fault(shard, start, f"cut: {len(found):,} of {stop - start:,} bytes are there")
        return memoryview(found)
