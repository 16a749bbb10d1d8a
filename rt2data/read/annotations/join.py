"""Joins annotations to the steps of a log: by file, number and step, or by a unique episode name."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from rt2data.order import I64
from rt2data.read.annotations.contents import EpisodeNotes, Keys, read_notes, read_pool
from rt2data.read.annotations.facts import KNOWN, NAMED, UNLIKE, fact
from rt2data.read.annotations.index import Index, cut, index_of, said
from rt2data.read.annotations.settings import NOTES, POOL, ECoT, Joined, Pool, StepTable
from rt2data.read.text import clean_text
from rt2data.records import Fact, Note, SourceRecord, Step

NOWHERE = np.empty(0, np.int64)
_NUMBERED = re.compile(r"episode[-_]0*(\d+)")


@dataclass
class Join:
    """The join for one setting of a source, while a unit is read."""

    joined: Joined
    index: Index
    of: str
    longest: int  # maximum bytes of a text; longer ones are left out
    facts: Counter[str] = field(default_factory=Counter)
    named: int = 0

    def find(self, step: Step) -> I64 | None:
        """The entries of an episode; None if there are none, or they belong to two episodes."""
        exact = _exact(step)
        found = self.index.find(cut(exact, self.joined.parts)) if exact else NOWHERE
        if not len(found):
            found = self._by_name(step)
        if not len(found):
            self._missing(said(exact or (step.origin or step.episode,)))
            return None
        return self._one(found)

    def _by_name(self, step: Step) -> I64:
        """All entries that match any name of an episode. The origin is not used as a name if the log numbers the episodes in it."""
        names = {step.episode, *_numbered(step.episode), *([] if step.number or not step.origin else [step.origin])}
        hits = [self.index.find_first(cut((name,), self.joined.parts)[0]) for name in sorted(names)]
        return np.unique(np.concatenate(hits))

    def find_text(self, text: str) -> I64 | None:
        """The entry of an instruction."""
        found = self.index.find((text,))
        if not len(found) and (clean := clean_text(text)) != text:
            found = self.index.find((clean,))
        if not len(found):
            self._missing(text)
            return None
        return self._one(found)

    def _one(self, found: I64) -> I64 | None:
        if self.index.different(found) > 1:
            self.count("episodes.ambiguous")
            return None
        return found

    def _missing(self, name: str) -> None:
        self.count("episodes.unknown")
        if self.named < NAMED:
            self.named += 1
            self.count(f"{UNLIKE}.{name[:200]}")

    def _fits(self, text: str) -> bool:
        fits = len(text.encode()) <= self.longest
        self.count("too_long", not fits)
        return fits

    def count(self, what: str, count: int = 1) -> None:
        """Increase a fact."""
        self.facts[fact(self.of, what)] += count

    def told(self) -> Iterator[Fact]:
        """The facts counted since the last call."""
        yield from (Fact(name, count) for name, count in self.facts.items() if count)
        self.facts.clear()


def _exact(step: Step) -> Keys:
    return (step.origin, step.number) if step.origin and step.number else ()


def _numbered(episode: str) -> list[str]:
    """The number of an episode whose name consists only of it, as in LeRobot."""
    found = _NUMBERED.fullmatch(episode)
    return [found[1]] if found else []


@dataclass
class NotesJoin(Join):
    """Notes of steps."""

    notes: EpisodeNotes = field(default_factory=EpisodeNotes)
    taken: set[int] = field(default_factory=set)  # hashes of annotated episodes already used

    def begin(self, step: Step) -> None:
        """Start an episode, given its first step."""
        self.end()
        found = self.find(step)
        self.notes = EpisodeNotes() if found is None or self._is_taken(found) else self._read(found, step)

    def _is_taken(self, found: I64) -> bool:
        """Whether an earlier episode had the same name, so that the match is ambiguous."""
        name = int(self.index.exact[found[0]])
        self.count("episodes.shared", name in self.taken)
        known = name in self.taken
        self.taken.add(name)
        return known

    def _read(self, found: I64, step: Step) -> EpisodeNotes:
        assert isinstance(self.joined, ECoT | StepTable)
        notes = read_notes(self.joined, self.index.places(found))
        self.count(KNOWN)
        self.count("episodes.unusable", notes.unusable)
        self.count("episodes.other_length", notes.length not in (None, step.steps))
        self.count("disputed", len(notes.disputed))
        notes.steps = {at: kept for at, said in notes.steps.items() if (kept := {k: v for k, v in said.items() if self._fits(v)})}
        return notes

    def of_step(self, step: Step) -> Step:
        """The step with its notes."""
        found = self.notes.steps.pop(step.step, None)
        return replace(step, notes=tuple(Note(*each) for each in found.items())) if found else step

    def end(self) -> None:
        """Finish an episode: remaining notes have no step."""
        self.count("left.steps", len(self.notes.steps))
        self.notes = EpisodeNotes()


@dataclass
class PoolJoin(Join):
    """Pools of instructions, by episode or by the instruction itself."""

    pools: dict[str, tuple[str, ...]] = field(default_factory=dict)  # the episode's pools, by instruction

    def begin(self, step: Step) -> None:
        """Start an episode, given its first step."""
        self.pools = {}

    def of_step(self, step: Step) -> Step:
        """The step with its pool."""
        pool = self._pool
        assert isinstance(pool, Pool)
        if step.instruction not in self.pools:
            known = pool.by == "episode" and bool(self.pools)
            texts = next(iter(self.pools.values())) if known else self._texts(pool, step)
            self.pools[step.instruction] = texts
        texts = self.pools[step.instruction]
        return replace(step, pool=_chosen(pool, clean_text(step.instruction), texts)) if texts else step

    @property
    def _pool(self) -> Joined:
        return self.joined

    def _texts(self, pool: Pool, step: Step) -> tuple[str, ...]:
        found = self.find(step) if pool.by == "episode" else self.find_text(step.instruction)
        if found is None:
            return ()
        texts = read_pool(pool, self.index.places(found))
        self.count(KNOWN)
        self.count("episodes.unusable", not texts)
        return tuple(text for text in texts if self._fits(text))

    def end(self) -> None:
        """Finish an episode: nothing remains."""


def _chosen(pool: Pool, own: str, texts: tuple[str, ...]) -> tuple[str, ...]:
    if pool.choose == "first":
        return texts[:1]
    return tuple(dict.fromkeys((own, *texts))) if pool.own == "add" and own else texts


def joined(
    records: Iterable[SourceRecord], notes: Joined | None, pool: Pool | None, longest: int, shared: str = ""
) -> Iterator[SourceRecord]:
    """Records with the joined data added to their steps, plus facts; unchanged if nothing is joined.

    Texts of more than `longest` bytes are left out. Raises DataError if annotations are damaged.
    """
    joins: list[Any] = []
    if notes is not None:
        joins.append(NotesJoin(notes, index_of(notes, shared, NOTES), NOTES, longest))
    if pool is not None:
        joins.append(PoolJoin(pool, index_of(pool, shared, POOL), POOL, longest))
    return _joined(records, joins) if joins else iter(records)


def _joined(records: Iterable[SourceRecord], joins: list[Any]) -> Iterator[SourceRecord]:
    episode = None
    for record in records:
        if not isinstance(record, Step):
            yield record
            continue
        if record.episode != episode:
            episode = record.episode
            for join in joins:
                join.end()
                yield from join.told()
                join.begin(record)
        for join in joins:
            record = join.of_step(record)
        yield record
    for join in joins:
        join.end()
        yield from join.told()
