"""A Plan: what will be written, as stored in the manifest. Writing a shard needs only this, not the recipe."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, Literal

import msgspec

from rt2data.formats.base import Sizes
from rt2data.records import Agreement, Kind, Slot, Warn
from rt2data.render.reasoning import Dropout


class MixturePart(msgspec.Struct, frozen=True, kw_only=True):
    """One source in a folder named after it."""

    source: str
    examples: int  # written, each row once
    shards: int
    weight: int  # relative to the other parts


class SourcePlan(msgspec.Struct, frozen=True, kw_only=True):
    """How one source is drawn."""

    name: str
    kind: Kind
    source: str  # kind of raw format
    digest: str
    rows: int
    groups: int
    weight: str
    share: str  # of all examples, exact
    draws: int
    epochs: float
    repeats_min: int
    repeats_max: int
    unseen: int
    images: float  # mean number per example
    image_bytes: int  # mean of all images of one example
    record_bytes: int  # mean over a sample
    action_space: str | None
    action_dim: int
    codec: dict[str, Any] | None
    camera: str | None = None  # camera of the first image; None for web
    cameras: tuple[str, ...] = ()  # all cameras of the source; none for web
    slots: tuple[Slot, ...] = ()  # places of an example's images; none for web
    horizon: int = 1  # actions per chunk
    gaps: str = ""  # how a window treats gaps; empty without windows
    loss_weight: str = "1"
    agreement: Agreement | msgspec.UnsetType = msgspec.UNSET  # which answers count as equal; unset: `case`
    control_hz: float | None = None
    control_mode: str | None = None
    state_names: tuple[str, ...] | None = None
    path: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET  # the groups it is in, outermost first; unset: none

    @property
    def has_actions(self) -> bool:
        """Whether it is a robot source."""
        return self.kind == "robot"

    @property
    def place(self) -> str:
        """The side and the groups it is in, outermost first: `web.vqa`."""
        return ".".join((self.kind, *(self.path or ())))

    @property
    def camera_line(self) -> str:
        """Which cameras are used, of how many, and which are dropped; empty if there is only one."""
        taken = list(dict.fromkeys(slot.camera for slot in self.slots)) or [self.camera or ""]
        dropped = ", ".join(name for name in self.cameras if name not in taken)
        if len(taken) == 1:
            return f"camera {self.camera}, 1 of {len(self.cameras)}; dropped: {dropped}" if dropped else ""
        more = f"; dropped: {dropped}" if dropped else ""
        return f"cameras {', '.join(taken)}, {len(taken)} of {len(self.cameras)}{more}"

    @property
    def window_line(self) -> str:
        """The time windows of an example, in words; empty if it has only one step."""
        back = [str(offset) for offset in dict.fromkeys(slot.offset for slot in self.slots) if offset]
        said = [f"chunks of {self.horizon} actions"] if self.horizon > 1 else []
        return ", ".join([*said, *([f"images of step {', '.join(back)} too"] if back else [])])


class GroupPlan(msgspec.Struct, frozen=True, kw_only=True):
    """How a group's share is divided; counts are sums over its sources. A side with its own rules is a group with an empty path."""

    kind: Kind
    path: tuple[str, ...]
    weighting: str  # rule for its members, with parameters
    weights: str | None  # published mixture that gives its members' weights
    weight: str
    share: str  # of all examples, exact
    rows: int
    draws: int
    unseen: int

    @property
    def place(self) -> str:
        """The names of the groups, starting with the side."""
        return ".".join((self.kind, *self.path))

    def holds(self, source: SourcePlan) -> bool:
        """Whether a source is in it, directly or in a nested group."""
        return source.kind == self.kind and (source.path or ())[: len(self.path)] == self.path


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What will be written. Robot sources first, each side by name."""

    version: int
    tool_version: str
    fingerprint: str = ""
    robot_frac: str
    num_examples: int
    robot_examples: int
    seed: int
    split: str
    template: str
    codec: str
    tokenizer: dict[str, Any]
    max_tokens: int | None
    format: str
    shards: int
    bytes: int  # estimate
    action_dim: int  # all actions are padded to this
    horizon: int = 1  # actions per chunk: the largest of any source
    images: int | None = None  # image places per example; None: every example has exactly one image
    sources: tuple[SourcePlan, ...]
    answers: dict[str, str]  # answer rule by web source
    warnings: tuple[Warn, ...]
    materialize: Literal["once"] | msgspec.UnsetType = msgspec.UNSET  # unset: every draw is written, with repeats
    parts: tuple[MixturePart, ...] | msgspec.UnsetType = msgspec.UNSET  # set with `once`
    regions: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET  # how boxes and points are written; unset: there are none
    groups: tuple[GroupPlan, ...] | msgspec.UnsetType = msgspec.UNSET  # each before its nested groups; unset: none
    more: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET  # optional fields of these examples; unset: none
    reasoning_dropout: dict[str, str] | msgspec.UnsetType = msgspec.UNSET  # by source; unset: no note is left out

    @property
    def sizes(self) -> Sizes:
        """Sizes common to all examples."""
        return Sizes(self.action_dim, self.horizon, self.images, self.more or ())

    def dropout(self, source: SourcePlan) -> Dropout:
        """The rule that decides which notes of a source are left out."""
        return Dropout(Fraction((self.reasoning_dropout or {}).get(source.name, "0")), self.seed)

    def written(self, source: SourcePlan) -> int:
        """Number of examples of a source in the shards."""
        return min(source.draws, source.rows) if self.materialize else source.draws

    def sides(self) -> list[list[int]]:
        """Draws of the robot sources and of the web sources, in the order of `sources`."""
        return [[s.draws for s in self.sources if s.kind == kind] for kind in ("robot", "web")]
