"""A finished mixture, opened for one rank of a training: iterate it, and at any example ask it where it stands."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from rt2data.errors import UsageError
from rt2data.loading.collate import Batch, Collate
from rt2data.loading.contents import Contents
from rt2data.loading.decode import Example, View
from rt2data.loading.sampling import Cursor, Cut, Share, Taken
from rt2data.loading.shards import Shards
from rt2data.loading.state import State, as_cursor, read_state
from rt2data.order import BLOCK


@dataclass
class Mixture:
    """An iterable of examples. Iterating goes on from where it stands to the end of the pass; the next time the next pass is
    read.

    One process stands behind one Mixture: iterating twice at the same time moves the same cursor.
    """

    contents: Contents
    share: Share
    shards: Shards
    view: View
    cursor: Cursor = field(default_factory=Cursor)

    def __len__(self) -> int:
        """Examples of this rank in a whole pass. Raises TypeError for a pass without end."""
        if self.share.epochs is None:
            raise TypeError("a pass over endless epochs has no length")
        return self.share.epochs * self.share.deal(Cut()).length(self.share.rank)

    @property
    def epoch(self) -> int:
        """The epoch that the next example is of, counted from 0."""
        return self.cursor.cut.epoch

    @property
    def consumed(self) -> int:
        """Examples that all ranks together have read, over all epochs, when each stands where this one does."""
        return self.share.consumed(self.cursor)

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
        """Batches of `size` examples to the end of the pass (the last may be smaller), as `Collate` makes them.

        A batch may span two epochs of a pass. `drop_last` leaves out a last batch that is not full; `length` sets the width of
        `input_ids`, as `contents.longest` for shapes that never change.
        """
        collate, ended = self.collate(length), False
        while not ended:
            ahead = self.share.take(self.cursor, size)
            ended = ahead.ended
            self.cursor = ahead.cursor
            if ahead.examples == size or (ahead.examples and not drop_last):
                yield collate(list(self.read(ahead)))

    def collate(self, length: int | None = None) -> Collate:
        """How this mixture's examples become batches."""
        return Collate(self.contents.pad_id, self.contents.widths, length)

    def read(self, taken: Taken) -> Iterator[Example]:
        """Those examples, wherever the mixture stands, which does not move."""
        for run in self.share.runs(taken):
            where = str(self.shards.path(run.shard))
            for stored in self.shards.read(run, self.view.decode is not None):
                yield self.view.example(stored, where)

    def set_epoch(self, epoch: int) -> None:
        """Go to the start of an epoch, counted from 0."""
        self.cursor = Cursor(Cut(epoch))

    def state_dict(self) -> dict[str, Any]:
        """Where all ranks stand when each has read as many examples as this one: plain JSON values.

        The same on every rank, so one copy is enough. It fits any number of ranks and workers.
        """
        return State.of(self.contents, self.share, self.cursor).to_json()

    def state_at(self, taken: int) -> dict[str, Any]:
        """The state when this rank has read `taken` examples more than now, for trainers that count what was read ahead of them."""
        return replace(self, cursor=self.share.take(self.cursor, taken).cursor).state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to where a `state_dict` was taken. With another number of ranks the rest of its epoch is dealt anew.

        Raises UsageError where it is of another mixture, seed or order, DataError where it is damaged.
        """
        self.cursor = as_cursor(read_state(state), self.contents, self.share)


def require_rank(rank: int, world: int, examples: int) -> None:
    """Raises UsageError where there is no such rank, or there are more ranks than examples."""
    if not 0 <= rank < world:
        raise UsageError(f"rank {rank} of world {world}", do="ranks are 0 to world - 1")
    if world > examples:
        raise UsageError(f"{world} ranks for {examples} examples", do="use fewer ranks, or build a larger mixture")
