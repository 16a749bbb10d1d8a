"""Checking one shard: its file, its members, its records, their order. A plain function of (output, shard number)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from rt2data.errors import DataError
from rt2data.formats.base import Member
from rt2data.io.digest import sized_hash
from rt2data.look.verify.expected import Expected, open_expected
from rt2data.look.verify.findings import Fault, ShardSeen
from rt2data.look.verify.records import UNKNOWN, Reading
from rt2data.order import I64
from rt2data.write.shard import ShardInfo, SideTotals, shard_sources

MAX_FAULTS = 10_000
"""Faults named in one shard; the rest are counted."""
MAX_ORDER = 100
"""Examples out of order named in one shard: one that is shifted puts all behind it out of order."""


@dataclass(frozen=True, slots=True)
class ShardCheck:
    """Work order: check one shard of an output."""

    folder: str
    manifest_hash: str
    index: int

    @property
    def label(self) -> str:
        return f"verify shard {self.index}"


def verify_shard(order: ShardCheck) -> ShardSeen:
    """Check one shard by itself. Everything wrong with it becomes a Fault; raises nothing of its own."""
    expected = open_expected(order.folder, order.manifest_hash)
    return ShardVerifier(expected, order.index).verify()


@dataclass
class ShardVerifier:
    """One shard while it is checked."""

    expected: Expected
    index: int
    faults: list[Fault] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.info: ShardInfo = self.expected.manifest.shards[self.index]
        self.name = self.expected.shard_name(self.index)
        self.path = self.expected.folder / self.name
        self.reading = Reading(self.expected, self.blame)

    def blame(self, where: str, what: str) -> None:
        """Add a fault."""
        self.faults.append(Fault(self.name, where, what))

    def verify(self) -> ShardSeen:
        """What the shard holds, and all that is wrong with it."""
        size = self._check_bytes()
        if size is not None:
            for member in self._members():
                self.reading.take(member)
            self.reading.flush()
            self._check_counts()
            self._check_order()
        return self._seen(size or 0)

    def _check_bytes(self) -> int | None:
        """Size and hash against the manifest's; the size, or None where there is no file to read."""
        try:
            size, digest = sized_hash(self.path)
        except FileNotFoundError:
            self.blame("", "is missing")
            return None
        except OSError as error:
            self.blame("", f"cannot be read: {error.strerror}")
            return None
        if size != self.info.bytes:
            self.blame("", f"has {size:,} bytes, the manifest says {self.info.bytes:,}")
        if digest != self.info.xxh3_128:
            self.blame(
                "", f"its bytes are not those that were written: xxh3-128 is {digest}, the manifest says {self.info.xxh3_128}"
            )
        return size

    def _members(self) -> Iterator[Member]:
        """All that can be read of the shard; where the format's reader stops is a fault."""
        try:
            yield from self.expected.format.read(self.path)
        except DataError as error:
            place = error.where.removeprefix(str(self.path)).strip()
            read = len(self.reading)
            self.blame(place, f"{error.what}; read up to here: {read:,} of {self.info.examples:,} examples")
        except OSError as error:
            self.blame("", f"cannot be read: {error.strerror}")

    def _check_counts(self) -> None:
        """Sums against the manifest's, source by source."""
        totals = self.reading.totals()
        for name in sorted(self.info.sources.keys() | totals.keys()):
            differing = differences(totals.get(name, SideTotals()), self.info.sources.get(name, SideTotals()))
            if differing:
                self.blame(f"source {name}", f"holds {differing}")
        if self.info.examples != len(self.reading):
            self.blame("", f"holds {len(self.reading):,} examples, the manifest says {self.info.examples:,}")

    def _check_order(self) -> None:
        """Sources and epochs against the plan, example by example, where their number is right."""
        layout, plan = self.expected.layout, self.expected.plan
        if layout is None:
            return
        seen = self.reading.column("number")
        first, end = layout[self.index], layout[self.index + 1]
        planned = end - first
        if len(seen) != planned.sum():
            self.blame("", f"holds {len(seen):,} examples, the plan says {planned.sum():,}: their order was not compared")
            return
        self._check_robot_share(seen)
        wanted = shard_sources(plan, self.index, layout)
        self._check_sources(seen, wanted)
        for source in plan.sources:
            self._check_epochs(source.name, int(first[self.expected.sources[source.name].number]), source.rows, seen)

    def _check_robot_share(self, seen: I64) -> None:
        """Robot examples are within one of the shard's exact share, where shards are mixed."""
        plan = self.expected.plan
        if plan.parts:
            return
        share = len(seen) * plan.robot_examples / plan.num_examples
        if abs(self._robot(seen) - share) >= 1:
            self.blame("", f"holds {self._robot(seen):,} robot examples, its share is {share:,.2f}")

    def _robot(self, seen: I64) -> int:
        robots = [source.number for source in self.expected.sources.values() if source.robot]
        return int(np.isin(seen, robots).sum())

    def _check_sources(self, seen: I64, wanted: NDArray[np.int32]) -> None:
        wrong = np.flatnonzero((seen != wanted) & (seen != UNKNOWN))
        names = [s.name for s in self.expected.plan.sources]
        for at in wrong[:MAX_ORDER].tolist():
            self.blame(self.reading.where(at), f"is of source {names[seen[at]]}, the plan's order has {names[wanted[at]]} here")
        self._count_rest(len(wrong), "examples of another source than the plan's order has")

    def _check_epochs(self, name: str, first: int, rows: int, seen: I64) -> None:
        """Draw k of a source has epoch k // rows."""
        at = np.flatnonzero(seen == self.expected.sources[name].number)
        epochs = self.reading.column("epoch")[at]
        wanted = (first + np.arange(len(at))) // rows
        wrong = np.flatnonzero(epochs != wanted)
        for k in wrong[:MAX_ORDER].tolist():
            self.blame(self.reading.where(int(at[k])), f"has epoch {epochs[k]}, the plan has {wanted[k]} here")
        self._count_rest(len(wrong), f"examples of {name} with another epoch than the plan's")

    def _count_rest(self, count: int, what: str) -> None:
        if count > MAX_ORDER:
            self.blame("", f"and {count - MAX_ORDER:,} more {what}")

    def _seen(self, size: int) -> ShardSeen:
        faults = self.faults[:MAX_FAULTS]
        if len(self.faults) > MAX_FAULTS:
            faults.append(Fault(self.name, "", f"and {len(self.faults) - MAX_FAULTS:,} more faults"))
        return ShardSeen(
            name=self.name,
            index=self.index,
            bytes=size,
            examples=len(self.reading),
            robot=self._robot(self.reading.column("number")),
            totals=self.reading.totals(),
            epochs=self.reading.epochs(),
            keys=np.array(self.reading.columns["key"], np.uint64),
            empty=self.reading.empty,
            faults=tuple(faults),
        )


def differences(seen: SideTotals, said: SideTotals) -> str:
    """Where the sums differ, in words; empty where they do not."""
    names = [name for name in SideTotals.__struct_fields__ if getattr(seen, name) != getattr(said, name)]
    return ", ".join(f"{name} {getattr(seen, name):,} (the manifest says {getattr(said, name):,})" for name in names)
