"""What a comparison says: plain values, for programs and for the command's tables."""

from __future__ import annotations

from typing import Any, Literal

import msgspec


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A value that differs; null where one side lacks it."""

    path: str  # dotted
    before: Any
    after: Any


class Keys(msgspec.Struct, frozen=True, kw_only=True):
    """What is only here, only there, or in both and changed, by key."""

    same: int = 0
    added: int = 0
    removed: int = 0
    changed: int = 0
    examples: dict[str, tuple[str, ...]] = {}  # a few keys of those added, removed, changed

    @property
    def equal(self) -> bool:
        """Whether nothing differs."""
        return not (self.added or self.removed or self.changed)


class Shift(msgspec.Struct, frozen=True, kw_only=True):
    """How one dimension moved. Moves are in units of the pooled standard deviation; null where nothing of both varies."""

    source: str
    split: str
    of: Literal["action", "state"]
    dimension: str
    before: dict[str, float]  # mean, std, q01, q99
    after: dict[str, float]
    mean_moved: float | None
    q01_moved: float | None
    q99_moved: float | None

    @property
    def most(self) -> float:
        """The largest of the three moves; endless where a dimension that never varied has another value now."""
        moves = (self.mean_moved, self.q01_moved, self.q99_moved)
        return max(float("inf") if move is None else abs(move) for move in moves)


class Moved(msgspec.Struct, frozen=True, kw_only=True):
    """A number of a summary that moved, and how far, as a share of the larger of the two."""

    path: str
    before: float
    after: float
    share: float


class Common(msgspec.Struct, frozen=True, kw_only=True):
    """Examples of two mixtures by key. Of those in both: how many differ in what, and where the first of each lies."""

    before: int
    after: int
    both: int
    target: int
    prompt: int
    ids: int
    picture: int
    first: dict[str, tuple[int, int]]  # what differs: number of the first such example before and after

    @property
    def equal(self) -> bool:
        """Whether the same examples are in both, and nothing in them differs."""
        same = self.before == self.after == self.both
        return same and not (self.target or self.prompt or self.ids or self.picture)


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """All of it."""

    what: Literal["recipes", "stores", "mixtures", "recipe and mixture", "statistics"]
    before: str
    after: str
    equal: bool
    same_bytes: bool | None = None  # of mixtures: all shards have the same hashes; of a recipe: a build would write the same
    settings: tuple[Change, ...] = ()
    sources_added: tuple[str, ...] = ()
    sources_removed: tuple[str, ...] = ()
    plan: tuple[Change, ...] = ()
    figures: tuple[Change, ...] = ()  # examples, bytes, shares, rows: what was counted
    rejects: tuple[Change, ...] = ()  # by reason
    rows: dict[str, Keys] = {}  # by split
    groups: dict[str, Keys] = {}  # episodes or pictures, by split
    files: Keys | None = None
    shifts: tuple[Shift, ...] = ()  # the largest first
    moves: tuple[Moved, ...] = ()  # the largest first
    shards_equal: int | None = None
    shards: tuple[int, int] | None = None
    examples: Common | None = None
    notes: tuple[str, ...] = ()
