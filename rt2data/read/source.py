"""What every source is, and the table of sources. A new raw format is one file in this folder and one line in `SOURCES`."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self

from pydantic import Field, field_validator, model_validator

from rt2data.errors import UsageError
from rt2data.images.ready import ImageRule
from rt2data.io import location
from rt2data.io.location import path_of
from rt2data.io.words import closest
from rt2data.read.action_space import load_space, space_names
from rt2data.read.known_formats import Recognized, by_content, by_marks
from rt2data.read.sample import InvalidSetting, SamplePart, SamplePlan, nearest_path, shuffled
from rt2data.records import Kind, SourceRecord, Unit
from rt2data.settings import NameOrPath, Positive, Settings, Share, Weight

SOURCES: dict[str, str] = {
    "rlds": "rt2data.read.rlds.source:RLDS",
    "vqav2": "rt2data.read.vqav2.source:VQAv2",
}


HELD_OUT = "val"
"""The split of what a source holds out."""


class Suggestion(NamedTuple):
    """How a recipe can read a path."""

    settings: Mapping[str, Any]  # all that the source needs, but for the action space
    name: str  # of the dataset
    facts: Mapping[str, Any] = {}  # what else was found


class Source(Settings):
    """A raw dataset: its settings are the fields, and it reads itself.

    `units` lists the work orders (looking at sizes and headers only, and refusing files that are cut); `read` turns one of them
    into Steps or Examples and Rejects. `files` names every raw file that matters, so that changes are noticed. `sample_plan` gives
    a sample for a quick estimate, `pieces` cuts a unit smaller for a trial run: both work for any source, some do it better.
    """

    role: ClassVar[Kind]
    mix_only: ClassVar[frozenset[str]] = frozenset({"weight", "license", "loss_weight"})
    """Settings that change nothing in the prepared store."""
    whole_records: ClassVar[frozenset[str]] = frozenset()
    """Reasons of rejects that lose a whole record of unknown size: each counts as a mean episode against `max_bad`."""

    looks_for: ClassVar[str] = ""
    """What `recognize` looks for, for the message that nothing was recognized."""

    weight: Weight = Field(default=1, validate_default=True)
    """Share inside its side of the mixture, as `weighting` reads it. 0 leaves the source out."""
    loss_weight: Positive = Field(default=1, validate_default=True)
    """How much the loss of each example counts against that of others: trainers multiply by it. It changes no draw."""
    license: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.+() -]{0,99}$")] | None = None
    """Its licence as an SPDX expression, such as CC-BY-4.0: shown on the card."""
    holdout: Share = Field(default=0, validate_default=True)
    """Fraction of episodes (or of images) set aside as split `val`, chosen by hash, stable when data grows."""
    images: ImageRule = ImageRule()
    """What is checked, kept and made of the images."""
    max_text_bytes: Annotated[int, Field(ge=1)] = 32768
    """Longer instructions, questions and answers are rejected."""

    @classmethod
    def recognize(cls, path: Path) -> Suggestion | None:
        """How a recipe can read what is at a path; None where it has another format. Raises RtError where it is damaged."""
        return None

    @classmethod
    def hint(cls, path: Path) -> Recognized | None:
        """What a path is where a user named it in the wrong place; None where it has another format. Raises OSError."""
        return None

    @property
    def has_actions(self) -> bool:
        """Whether it is a robot's log."""
        return self.role == "robot"

    def prepare_settings(self) -> dict[str, Any]:
        """The settings that decide what the prepared store holds, as plain JSON values."""
        return self.model_dump(mode="json", exclude=set(self.mix_only))

    def invalid_settings(self) -> Iterator[InvalidSetting]:
        """Settings that name something that does not exist: paths, splits, features. Checked when a recipe is read, so that all
        are reported at once; reads names and metadata only. May raise RtError if that fails: `units` raises it again.
        """
        yield from ()

    def split_names(self) -> tuple[str, ...]:
        """The splits of its rows, from metadata; empty if unknown. Raises as `invalid_settings` does."""
        return ()

    @abstractmethod
    def files(self) -> list[str]:
        """Paths of all raw files this source depends on, sorted. Raises UsageError where something is missing."""

    @abstractmethod
    def units(self) -> list[Unit]:
        """Work orders, in order. Raises DataError where a file is cut, UsageError where it is missing."""

    def share(self, folder: Path) -> None:
        """Write what all units need into a folder, once, before any is read; each unit then has its path in `shared`.

        Raises UsageError or DataError where the source cannot be read.
        """

    @abstractmethod
    def read(self, unit: Unit) -> Iterator[SourceRecord]:
        """Read one unit. Steps of an episode come together and in order."""

    def sample_plan(self, split: str, seed: int = 0) -> SamplePlan:
        """The size of a split, and a sample of it: whole units in an order by seed.

        Raises UsageError or DataError where the source cannot be read, as `units` does.
        """
        units = self.units()
        wanted = [unit for unit in units if self.may_feed(unit.split, split)]
        by_bytes = all(unit.bytes for unit in wanted)
        parts = [SamplePart(unit.bytes if by_bytes else 1, unit.bytes, unit) for unit in shuffled(wanted, seed)]
        return SamplePlan(
            measure="bytes" if by_bytes else "work orders",
            whole=sum(part.measure for part in parts),
            units=len(units),
            bytes=sum(unit.bytes for unit in units),
            parts=parts,
            read=lambda part: self.read(part.place),
        )

    def may_feed(self, recorded: str, split: str) -> bool:
        """Whether rows of a recorded split can end up in `split`: their own, or `val` where some are held out."""
        return recorded == split or (split == HELD_OUT and bool(self.holdout))

    def pieces(self, unit: Unit, size: int) -> list[Unit]:
        """A unit in pieces of about `size` bytes, each of whole records; all of it where it cannot be cut."""
        return [unit]

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """What is there, from headers and metadata alone, for `rt2data inspect`."""


class Filters(Settings):
    """Which episodes and steps to keep. What is dropped is counted by reason, not as a fault."""

    min_steps: Annotated[int, Field(ge=0)] = 2
    """Shorter episodes are dropped."""
    max_steps: Annotated[int, Field(ge=1)] | None = None
    """Longer episodes are dropped."""
    instruction: str | None = None
    """Keep only steps whose instruction matches this regular expression (searched, case ignored)."""
    success: Literal[True] | None = None
    """`true` keeps only episodes that are successes, as the source marks them (success, reward, is_terminal)."""
    drop_first: Annotated[int, Field(ge=0)] = 0
    """Steps to drop at the start of each episode."""
    drop_last: Annotated[int, Field(ge=0)] | Literal["auto"] = "auto"
    """Steps to drop at the end; `auto` drops a last step whose action RLDS leaves undefined (zero or repeated), never one that
    ends the task."""
    noop: Annotated[float, Field(ge=0)] | None = None
    """Drop steps whose motion (all dimensions but gripper and terminate) has a norm below this and whose gripper stays."""

    @field_validator("instruction")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        try:
            re.compile(pattern or "")
        except re.error as error:
            raise ValueError(f"must be a regular expression: {error}") from None
        return pattern


CameraNames = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)]


class RobotSource(Source):
    """A log of robot episodes."""

    role: ClassVar[Kind] = "robot"
    mix_only: ClassVar[frozenset[str]] = Source.mix_only | {"max_blank", "gaps", "horizon", "control_hz", "state_names"}

    action_space: NameOrPath
    """Name of a file in schemas/actions, or the path of a .toml of your own."""
    camera: str | None = None
    """The camera whose image goes into the mixture; by default the first by name. `cameras` takes several."""
    cameras: CameraNames | Literal["all"] | None = None
    """The cameras whose images go into the mixture, in this order, or `all` of them, by name. An episode without one of them keeps
    its place empty; an episode without any of them is rejected."""
    history: Annotated[tuple[Annotated[int, Field(ge=-1000, le=0)], ...], Field(min_length=1)] = (0,)
    """Images of which steps go into an example, in control steps from its own: `[-3, 0]` adds the one three steps before. Must
    hold 0. Before the start of an episode the place is empty."""
    horizon: Annotated[int, Field(ge=1, le=1024)] = 1
    """Actions of an example: its own and those of the steps that follow. At the end of an episode the last action is repeated and
    marked as padding."""
    control_hz: Annotated[float, Field(gt=0)] | None = None
    """Steps per second, if not the action space's own."""
    state_names: tuple[str, ...] | None = None
    """Names of the dimensions of the state, in order."""
    gripper_open: Literal[-1, 0, 1] | None = None
    """The value that means `open` in this source, if not the action space's own: -1 (closed 1), 0 (closed 1) or 1 (closed 0)."""
    terminate: Literal["auto", "success", "last_step", "is_terminal", "never"] = "auto"
    """Which step carries the terminate token, where the action has no dimension of its own for it. `auto`: the last step of each
    episode that nothing marks as failed or truncated, where success, reward or is_terminal differ between episodes;
    `success`: the same, and a source that marks no success is refused; `last_step`: of every episode."""
    blank_instruction: Literal["drop", "reject", "keep"] = "drop"
    """A step without words: drop it, reject it as a fault, or keep it."""
    max_blank: Share = Field(default="90%", validate_default=True)
    """Refuse the source where a larger share of its steps was dropped because they have no words."""
    gaps: Literal["cut", "drop", "join"] = "cut"
    """What `write-rlds` does with an episode with gaps in the middle: cut it there into episodes, drop it, or join the rest
    (as OpenVLA does where it removes steps without motion: states and images then jump). With `join`, action chunks and
    history too go over the gap; else they end there."""
    bad_step: Literal["step", "episode"] = "step"
    """A step with NaN or Inf in its action: reject the step, or its whole episode."""
    filters: Filters = Filters()
    """Which episodes and steps to keep."""

    @field_validator("cameras")
    @classmethod
    def _cameras_differ(cls, names: Any) -> Any:
        if isinstance(names, tuple) and len(set(names)) < len(names):
            raise ValueError("must not name one camera twice")
        if names is not None and not names:
            raise ValueError("must name a camera")
        return names

    @field_validator("history")
    @classmethod
    def _history_holds_now(cls, offsets: tuple[int, ...]) -> tuple[int, ...]:
        if 0 not in offsets or len(set(offsets)) < len(offsets):
            raise ValueError("must hold 0, and no step twice")
        return offsets

    @model_validator(mode="after")
    def _one_way_to_name_cameras(self) -> Self:
        if self.camera is not None and self.named_cameras is not None:
            raise ValueError("give `camera` or `cameras`, not both")
        return self

    @property
    def named_cameras(self) -> tuple[str, ...] | Literal["all"] | None:
        """The several cameras that the recipe chooses; None where it does not."""
        return self.cameras

    @property
    def offsets(self) -> tuple[int, ...]:
        """The steps whose images an example has, its own first, then back in time."""
        return tuple(sorted(self.history, reverse=True))

    @property
    def windowed(self) -> bool:
        """Whether an example holds something of other steps."""
        return self.horizon > 1 or len(self.history) > 1

    def prepare_settings(self) -> dict[str, Any]:
        """Gaps matter where windows go over them. A horizon does not: a store that holds longer chunks serves a shorter one."""
        return super().prepare_settings() | ({"gaps": "join"} if self.windowed and self.gaps == "join" else {})

    def invalid_settings(self) -> Iterator[InvalidSetting]:
        """An action space that is not there, or is none."""
        key, name = ("action_space",), self.action_space
        found = list(absent_file(key, name)) if name.endswith(".toml") else []
        try:
            _ = found or load_space(name)
        except UsageError as error:
            near = "" if name.endswith(".toml") else closest(name, space_names())
            found = [InvalidSetting(key, error.what if near else str(error), near)]
        yield from found


class WebSource(Source):
    """A corpus of images with questions or captions."""

    role: ClassVar[Kind] = "web"

    answers: Literal["majority", "sample", "all"] = "majority"
    """`majority`: the commonest; `sample`: one of them by key and epoch; `all`: one row for each distinct answer."""

    def prepare_settings(self) -> dict[str, Any]:
        """`majority` and `sample` choose when rows are drawn; only `all` changes the rows themselves."""
        return super().prepare_settings() | {"answers": "all" if self.answers == "all" else "drawn"}


def source_class(kind: str) -> type[Source]:
    """The class behind a name of the table."""
    module, name = SOURCES[kind].split(":")
    found: type[Source] = getattr(import_module(module), name)
    return found


def source_classes(role: Kind) -> tuple[type[Source], ...]:
    """All sources of one side of the mixture, in the table's order."""
    return tuple(cls for cls in map(source_class, SOURCES) if cls.role == role)


def recognize(path: Path) -> Recognized | None:
    """What is at a path, as the sources or the table of known formats say; None where nothing is there or known. Never raises."""
    try:
        if not location.exists(path):
            return None
        return by_marks(path) or next(filter(None, (source_class(kind).hint(path) for kind in SOURCES)), None) or by_content(path)
    except OSError:
        return None


def absent_file(setting: tuple[str | int, ...], path: str) -> Iterator[InvalidSetting]:
    """An invalid setting if there is no such file."""
    if location.is_folder(path):
        found = recognize(path_of(path))
        yield InvalidSetting(setting, f"is a folder, not a file: {path}" + (f": {found.what} -> {found.do}" if found else ""))
    elif not location.is_file(path):
        yield InvalidSetting(setting, f"there is no such file: {path}", nearest_path(path_of(path)))


def absent_folder(setting: tuple[str | int, ...], path: str) -> Iterator[InvalidSetting]:
    """An invalid setting if there is no such folder."""
    if location.is_file(path):
        found = recognize(path_of(path))
        yield InvalidSetting(setting, f"is a file, not a folder: {path}" + (f": {found.what} -> {found.do}" if found else ""))
    elif not location.is_folder(path):
        yield InvalidSetting(setting, f"there is no such folder: {path}", nearest_path(path_of(path)))
