"""Where a training stands in a mixture, as JSON values: checked when it comes back, for it may come from anywhere."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Any

import msgspec

from rt2data.errors import DataError, UsageError
from rt2data.loading.contents import Contents
from rt2data.loading.sampling import Cursor, Cut, Remainder, Share
from rt2data.order import BLOCK

VERSION = 1
Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 62)]
MAX_PENDING = 1 << 20


class State(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Read with `world` ranks since a cut, each rank has taken `taken` examples; `examples` is what all have left behind."""

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
    def of(cls, contents: Contents, share: Share, cursor: Cursor) -> State:
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


def as_cursor(state: State, contents: Contents, share: Share) -> Cursor:
    """Where a rank of `share` goes on. Raises UsageError where the state is of another order, DataError where it cannot be."""
    asked = (contents.plan.fingerprint, share.layout.seed, share.layout.shuffle)
    if (state.mixture, state.seed, state.shuffle) != asked:
        raise UsageError(
            f"a state of mixture {state.mixture}, seed {state.seed}, shuffle {state.shuffle}",
            do=f"this is mixture {asked[0]}, seed {asked[1]}, shuffle {asked[2]}",
        )
    cut = Cut(state.epoch, state.position, state.pending)
    _require_sound(cut, share.layout.total)
    if (state.world, state.remainder) == (share.world, share.remainder):
        return _normal(Cursor(cut, state.taken), share)
    before = Share(share.layout, 0, state.world, share.epochs, state.remainder)
    return Cursor(before.deal(cut).after(state.taken)) if state.taken else Cursor(cut)


def _normal(cursor: Cursor, share: Share) -> Cursor:
    """A rank that has taken all of its share of an epoch stands at the start of the next."""
    return cursor if cursor.taken < share.deal(cursor.cut).length(share.rank) else Cursor(Cut(cursor.cut.epoch + 1))


def _require_sound(cut: Cut, total: int) -> None:
    edges = [edge for span in cut.pending for edge in span]
    rising = all(a <= b for a, b in pairwise([*edges, cut.position])) and all(a < b for a, b in cut.pending)
    if cut.position > total or not rising or (cut.position % BLOCK and cut.position != total):
        raise DataError(f"a damaged state: position {cut.position} of {total}, pending {list(cut.pending)[:3]}")
