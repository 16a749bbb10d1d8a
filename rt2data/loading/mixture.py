"""A finished mixture, opened for one training rank: iterate it, and save and restore its position at any example."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Annotated, Any

import msgspec

from rt2data.errors import DataError, UsageError
from rt2data.loading.examples import PLACES, Batch, Collate, Example, ExampleView
from rt2data.loading.sampling import Cursor, Cut, RankShare, Remainder, Taken
from rt2data.loading.shards import Contents, Shards
from rt2data.order import BLOCK


@dataclass
class Mixture:
    """An iterable of examples. Iterating continues from the current position to the end of the pass; iterate again for the next.

    A Mixture has one cursor: two iterations at the same time move the same cursor.
    """

    contents: Contents
    share: RankShare
    shards: Shards
    view: ExampleView
    cursor: Cursor = field(default_factory=Cursor)

    def __len__(self) -> int:
        """Examples of this rank in a whole pass. Raises TypeError for an endless pass."""
        if self.share.epochs is None:
            raise TypeError("a pass over endless epochs has no length")
        return self.share.epochs * self.share.deal(Cut()).length(self.share.rank)

    @property
    def epoch(self) -> int:
        """The epoch of the next example, counted from 0."""
        return self.cursor.cut.epoch

    @property
    def consumed(self) -> int:
        """Examples that all ranks together have read, over all epochs, once each has read as many as this one."""
        return self.share.consumed(self.cursor)

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shape per row of a batch, for each column with the same shape in the whole mixture."""
        places = 1 if self.view.slots is None else len(self.view.slots)
        return {**self.contents.shapes, **dict.fromkeys(PLACES, (places,))}

    def __iter__(self) -> Iterator[Example]:
        ended = False
        while not ended:
            base = self.cursor
            ahead = self.share.take(base, min(BLOCK - base.taken % BLOCK, self.share.left(base)) or 1)
            for number, example in enumerate(self.read(ahead), 1):
                self.cursor = ahead.cursor if number == ahead.examples else Cursor(base.cut, base.taken + number)
                yield example
            self.cursor, ended = ahead.cursor, ahead.ended

    def batches(self, size: int, *, drop_last: bool = False, length: int | None = None) -> Iterator[Batch]:
        """Batches of `size` examples to the end of the pass (the last may be smaller), as made by `Collate`.

        A batch may span two epochs of a pass. `drop_last` drops an incomplete last batch; `length` sets the width of `input_ids`,
        such as `contents.longest` for fixed shapes.
        """
        collate, ended = self.collate(length), False
        while not ended:
            ahead = self.share.take(self.cursor, size)
            ended = ahead.ended
            self.cursor = ahead.cursor
            if ahead.examples == size or (ahead.examples and not drop_last):
                yield collate(list(self.read(ahead)))

    def collate(self, length: int | None = None) -> Collate:
        """The function that turns examples of this mixture into batches."""
        return Collate(self.contents.pad_id, self.shapes, length)

    def read(self, taken: Taken) -> Iterator[Example]:
        """The examples of `taken`. The cursor does not move."""
        for run in self.share.runs(taken):
            where = str(self.shards.path(run.shard))
            for member in self.shards.read(run, self.view.decode is not None):
                yield self.view.example(member, where)

    def set_epoch(self, epoch: int) -> None:
        """Go to the start of an epoch, counted from 0."""
        self.cursor = Cursor(Cut(epoch))

    def state_dict(self) -> dict[str, Any]:
        """The position of all ranks once each has read as many examples as this one: plain JSON values.

        It is the same on every rank, so one copy is enough. It can be loaded with any number of ranks and workers.
        """
        return State.of(self.contents, self.share, self.cursor).to_json()

    def state_at(self, taken: int) -> dict[str, Any]:
        """The state when this rank has read `taken` more examples, for trainers that count what was prefetched."""
        return replace(self, cursor=self.share.take(self.cursor, taken).cursor).state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume where a `state_dict` was taken. With another number of ranks, the rest of the epoch is dealt to them again.

        Raises UsageError if it belongs to another mixture, seed or order, DataError if it is damaged.
        """
        self.cursor = as_cursor(read_state(state), self.contents, self.share)


def require_rank(rank: int, world: int, examples: int) -> None:
    """Raises UsageError if the rank does not exist, or there are more ranks than examples."""
    if not 0 <= rank < world:
        raise UsageError(f"rank {rank} of world {world}", do="ranks are 0 to world - 1")
    if world > examples:
        raise UsageError(f"{world} ranks for {examples} examples", do="use fewer ranks, or build a larger mixture")


# State

VERSION = 1
Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 62)]
MAX_PENDING = 1 << 20


class State(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A position in a mixture as JSON values, checked when loaded: it may come from anywhere.

    Each of the `world` ranks has taken `taken` examples since a cut; `examples` counts everything read before.
    """

    version: int
    mixture: str  # the plan's fingerprint
    seed: int
    shuffle: bool
    remainder: Remainder
    epoch: Count
    position: Count
    pending: Annotated[tuple[tuple[Count, Count], ...], msgspec.Meta(max_length=MAX_PENDING)]
    world: Annotated[int, msgspec.Meta(ge=1, le=1 << 24)]
    taken: Count
    examples: Count

    @classmethod
    def of(cls, contents: Contents, share: RankShare, cursor: Cursor) -> State:
        """The state of a rank."""
        return cls(
            version=VERSION,
            mixture=contents.plan.fingerprint,
            seed=share.layout.seed,
            shuffle=share.layout.shuffle,
            remainder=share.remainder,
            epoch=cursor.cut.epoch,
            position=cursor.cut.position,
            pending=cursor.cut.pending,
            world=share.world,
            taken=cursor.taken,
            examples=share.consumed(cursor),
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values: dict, list, int, str."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        return found | {"pending": [list(span) for span in self.pending]}


def read_state(found: Any) -> State:
    """The state that `to_json` wrote. Raises DataError for anything else."""
    try:
        state = msgspec.convert(found, State)
    except msgspec.ValidationError as error:
        raise DataError(f"not the state of a mixture: {error}") from None
    if state.version != VERSION:
        raise DataError(f"a state of version {state.version}", do="read it with the release of rt2data that wrote it")
    return state


def as_cursor(state: State, contents: Contents, share: RankShare) -> Cursor:
    """Where a rank of `share` resumes. Raises UsageError if the state belongs to another order, DataError if it is damaged."""
    asked = (contents.plan.fingerprint, share.layout.seed, share.layout.shuffle)
    if (state.mixture, state.seed, state.shuffle) != asked:
        raise UsageError(
            f"a state of mixture {state.mixture}, seed {state.seed}, shuffle {state.shuffle}",
            do=f"this is mixture {asked[0]}, seed {asked[1]}, shuffle {asked[2]}",
        )
    cut = Cut(state.epoch, state.position, state.pending)
    _require_valid(cut, share.layout.total)
    if (state.world, state.remainder) == (share.world, share.remainder):
        return _normal(Cursor(cut, state.taken), share)
    before = RankShare(share.layout, 0, state.world, share.epochs, state.remainder)
    return Cursor(before.deal(cut).after(state.taken)) if state.taken else Cursor(cut)


def _normal(cursor: Cursor, share: RankShare) -> Cursor:
    """The cursor, moved to the next epoch if the rank has taken all of its share."""
    return cursor if cursor.taken < share.deal(cursor.cut).length(share.rank) else Cursor(Cut(cursor.cut.epoch + 1))


def _require_valid(cut: Cut, total: int) -> None:
    edges = [edge for span in cut.pending for edge in span]
    rising = all(a <= b for a, b in pairwise([*edges, cut.position])) and all(a < b for a, b in cut.pending)
    if cut.position > total or not rising or (cut.position % BLOCK and cut.position != total):
        raise DataError(f"a damaged state: position {cut.position} of {total}, pending {list(cut.pending)[:3]}")
