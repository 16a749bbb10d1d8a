"""What every source is, and the table of sources. A new raw format is one file in this folder and one line in `SOURCES`."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self

from pydantic import Field, field_validator, model_validator

from rt2data.errors import UsageError
from rt2data.images.ready import ImageRule
from rt2data.io import location
from rt2data.io.location import path_of
from rt2data.io.words import closest
from rt2data.read.action_space import ActionSpace, load_space, space_names
from rt2data.read.annotations.settings import NOTES, POOL, AnyAnnotations, Joined, Pool
from rt2data.read.conversions import Conversions, OfMotion, Resample, Rotate, Rule, Scale, Select, converted_width
from rt2data.read.filters import Filters, Limits, limit_by_hash
from rt2data.read.known_formats import Recognized, by_content, by_marks
from rt2data.read.sample import InvalidSetting, SamplePart, SamplePlan, nearest_path, shuffled
from rt2data.records import Agreement, AnswerRule, Kind, SourceRecord, Unit
from rt2data.settings import NameOrPath, PathStr, Positive, Settings, Share, Weight

SOURCES: dict[str, str] = {
    "rlds": "rt2data.read.rlds.source:RLDS",
    "lerobot": "rt2data.read.lerobot.source:LeRobot",
    "hdf5": "rt2data.read.hdf5.source:HDF5",
    "ros": "rt2data.read.ros.source:Ros",
    "zarr": "rt2data.read.zarr.source:Zarr",
    "folder": "rt2data.read.folder.source:FolderLog",
    "bridge_raw": "rt2data.read.bridge_raw.source:BridgeRaw",
    "vqav2": "rt2data.read.vqav2.source:VQAv2",
    "conversations": "rt2data.read.corpus.conversations:Conversations",
    "vqa": "rt2data.read.corpus.vqa:VQA",
    "captions": "rt2data.read.corpus.captions:Captions",
    "grounding": "rt2data.read.corpus.grounding:Grounding",
}


HELD_OUT = "val"
"""The split of what a source holds out."""


class Suggestion(NamedTuple):
    """How a recipe can read a path."""

    settings: Mapping[str, Any]  # all that the source needs, but for the action space where that is not known
    name: str  # of the dataset
    facts: Mapping[str, Any] = {}  # what else was found
    notes: tuple[str, ...] = ()  # what people should check, one line each


class Source(Settings):
    """A raw dataset: its settings are the fields, and it reads itself.

    `units` lists the work orders (looking at sizes and headers only, and refusing files that are cut); `read` turns one of them
    into Steps or Examples and Rejects. `files` names every raw file that matters, so that changes are noticed. `sample_plan` gives
    a sample for a quick estimate, `pieces` cuts a unit smaller for a trial run: both work for any source, some do it better.
    """

    role: ClassVar[Kind]
    mix_only: ClassVar[frozenset[str]] = frozenset({"weight", "license", "loss_weight", "max_epochs"})
    """Settings that change nothing in the prepared store."""
    later: ClassVar[frozenset[str]] = frozenset({"max_epochs"})
    whole_records: ClassVar[frozenset[str]] = frozenset()
    """Reasons of rejects that lose a whole record of unknown size: each counts as a mean episode against `max_bad`."""

    looks_for: ClassVar[str] = ""
    """What `recognize` looks for, for the message that nothing was recognized."""

    weight: Weight = Field(default=1, validate_default=True)
    """Share inside its side of the mixture, or its group, as `weighting` reads it. 0 leaves the source out."""
    max_epochs: Positive | None = None
    """Fail if this source would be repeated more often than this, instead of the recipe's `max_epochs`."""
    loss_weight: Positive = Field(default=1, validate_default=True)
    """How much the loss of each example counts against that of others: trainers multiply by it. It changes no draw."""
    license: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.+() -]{0,99}$")] | None = None
    """Its licence as an SPDX expression, such as CC-BY-4.0: shown on the card."""
    holdout: Share = Field(default=0, validate_default=True)
    """Fraction of episodes (or of images) set aside as split `val`, chosen by hash, stable when data grows."""
    images: ImageRule = ImageRule()
    """What is checked, kept and made of the images."""
    max_text_bytes: Annotated[int, Field(ge=1)] = 32768
    """Longer instructions, questions and answers are rejected; longer notes and paraphrases are left out."""

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

    def depends_on(self) -> list[str]:
        """Paths of all files that decide what is prepared, sorted. Raises what `files` raises."""
        return self.files()

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

    def annotated(self, records: Iterable[SourceRecord], shared: str = "") -> Iterator[SourceRecord]:
        """What was read, with what the recipe joins to it; `shared` is the folder of what units have in common."""
        return iter(records)

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


class Growing:
    """A source whose units can be read each by itself: when it grows, only what is new is read.

    A part is a range of one file, or all of it; a unit is one part, or several that are read together.
    """

    @abstractmethod
    def parts(self, known: Mapping[str, Sequence[Unit]]) -> list[Unit]:
        """The parts of all units, in order. Files of which the parts are `known`, by path, need not be looked into.

        Raises what `units` raises.
        """

    @abstractmethod
    def units_of(self, parts: Sequence[Unit]) -> list[Unit]:
        """Units that read these parts, in order; `units` are those of all parts."""

    @abstractmethod
    def bases(self, parts: Sequence[Unit]) -> list[Any]:
        """What the records of each part depend on, besides the settings, its range and the file itself: plain JSON values."""


CameraNames = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)]


class RobotSource(Source):
    """A log of robot episodes."""

    role: ClassVar[Kind] = "robot"
    mix_only: ClassVar[frozenset[str]] = Source.mix_only | {
        "max_blank",
        "gaps",
        "horizon",
        "control_hz",
        "state_names",
        "statistics",
        "max_dropped",
        "empty_tasks",
        "reasoning_dropout",
    }
    later: ClassVar[frozenset[str]] = Source.later | {
        "statistics",
        "max_dropped",
        "empty_tasks",
        "conversions",
        "annotations",
        "instructions",
        "reasoning_dropout",
    }

    action_space: NameOrPath
    """Name of a file in schemas/actions, or the path of a .toml of your own."""
    camera: str | None = None
    """The camera whose image goes into the mixture; by default the first by name. `cameras` takes several."""
    cameras: CameraNames | Literal["all", "none"] | None = None
    """The cameras whose images go into the mixture, in this order, or `all` of them, by name. An episode without one of them keeps
    its place empty; an episode without any of them is rejected. `none`: examples of words and states, without images."""
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
    statistics: Literal["split", "all"] | PathStr = "split"
    """What bounds named `q01q99` and `minmax` come from: the `split` that is drawn; `all` splits, as OpenVLA has them; or a
    published file: dataset_statistics.json of OpenVLA or Octo, norm_stats.json of openpi, stats.json of LeRobot. Of one with
    several datasets name one: FILE#NAME."""
    gripper_open: Literal[-1, 0, 1] | None = None
    """The value that means `open` in this source, if not the action space's own: -1 (closed 1), 0 (closed 1) or 1 (closed 0)."""
    conversions: Conversions = ()
    """What is made of the actions and states of each episode before anything else, in order: `[{rule: invert, dims: -1}]`."""
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
    max_dropped: Share = Fraction(9, 10)
    """Refuse the source where filters of steps (drop_first, drop_last, noop, idle, keep_ranges) drop a larger share of the steps
    that other filters leave."""
    empty_tasks: Literal["stop", "allow"] = "stop"
    """What to do where these filters drop every step of an instruction: stop, or go on without it."""

    annotations: AnyAnnotations | None = None
    """Text about steps that is kept beside the log: `{kind: ecot, path: FILE.json}`, or `{kind: steps, path: FILE.jsonl}`."""
    instructions: Pool | None = None
    """Several instructions for each episode or task, one of which is taken each time a step is drawn: `{path: FILE.json}`."""
    reasoning_dropout: Share = Fraction(0)
    """Share of what templates with reasoning say before an action that is left out, each part by itself, by step and epoch."""

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
        """The several cameras that the recipe chooses, or none of them; None where it does not choose."""
        return () if self.cameras == "none" else self.cameras

    @property
    def offsets(self) -> tuple[int, ...]:
        """The steps whose images an example has, its own first, then back in time."""
        return tuple(sorted(self.history, reverse=True))

    @property
    def windowed(self) -> bool:
        """Whether an example holds something of other steps."""
        return self.horizon > 1 or len(self.history) > 1

    @property
    def filtered(self) -> bool:
        """Whether the recipe sets any filter."""
        return self.filters != Filters()

    def prepare_settings(self) -> dict[str, Any]:
        """Gaps matter where windows go over them. A horizon does not: a store that holds longer chunks serves a shorter one.

        What is in the files that filters name matters as the filters do.
        """
        gaps = {"gaps": "join"} if self.windowed and self.gaps == "join" else {}
        files = {"filter_files": self.filters.contents()} if self.filters.files else {}
        own = {name: value for name, value in super().prepare_settings().items() if name not in (NOTES, POOL)}
        return own | gaps | files | self._joined_settings()

    def _joined_settings(self) -> dict[str, Any]:
        """What is joined to the log: its files by what is in them, and not how much of it must match."""
        return {
            name: joined.model_dump(mode="json", exclude={"min_matched"}) | {"contents": joined.contents()}
            for name, joined in self.joined.items()
        }

    @property
    def joined(self) -> dict[str, Joined]:
        """What is joined to the log, by setting."""
        found = {NOTES: self.annotations, POOL: self.instructions}
        return {name: joined for name, joined in found.items() if joined is not None}

    @property
    def recorded_hz(self) -> float | None:
        """Steps per second as the log itself says, before any conversion; None where it does not."""
        return None

    def depends_on(self) -> list[str]:
        """Its raw files, those that its filters name, and those that are joined to it."""
        joined = {path for each in self.joined.values() for path in each.files}
        return sorted({*self.files(), *self.filters.files.values(), *joined})

    def share(self, folder: Path) -> None:
        """Write where the annotations of each episode are."""
        if self.joined:
            from rt2data.read.annotations.index import write_index

            for name, each in self.joined.items():
                write_index(each, folder, name)

    def annotated(self, records: Iterable[SourceRecord], shared: str = "") -> Iterator[SourceRecord]:
        """Steps with their notes, and with the instructions to choose from. Raises DataError where annotations are damaged."""
        if not self.joined:
            return iter(records)
        from rt2data.read.annotations.join import joined

        return joined(records, self.annotations, self.instructions, self.max_text_bytes, shared)

    def episode_names(self) -> Iterator[tuple[str, str]]:
        """Split and name of each episode that there is, in any order, as far as that is known without reading them.

        Raises UsageError where a log of this kind does not say.
        """
        raise UsageError("a log of this kind says what its episodes are only when it is read", do="leave out `filters.limit`")

    @cached_property
    def limits(self) -> Limits:
        """What `filters.limit` keeps. Raises what `episode_names` raises."""
        return limit_by_hash(() if self.filters.limit is None else self.episode_names(), self.filters.limit)

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
        if self.statistics not in ("split", "all"):
            yield from absent_file(("statistics",), self.statistics.partition("#")[0])
        yield from self._invalid_filters()
        for name, each in self.joined.items():
            yield from (InvalidSetting((name, "path"), message) for message in each.invalid())

    def _invalid_filters(self) -> Iterator[InvalidSetting]:
        """Files of filters that are not there or hold something else, and a limit that cannot be known."""
        absent = [found for name, path in self.filters.files.items() for found in absent_file(("filters", name), path)]
        yield from absent
        if not absent:
            yield from (InvalidSetting(("filters", name), message) for name, message in self.filters.invalid())
        if self.filters.limit is not None and type(self).episode_names is RobotSource.episode_names:
            yield InvalidSetting(("filters", "limit"), "a log of this kind says what its episodes are only when it is read")


class WebSource(Source):
    """A corpus of images with questions or captions."""

    role: ClassVar[Kind] = "web"

    later: ClassVar[frozenset[str]] = Source.later | {"agreement", "unanswerable", "max_answer_words", "max_answer_bytes"}

    answers: AnswerRule = "majority"
    """`majority`: the commonest; `sample`: one of them by key and epoch; `all`: one row for each distinct answer; `soft`: the same,
    where the loss weight of a row is multiplied by VQA's consensus on its answer: .3, .6, .9 for one, two or three that gave it."""
    agreement: Agreement = "case"
    """Which answers count as the same: those that differ in `case` and outer white space only, or those that are the same after
    `vqa`'s normalization of punctuation, number words, articles and contractions. The target is spelled as it was given."""
    unanswerable: Literal["keep", "drop", "reject"] = "keep"
    """A question whose commonest answer is `unanswerable` or `unsuitable`, as in VizWiz: keep it, drop it, or reject it as a fault.
    Unless kept, such an answer is no target of other questions either."""
    max_answer_words: Annotated[int, Field(ge=1)] | None = None
    """Answers of more words are no targets; a question that has no other is dropped."""
    max_answer_bytes: Annotated[int, Field(ge=1)] | None = None
    """The same for bytes in UTF-8."""

    @property
    def row_for_each_answer(self) -> bool:
        """Whether every distinct answer has a row of its own."""
        return self.answers in ("all", "soft")

    def prepare_settings(self) -> dict[str, Any]:
        """`majority` and `sample` choose when rows are drawn; only a row for each answer changes the rows themselves."""
        return super().prepare_settings() | {"answers": self.answers if self.row_for_each_answer else "drawn"}


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
        if not (location.is_file(path) or location.is_folder(path)):
            return None
        return by_marks(path) or next(filter(None, (source_class(kind).hint(path) for kind in SOURCES)), None) or by_content(path)
    except (OSError, UsageError):  # UsageError: a folder that cannot be listed
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


def invalid_size(space: str, width: int, rules: Sequence[Rule]) -> Iterator[InvalidSetting]:
    """Conversions that name dimensions which actions of `width` numbers do not have; an action space of another size after them."""
    try:
        found = load_space(space)
    except UsageError:
        return  # reported already
    try:
        after = converted_width(rules, width, found.names)
    except UsageError as error:
        yield InvalidSetting(("conversions",), error.what)
        return
    if found.size not in (None, after):
        said = " after its conversions" if rules else ""
        yield InvalidSetting(("action_space",), f"{space} has {found.size} numbers, and the action {after}{said}")
    elif found.size is not None:
        yield from (InvalidSetting(("conversions",), what) for what in _wrong_changes(found, rules))


def _wrong_changes(space: ActionSpace, rules: Sequence[Rule]) -> Iterator[str]:
    """What a rule for a lower rate gets wrong of the changes in an action, where the action space says what they are.

    Only where the dimensions behind the rule are those of the space.
    """
    for number, rule in enumerate(rules):
        if isinstance(rule, Resample) and not any(isinstance(later, Select | Rotate | OfMotion) for later in rules[number + 1 :]):
            named = rule.changes(len(space.dims), space.names)
            if lost := [name for at, name in enumerate(space.names) if at in space.changes and at not in named]:
                yield (
                    f"{space.name} says that {', '.join(lost)} are changes, which `resample` must not leave out: "
                    "name them in its `sum`, or as a rotation in its `turns`"
                )
            turned = (
                space.dims[at] for turns in rule.rotations if turns.in_radians for at in turns.places(len(space.dims), space.names)
            )
            odd = next((dim for dim in turned if dim.unit not in ("", "rad")), None)
            if odd and not any(isinstance(other, Scale) for other in rules):
                yield f"`turns` of `resample` composes radians, and {odd.name} of {space.name} is in {odd.unit}: `scale` it before"
