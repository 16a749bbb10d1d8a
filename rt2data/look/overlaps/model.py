"""The findings: pairs of parts of a recipe's data that share something, how much, and a few examples."""

from __future__ import annotations

from typing import Literal

import msgspec

from rt2data.records import Kind, Level

What = Literal["bytes", "pixels", "alike", "coco", "actions"]
"""`bytes` and `pixels`: the same picture in two groups; `alike`: pictures that look alike; `coco`: the same COCO image, by its id;
`actions`: the same episode."""


class Part(msgspec.Struct, frozen=True):
    """One split of one source."""

    source: str
    split: str
    kind: Kind
    trained: bool  # used for training; otherwise held out
    rows: int
    images: int

    def __str__(self) -> str:
        return f"{self.source}/{self.split}"


class Sample(msgspec.Struct, frozen=True):
    """Where a shared item can be found."""

    part: str
    key: str  # of a row
    group: str  # image id or episode
    path: str  # of the file with the image; empty for episodes


class Overlap(msgspec.Struct, frozen=True):
    """What two parts share, or one part shares with itself."""

    what: What
    one: str
    other: str
    count: int  # pictures or episodes; for `alike`, pictures of `one` that look like one in `other`
    level: Level
    examples: tuple[tuple[Sample, Sample], ...]


class Overlaps(msgspec.Struct, frozen=True):
    """All overlaps, worst first."""

    recipe: str
    parts: tuple[Part, ...]
    overlaps: tuple[Overlap, ...]
    near: int | None  # maximum differing hash bits of pictures that look alike; None if not requested
    plain: int = 0  # pictures too uniform to be compared by appearance
    unread: int = 0  # pictures that could not be decoded

    @property
    def ok(self) -> bool:
        """Whether no training data is also held out."""
        return all(each.level != "error" for each in self.overlaps)


def level_of(what: What, one: Part, other: Part) -> Level:
    """The severity: training data that is also held out is an error. Equal pictures of robots may be chance, such as black
    images.
    """
    chance = what == "bytes" and one.kind == other.kind == "robot"
    if one.trained != other.trained:
        return "warning" if chance else "error"
    return "warning" if one == other and one.trained and not chance else "note"
