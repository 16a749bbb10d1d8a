"""Checks one shard: its file, its examples, their sums and their order. A plain function of (output, shard number)."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import msgspec
import numpy as np
import xxhash
from numpy.typing import NDArray

from rt2data.errors import DataError
from rt2data.formats.base import Member
from rt2data.io.digest import sized_hash
from rt2data.look.differences import differences
from rt2data.look.verify.expected import Checked, Expected, ExpectedSource, open_expected
from rt2data.look.verify.findings import EpochSums, Fault, ShardFindings
from rt2data.look.verify.records import image_bytes, image_faults, record_faults, row_key
from rt2data.look.verify.rendering import DECODED, PlacedRecord, rendering_faults
from rt2data.order import I64
from rt2data.read.text import is_blank
from rt2data.render.fields import ExampleRecord
from rt2data.render.record import decode_record
from rt2data.write.shard import ShardInfo, SideTotals, shard_sources

MAX_FAULTS = 10_000
"""Maximum faults reported per shard; the rest are counted."""
MAX_ORDER = 100
"""Maximum examples out of order reported per shard: a single shift puts all later examples out of order."""
BATCH = 2048
"""Number of records whose texts and actions are checked together."""
COLUMNS = {"number": "q", "epoch": "q", "prompt": "q", "target": "q", "image": "q", "row": "Q", "key": "Q"}
"""Columns per example: the source's number in the plan, epoch, tokens, image bytes, hashes of row and key."""
MAX_EPOCH = 2**62
UNKNOWN = -1
"""Source number of an example whose record cannot be read."""


@dataclass(frozen=True, slots=True)
class ShardCheck:
    """Work order: check one shard of an output."""

    folder: str
    manifest_hash: str
    index: int

    @property
    def label(self) -> str:
        return f"verify shard {self.index}"


def verify_shard(order: ShardCheck) -> ShardFindings:
    """Check one shard in isolation. Everything wrong becomes a Fault; it raises nothing itself."""
    expected = open_expected(order.folder, order.manifest_hash)
    return ShardVerifier(expected, order.index).verify()


@dataclass
class ShardContents:
    """The examples of one shard, checked when added; kept as columns of numbers."""

    expected: Expected
    report: Callable[[str, str], None]  # where, what
    names: list[str] = field(default_factory=list)  # keys
    columns: dict[str, array[int]] = field(default_factory=lambda: {name: array(code) for name, code in COLUMNS.items()})
    empty: Counter[str] = field(default_factory=Counter)  # source -> examples with a blank instruction or question
    _waiting: dict[str, list[PlacedRecord]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.names)

    def column(self, name: str) -> I64:
        """int64[examples]."""
        return np.array(self.columns[name], np.int64)

    def where(self, at: int) -> str:
        """A description of how to find an example."""
        return f"example {at}, key {self.names[at]}"

    def add(self, member: Member) -> None:
        """Check one example."""
        at = len(self.names)
        self.names.append(member.key)
        for what in image_faults(member):
            self.report(self.where(at), what)
        record = self._decoded(at, member)
        source = self.expected.sources.get(record.source) if record else None
        loss_tokens = record.loss_mask.count(1) if record else 0
        self._append(member, record, source, loss_tokens)
        if record is None or source is None:
            return
        self.empty[record.source] += self._is_blank(record, source)
        decodable = True
        for name, what in record_faults(Checked(member, record, source, self.expected)):
            self.report(self.where(at), what)
            decodable &= name not in DECODED
        waiting = self._waiting.setdefault(record.source, [])
        waiting.append(PlacedRecord(at, record, loss_tokens, decodable))
        if len(waiting) >= BATCH:
            self._flush(record.source)

    def _decoded(self, at: int, member: Member) -> ExampleRecord | None:
        try:
            record = decode_record(member.record)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            self.report(self.where(at), f"not an example record: {error}")
            return None
        if record.source not in self.expected.sources:
            self.report(self.where(at), f"its source {record.source!r} is not in the plan")
        return record

    def _append(self, member: Member, record: ExampleRecord | None, source: ExpectedSource | None, loss_tokens: int) -> None:
        """Append one entry to every column."""
        prompt = len(record.input_ids) - loss_tokens if record else 0
        row = xxhash.xxh3_64_intdigest(row_key(record).encode()) if record else 0
        epoch = min(record.epoch, MAX_EPOCH) if record else UNKNOWN
        number, key = source.number if source else UNKNOWN, xxhash.xxh3_64_intdigest(member.key.encode())
        values = (number, epoch, prompt, loss_tokens, image_bytes(member), row, key)
        for column, value in zip(self.columns.values(), values, strict=True):
            column.append(value)

    def _is_blank(self, record: ExampleRecord, source: ExpectedSource) -> bool:
        template = self.expected.template
        slot = template.slot(record.prompt, source.robot) if template else None
        return slot is not None and is_blank(slot)

    def flush(self) -> None:
        """Check the records of an incomplete batch."""
        for name in list(self._waiting):
            self._flush(name)

    def _flush(self, name: str) -> None:
        for at, what in rendering_faults(self._waiting.pop(name), self.expected.sources[name], self.expected):
            self.report(self.where(at), what)

    def robots(self) -> int:
        """The number of robot examples."""
        numbers = [source.number for source in self.expected.sources.values() if source.robot]
        return int(np.isin(self.column("number"), numbers).sum())

    def totals(self) -> dict[str, SideTotals]:
        """Sums by source."""
        return {name: self._total(self.column("number") == source.number) for name, source in self.expected.sources.items()}

    def _total(self, mine: NDArray[np.bool_]) -> SideTotals:
        prompt, target, image = (self.column(name)[mine] for name in ("prompt", "target", "image"))
        longest = int((prompt + target).max()) if len(prompt) else 0
        return SideTotals(len(prompt), int(prompt.sum()), int(target.sum()), int(image.sum()), longest)

    def epochs(self) -> dict[tuple[str, int], EpochSums]:
        """Examples and sum of row hashes by source and epoch."""
        number, epoch, row = self.column("number"), self.column("epoch"), np.array(self.columns["row"], np.uint64)
        found = {}
        for name, source in self.expected.sources.items():
            for e in np.unique(epoch[number == source.number]).tolist():
                mine = row[(number == source.number) & (epoch == e)]
                found[name, e] = EpochSums(len(mine), int(mine.sum()))
        return found


@dataclass
class ShardVerifier:
    """Checks one shard."""

    expected: Expected
    index: int
    faults: list[Fault] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.info: ShardInfo = self.expected.manifest.shards[self.index]
        self.name = self.expected.shard_name(self.index)
        self.path = self.expected.folder / self.name
        self.contents = ShardContents(self.expected, self.report)

    def report(self, where: str, what: str) -> None:
        """Add a fault."""
        self.faults.append(Fault(self.name, where, what))

    def verify(self) -> ShardFindings:
        """The contents of the shard, and everything wrong with it."""
        size = self._check_bytes()
        if size is not None:
            for member in self._members():
                self.contents.add(member)
            self.contents.flush()
            self._check_counts()
            self._check_order()
        return self._findings(size or 0)

    def _check_bytes(self) -> int | None:
        """Check size and hash against the manifest; returns the size, or None if the file cannot be read."""
        try:
            size, digest = sized_hash(self.path)
        except OSError as error:
            self.report("", "is missing" if isinstance(error, FileNotFoundError) else f"cannot be read: {error.strerror}")
            return None
        if size != self.info.bytes:
            self.report("", f"has {size:,} bytes, the manifest says {self.info.bytes:,}")
        if digest != self.info.xxh3_128:
            what = f"its bytes are not those that were written: xxh3-128 is {digest}, the manifest says {self.info.xxh3_128}"
            self.report("", what)
        return size

    def _members(self) -> Iterator[Member]:
        """All readable examples of the shard; it is a fault if the format's reader stops early."""
        try:
            yield from self.expected.format.read(self.path)
        except DataError as error:
            place = error.where.removeprefix(str(self.path)).strip()
            read = len(self.contents)
            self.report(place, f"{error.what}; read up to here: {read:,} of {self.info.examples:,} examples")
        except OSError as error:
            self.report("", f"cannot be read: {error.strerror}")

    def _check_counts(self) -> None:
        """Check sums against the manifest, source by source."""
        totals = self.contents.totals()
        for name in sorted(self.info.sources.keys() | totals.keys()):
            held, said = (msgspec.to_builtins(sums.get(name, SideTotals())) for sums in (totals, self.info.sources))
            for each in differences(held, said):
                self.report(f"source {name}", f"holds {each.path} {each.before:,} (the manifest says {each.after:,})")
        if self.info.examples != len(self.contents):
            self.report("", f"holds {len(self.contents):,} examples, the manifest says {self.info.examples:,}")

    def _check_order(self) -> None:
        """Check sources and epochs against the plan, example by example, if their number is right."""
        layout, plan = self.expected.layout, self.expected.plan
        if layout is None:
            return
        seen = self.contents.column("number")
        first, end = layout[self.index], layout[self.index + 1]
        planned = end - first
        if len(seen) != planned.sum():
            self.report("", f"holds {len(seen):,} examples, the plan says {planned.sum():,}: their order was not compared")
            return
        self._check_robot_share()
        self._check_sources(seen, shard_sources(layout, self.index))
        for source in plan.sources:
            self._check_epochs(source.name, int(first[self.expected.sources[source.name].number]), source.rows, seen)

    def _check_robot_share(self) -> None:
        """Check that the robot examples are within one of the shard's exact share, if shards are mixed."""
        plan, robots = self.expected.plan, self.contents.robots()
        share = len(self.contents) * plan.robot_examples / plan.num_examples
        if not plan.parts and abs(robots - share) >= 1:
            self.report("", f"holds {robots:,} robot examples, its share is {share:,.2f}")

    def _check_sources(self, seen: I64, wanted: NDArray[np.int32]) -> None:
        wrong = np.flatnonzero((seen != wanted) & (seen != UNKNOWN))
        names = [s.name for s in self.expected.plan.sources]
        for at in wrong[:MAX_ORDER].tolist():
            what = f"is of source {names[seen[at]]}, the plan's order has {names[wanted[at]]} here"
            self.report(self.contents.where(at), what)
        self._count_rest(len(wrong), "examples of another source than the plan's order has")

    def _check_epochs(self, name: str, first: int, rows: int, seen: I64) -> None:
        """Check epochs: draw k of a source has epoch k // rows."""
        at = np.flatnonzero(seen == self.expected.sources[name].number)
        epochs = self.contents.column("epoch")[at]
        wanted = (first + np.arange(len(at))) // rows
        wrong = np.flatnonzero(epochs != wanted)
        for k in wrong[:MAX_ORDER].tolist():
            self.report(self.contents.where(int(at[k])), f"has epoch {epochs[k]}, the plan has {wanted[k]} here")
        self._count_rest(len(wrong), f"examples of {name} with another epoch than the plan's")

    def _count_rest(self, count: int, what: str) -> None:
        if count > MAX_ORDER:
            self.report("", f"and {count - MAX_ORDER:,} more {what}")

    def _findings(self, size: int) -> ShardFindings:
        faults = self.faults[:MAX_FAULTS]
        if len(self.faults) > MAX_FAULTS:
            faults.append(Fault(self.name, "", f"and {len(self.faults) - MAX_FAULTS:,} more faults"))
        return ShardFindings(
            name=self.name,
            index=self.index,
            bytes=size,
            examples=len(self.contents),
            robot=self.contents.robots(),
            totals=self.contents.totals(),
            epochs=self.contents.epochs(),
            keys=np.array(self.contents.columns["key"], np.uint64),
            empty=self.contents.empty,
            faults=tuple(faults),
        )
