"""Checking records: one by one what each says of itself, then batch by batch their actions and words."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain

import msgspec
import numpy as np
import xxhash
from numpy.typing import NDArray

from rt2data.formats.base import Member
from rt2data.images.ready import ImageFault, read_header
from rt2data.look.verify.actions import action_faults
from rt2data.look.verify.expected import CONSTANTS, Example, Expected, ExpectedSource
from rt2data.look.verify.findings import EpochSeen
from rt2data.look.verify.texts import text_faults
from rt2data.order import I64
from rt2data.read.text import is_blank
from rt2data.records import key_name
from rt2data.render.record import ExampleRecord, decode_record
from rt2data.write.shard import EXTENSIONS, SideTotals

BATCH = 2048
COLUMNS = {"number": "q", "epoch": "q", "prompt": "q", "target": "q", "image": "q", "row": "Q", "key": "Q"}
"""Of each example: its source's number in the plan, its epoch, its tokens, the bytes of its picture, hashes of row and key."""
MAX_EPOCH = 2**62
UNKNOWN = -1
"""Number of the source of an example whose record cannot be read."""


@dataclass
class Reading:
    """What is read of one shard, as columns over its examples."""

    expected: Expected
    blame: Callable[[str, str], None]
    names: list[str] = field(default_factory=list)  # keys
    columns: dict[str, array[int]] = field(default_factory=lambda: {name: array(code) for name, code in COLUMNS.items()})
    empty: Counter[str] = field(default_factory=Counter)  # source -> examples whose prompt has no words in it
    _waiting: dict[str, list[Example]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.names)

    def column(self, name: str) -> I64:
        """int64[examples]."""
        return np.array(self.columns[name], np.int64)

    def where(self, at: int) -> str:
        """How to find an example again."""
        return f"example {at}, key {self.names[at]}"

    def take(self, member: Member) -> None:
        """One example."""
        at = len(self.names)
        self.names.append(member.key)
        for what in picture_faults(member):
            self.blame(self.where(at), what)
        record = self._record(at, member)
        source = self.expected.sources.get(record.source) if record else None
        learned = record.loss_mask.count(1) if record else 0
        self._note(member, record, source, learned)
        if record is None or source is None:
            return
        self.empty[record.source] += self._no_words(record, source)
        for what in record_faults(member, record, source, self.expected):
            self.blame(self.where(at), what)
        waiting = self._waiting.setdefault(record.source, [])
        waiting.append(Example(at, record, learned))
        if len(waiting) >= BATCH:
            self._flush(record.source)

    def _record(self, at: int, member: Member) -> ExampleRecord | None:
        try:
            record = decode_record(member.record)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            self.blame(self.where(at), f"not an example record: {error}")
            return None
        if record.source not in self.expected.sources:
            self.blame(self.where(at), f"its source {record.source!r} is not in the plan")
        return record

    def _note(self, member: Member, record: ExampleRecord | None, source: ExpectedSource | None, learned: int) -> None:
        """One entry in every column."""
        tokens = len(record.input_ids) if record else 0
        row = xxhash.xxh3_64_intdigest(row_key(record).encode()) if record else 0
        epoch = min(record.epoch, MAX_EPOCH) if record else UNKNOWN
        number = source.number if source else UNKNOWN
        values = (number, epoch, tokens - learned, learned, len(member.image), row, xxhash.xxh3_64_intdigest(member.key.encode()))
        for column, value in zip(self.columns.values(), values, strict=True):
            column.append(value)

    def _no_words(self, record: ExampleRecord, source: ExpectedSource) -> bool:
        template = self.expected.template
        slot = template.slot(record.prompt, source.robot) if template else None
        return slot is not None and is_blank(slot)

    def flush(self) -> None:
        """Check what still waits for its batch."""
        for name in list(self._waiting):
            self._flush(name)

    def _flush(self, name: str) -> None:
        waiting, source = self._waiting.pop(name), self.expected.sources[name]
        found = [text_faults(waiting, source, self.expected.texts)] if self.expected.texts else []
        found += [action_faults(waiting, source, self.expected)] if source.robot else []
        for at, what in chain.from_iterable(found):
            self.blame(self.where(at), what)

    def totals(self) -> dict[str, SideTotals]:
        """Sums by source."""
        return {name: self._total(self.column("number") == source.number) for name, source in self.expected.sources.items()}

    def _total(self, mine: NDArray[np.bool_]) -> SideTotals:
        prompt, target, image = (self.column(name)[mine] for name in ("prompt", "target", "image"))
        longest = int((prompt + target).max()) if len(prompt) else 0
        return SideTotals(len(prompt), int(prompt.sum()), int(target.sum()), int(image.sum()), longest)

    def epochs(self) -> dict[tuple[str, int], EpochSeen]:
        """Examples and sum of row hashes by source and epoch."""
        number, epoch, row = self.column("number"), self.column("epoch"), np.array(self.columns["row"], np.uint64)
        found = {}
        for name, source in self.expected.sources.items():
            for e in np.unique(epoch[number == source.number]).tolist():
                mine = row[(number == source.number) & (epoch == e)]
                found[name, e] = EpochSeen(len(mine), int(mine.sum()))
        return found


def row_key(record: ExampleRecord) -> str:
    """The row's key in the prepared store, which every epoch repeats."""
    bare = record.key.removeprefix(f"{key_name(record.source)}-")
    return bare.removesuffix(f"-r{record.epoch}") if record.epoch else bare


def picture_faults(member: Member) -> Iterator[str]:
    """What the picture's header says against its extension."""
    try:
        seen = read_header(member.image)
    except ImageFault as fault:
        yield f"its picture cannot be used: {fault.reason}" + (f", {fault.detail}" if fault.detail else "")
        return
    if EXTENSIONS.get(seen.format) != member.extension:
        yield f"its picture is {seen.format}, its name says .{member.extension}"
    if seen.width < 1 or seen.height < 1:
        yield f"its picture has {seen.width} x {seen.height} pixels"


def record_faults(member: Member, record: ExampleRecord, source: ExpectedSource, expected: Expected) -> Iterator[str]:
    """What is wrong with one record by itself."""
    if record.key != member.key:
        yield f"its record has key {record.key}"
    if not record.key.startswith(f"{key_name(record.source)}-") or (record.epoch and not record.key.endswith(f"-r{record.epoch}")):
        yield f"its key is not made of source {record.source}, row and epoch {record.epoch}"
    said = (record.kind, record.split, record.action_space, record.codec)
    if said != source.constants:
        for name, seen, wanted in zip(CONSTANTS, said, source.constants, strict=True):
            if seen != wanted:
                yield f"{name} is {seen}, the plan says {wanted}"
    yield from token_faults(record, expected)
    if not source.robot:
        yield from web_faults(record)


def token_faults(record: ExampleRecord, expected: Expected) -> Iterator[str]:
    """Ids and mask: as long as each other, the prompt's 0s and then the target's 1s, with begin and end where they belong."""
    ids, mask, tokenizer = record.input_ids, bytes(record.loss_mask), expected.plan.tokenizer
    learned = mask.count(1)
    if len(ids) != len(mask):
        yield f"loss_mask has {len(mask)} entries for {len(ids)} input_ids"
    if mask.find(1) != len(mask) - learned and learned:
        yield "loss_mask is not 0s and then 1s"
    if not record.prompt or not record.target or not 0 < learned < len(mask):
        yield "it has no prompt or no target"
    if not ids or min(ids) < 0:
        yield "input_ids are empty or negative"
        return
    for end, at in (("bos_id", 0), ("eos_id", -1)):
        if tokenizer.get(end) is not None and ids[at] != tokenizer[end]:
            yield f"input_ids have {ids[at]} where {end} {tokenizer[end]} belongs"
    if expected.plan.max_tokens is not None and len(ids) > expected.plan.max_tokens:
        yield f"{len(ids)} tokens, more than max_tokens {expected.plan.max_tokens}"


def web_faults(record: ExampleRecord) -> Iterator[str]:
    """A question has answers and nothing of a robot."""
    robots_own = ("episode", "step", "camera", "action", "action_mask", "action_bins", "terminate", "state")
    present = [name for name in robots_own if getattr(record, name) is not None]
    if present:
        yield f"a web example has {', '.join(present)}"
    if not record.answers:
        yield "a web example has no answers"
