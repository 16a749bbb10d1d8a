"""The base classes of sources, and the table of sources. A new raw format is one file in this folder and one line in `SOURCES`."""

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
"""The split of held-out examples."""


class Suggestion(NamedTuple):
    """How a recipe can read a path."""

    settings: Mapping[str, Any]  # all settings the source needs, except the action space if unknown
    name: str  # the dataset's name
    facts: Mapping[str, Any] = {}  # other facts found
    notes: tuple[str, ...] = ()  # for people to check, one line each


class Source(Settings):
    """A raw dataset: its fields are the recipe's settings, its methods read the data.

    `units` lists the work orders (it reads only sizes and headers, and refuses truncated files); `read` turns one work order into
    Steps or Examples and Rejects. `files` names every raw file that matters, so that changes are noticed. `sample_plan` returns a
    sample for a quick estimate, and `pieces` splits a unit for a trial run: both have defaults that suit any source.
    """

    role: ClassVar[Kind]
    mix_only: ClassVar[frozenset[str]] = frozenset({"weight", "license", "loss_weight", "max_epochs"})
    """Settings that do not change the prepared store."""
    later: ClassVar[frozenset[str]] = frozenset({"max_epochs"})
    whole_records: ClassVar[frozenset[str]] = frozenset()
    """Reject reasons that mean the loss of a whole record of unknown size: each counts as one mean episode towards `max_bad`."""

    looks_for: ClassVar[str] = ""
    """What `recognize` looks for: used in the message when nothing is recognized."""

    weight: Weight = Field(default=1, validate_default=True)
    """Share within its side of the mixture, or within its group, interpreted according to `weighting`. 0 leaves the source out."""
    max_epochs: Positive | None = None
    """Fail if this source would be repeated more often than this, instead of the recipe's `max_epochs`."""
    loss_weight: Positive = Field(default=1, validate_default=True)
    """Factor by which trainers multiply the loss of each example. It does not affect sampling."""
    license: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.+() -]{0,99}$")] | None = None
    """The dataset's licence as an SPDX expression, such as CC-BY-4.0: shown on the card."""
    holdout: Share = Field(default=0, validate_default=True)
    """Fraction of episodes (or of images) set aside as split `val`. Chosen by hash, so the choice is stable when data is added."""
    images: ImageRule = ImageRule()
    """How images are checked, filtered and converted."""
    max_text_bytes: Annotated[int, Field(ge=1)] = 32768
    """Longer instructions, questions and answers are rejected; longer notes and paraphrases are left out."""

    @classmethod
    def recognize(cls, path: Path) -> Suggestion | None:
        """How a recipe can read the data at a path; None if it has another format. Raises RtError if it is damaged."""
        return None

    @classmethod
    def hint(cls, path: Path) -> Recognized | None:
        """What a path is, for a user who named it in the wrong place; None if it has another format. Raises OSError."""
        return None

    @property
    def has_actions(self) -> bool:
        """Whether this is a robot log."""
        return self.role == "robot"

    def prepare_settings(self) -> dict[str, Any]:
        """The settings that determine the contents of the prepared store, as plain JSON values."""
        return self.model_dump(mode="json", exclude=set(self.mix_only))

    def invalid_settings(self) -> Iterator[InvalidSetting]:
        """Settings that name a path, split or feature that does not exist. Checked when a recipe is read, so that all are reported
        at once; reads only names and metadata. May raise RtError if that fails; `units` then raises it again.
        """
        yield from ()

    def split_names(self) -> tuple[str, ...]:
        """The recorded splits, from metadata; empty if unknown. Raises the same errors as `invalid_settings`."""
        return ()

    @abstractmethod
    def files(self) -> list[str]:
        """Paths of all raw files this source depends on, sorted. Raises UsageError if something is missing."""

    def depends_on(self) -> list[str]:
        """Paths of all files that determine the prepared store, sorted. Raises the same errors as `files`."""
        return self.files()

    @abstractmethod
    def units(self) -> list[Unit]:
        """Work orders, in order. Raises DataError if a file is truncated, UsageError if it is missing."""

    def share(self, folder: Path) -> None:
        """Write the data that all units share into a folder, once, before any unit is read; each unit then has the folder's path in
        `shared`.

        Raises UsageError or DataError if the source cannot be read.
        """

    @abstractmethod
    def read(self, unit: Unit) -> Iterator[SourceRecord]:
        """Read one unit. The steps of an episode are adjacent and in order."""

    def annotated(self, records: Iterable[SourceRecord], shared: str = "") -> Iterator[SourceRecord]:
        """The records with whatever the recipe joins to them; `shared` is the folder written by `share`."""
        return iter(records)

    def sample_plan(self, split: str, seed: int = 0) -> SamplePlan:
        """The size of a split, and a sample of it: whole units, shuffled by `seed`.

        Raises UsageError or DataError if the source cannot be read, as `units` does.
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
        """Whether rows of a recorded split can end up in `split`: it is their own split, or `val` and some rows are held out."""
        return recorded == split or (split == HELD_OUT and bool(self.holdout))

    def pieces(self, unit: Unit, size: int) -> list[Unit]:
        """The unit split into pieces of about `size` bytes of whole records; the unit itself if it cannot be split."""
        return [unit]

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """A description from headers and metadata alone, for `rt2data inspect`."""


class Growing:
    """A source whose units can be read independently: when data is added, only the new data is read.

    A part is a range of a file, or a whole file; a unit is one part, or several that are read together.
    """

    @abstractmethod
    def parts(self, known: Mapping[str, Sequence[Unit]]) -> list[Unit]:
        """The parts of all units, in order. Files whose parts are already `known` (by path) need not be opened.

        Raises the same errors as `units`.
        """

    @abstractmethod
    def units_of(self, parts: Sequence[Unit]) -> list[Unit]:
        """Units that read these parts, in order; `units` returns the units of all parts."""

    @abstractmethod
    def bases(self, parts: Sequence[Unit]) -> list[Any]:
        """For each part, what its records depend on besides the settings, the range and the file itself: plain JSON values."""


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
    """The camera whose images go into the mixture; by default the first by name. Use `cameras` for several."""
    cameras: CameraNames | Literal["all", "none"] | None = None
    """The cameras whose images go into the mixture, in this order, or `all` of them, by name. If an episode lacks one of them, that
    image stays empty; an episode with none of them is rejected. `none`: examples have text and states but no images."""
    history: Annotated[tuple[Annotated[int, Field(ge=-1000, le=0)], ...], Field(min_length=1)] = (0,)
    """The steps whose images go into an example, as offsets in control steps from its own: `[-3, 0]` adds the image from three
    steps before. Must contain 0. The image is empty for an offset before the start of the episode."""
    horizon: Annotated[int, Field(ge=1, le=1024)] = 1
    """Number of actions in an example: its own and those of the following steps. At the end of an episode the last action is
    repeated and marked as padding."""
    control_hz: Annotated[float, Field(gt=0)] | None = None
    """Steps per second, if different from the action space's."""
    state_names: tuple[str, ...] | None = None
    """Names of the dimensions of the state, in order."""
    statistics: Literal["split", "all"] | PathStr = "split"
    """Where the bounds `q01q99` and `minmax` come from: the `split` being drawn; `all` splits, as in OpenVLA; or a published file:
    dataset_statistics.json of OpenVLA or Octo, norm_stats.json of openpi, stats.json of LeRobot. If the file holds several
    datasets, name one: FILE#NAME."""
    gripper_open: Literal[-1, 0, 1] | None = None
    """The value that means `open` in this source, if different from the action space's: -1 (closed 1), 0 (closed 1) or 1 (closed
    0)."""
    conversions: Conversions = ()
    """Conversions of the actions and states of each episode, applied in order before anything else: `[{rule: invert, dims:
    -1}]`."""
    terminate: Literal["auto", "success", "last_step", "is_terminal", "never"] = "auto"
    """Which step carries the terminate token, if the action has no terminate dimension. `auto`: if success, reward or is_terminal
    differ between episodes, the last step of each episode that is not marked as failed or truncated; `success`: the same, but a
    source that marks no success is refused; `last_step`: the last step of every episode."""
    blank_instruction: Literal["drop", "reject", "keep"] = "drop"
    """What to do with a step without an instruction: drop it, reject it as a fault, or keep it."""
    max_blank: Share = Field(default="90%", validate_default=True)
    """Refuse the source if a larger share of its steps is dropped because they have no instruction."""
    gaps: Literal["cut", "drop", "join"] = "cut"
    """What `write-rlds` does with an episode that has gaps in the middle: cut it into episodes at the gaps, drop it, or join the
    rest (as OpenVLA does after removing steps without motion: states and images then jump). With `join`, action chunks and history
    also span the gap; otherwise they end there."""
    bad_step: Literal["step", "episode"] = "step"
    """What to reject if an action contains NaN or Inf: the step, or its whole episode."""
    filters: Filters = Filters()
    """Which episodes and steps to keep."""
    max_dropped: Share = Fraction(9, 10)
    """Refuse the source if the step filters (drop_first, drop_last, noop, idle, keep_ranges) drop a larger share of the steps that
    the other filters keep."""
    empty_tasks: Literal["stop", "allow"] = "stop"
    """What to do if these filters drop every step of an instruction: stop, or continue without it."""

    annotations: AnyAnnotations | None = None
    """Text about steps that is stored in separate files: `{kind: ecot, path: FILE.json}`, or `{kind: steps, path: FILE.jsonl}`."""
    instructions: Pool | None = None
    """Several instructions for each episode or task; one is picked each time a step is drawn: `{path: FILE.json}`."""
    reasoning_dropout: Share = Fraction(0)
    """Share of the reasoning before an action that templates omit; decided for each part separately, by step and epoch."""

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
        """The cameras that the recipe selects with `cameras`, which may be empty; None if it does not select any."""
        return () if self.cameras == "none" else self.cameras

    @property
    def offsets(self) -> tuple[int, ...]:
        """Offsets of the steps whose images an example has: its own first, then back in time."""
        return tuple(sorted(self.history, reverse=True))

    @property
    def windowed(self) -> bool:
        """Whether an example holds data from other steps."""
        return self.horizon > 1 or len(self.history) > 1

    @property
    def filtered(self) -> bool:
        """Whether the recipe sets any filter."""
        return self.filters != Filters()

    def prepare_settings(self) -> dict[str, Any]:
        """`gaps` matters if windows span them. A shorter horizon does not matter: a store with longer chunks serves it.

        The contents of files named by filters count too.
        """
        gaps = {"gaps": "join"} if self.windowed and self.gaps == "join" else {}
        files = {"filter_files": self.filters.contents()} if self.filters.files else {}
        own = {name: value for name, value in super().prepare_settings().items() if name not in (NOTES, POOL)}
        return own | gaps | files | self._joined_settings()

    def _joined_settings(self) -> dict[str, Any]:
        """The settings of the joined data: its files by their content, without the share that must match."""
        return {
            name: joined.model_dump(mode="json", exclude={"min_matched"}) | {"contents": joined.contents()}
            for name, joined in self.joined.items()
        }

    @property
    def joined(self) -> dict[str, Joined]:
        """The data joined to the log, by setting."""
        found = {NOTES: self.annotations, POOL: self.instructions}
        return {name: joined for name, joined in found.items() if joined is not None}

    @property
    def recorded_hz(self) -> float | None:
        """Steps per second stated by the log itself, before any conversion; None if not stated."""
        return None

    def depends_on(self) -> list[str]:
        """The raw files, the files named by filters, and the joined files."""
        joined = {path for each in self.joined.values() for path in each.files}
        return sorted({*self.files(), *self.filters.files.values(), *joined})

    def share(self, folder: Path) -> None:
        """Write an index of where each episode's annotations are."""
        if self.joined:
            from rt2data.read.annotations.index import write_index

            for name, each in self.joined.items():
                write_index(each, folder, name)

    def annotated(self, records: Iterable[SourceRecord], shared: str = "") -> Iterator[SourceRecord]:
        """Steps with their notes and the instructions to choose from. Raises DataError if annotations are damaged."""
        if not self.joined:
            return iter(records)
        from rt2data.read.annotations.join import joined

        return joined(records, self.annotations, self.instructions, self.max_text_bytes, shared)

    def episode_names(self) -> Iterator[tuple[str, str]]:
        """Split and name of each episode, in any order, as far as known without reading the episodes.

        Raises UsageError if a log of this kind does not list its episodes.
        """
        raise UsageError("a log of this kind says what its episodes are only when it is read", do="leave out `filters.limit`")

    @cached_property
    def limits(self) -> Limits:
        """The episodes that `filters.limit` keeps. Raises the same errors as `episode_names`."""
        return limit_by_hash(() if self.filters.limit is None else self.episode_names(), self.filters.limit)

    def invalid_settings(self) -> Iterator[InvalidSetting]:
        """An action space that does not exist or is invalid."""
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
        """Filter files that are missing or invalid, and a limit that cannot be applied because the episodes are unknown."""
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
    """`majority`: the most common answer; `sample`: one of them, by key and epoch; `all`: one row for each distinct answer; `soft`:
    the same, but the loss weight of a row is multiplied by VQA's consensus on its answer: .3, .6, .9 if one, two or three
    annotators gave it."""
    agreement: Agreement = "case"
    """Which answers count as the same: `case`: they differ only in case and surrounding white space; `vqa`: they are equal after
    VQA's normalization of punctuation, number words, articles and contractions. The target keeps its original spelling."""
    unanswerable: Literal["keep", "drop", "reject"] = "keep"
    """What to do with a question whose most common answer is `unanswerable` or `unsuitable`, as in VizWiz: keep it, drop it, or
    reject it as a fault. Unless kept, such an answer is not a target for other questions either."""
    max_answer_words: Annotated[int, Field(ge=1)] | None = None
    """Answers with more words are not targets; a question with no other answer is dropped."""
    max_answer_bytes: Annotated[int, Field(ge=1)] | None = None
    """The same limit in UTF-8 bytes."""

    @property
    def row_for_each_answer(self) -> bool:
        """Whether every distinct answer has a row of its own."""
        return self.answers in ("all", "soft")

    def prepare_settings(self) -> dict[str, Any]:
        """`majority` and `sample` pick an answer when rows are drawn; only one row per answer changes the rows themselves."""
        return super().prepare_settings() | {"answers": self.answers if self.row_for_each_answer else "drawn"}


def source_class(kind: str) -> type[Source]:
    """The class for a name in the table."""
    module, name = SOURCES[kind].split(":")
    found: type[Source] = getattr(import_module(module), name)
    return found


def source_classes(role: Kind) -> tuple[type[Source], ...]:
    """All source classes of one side of the mixture, in the table's order."""
    return tuple(cls for cls in map(source_class, SOURCES) if cls.role == role)


def recognize(path: Path) -> Recognized | None:
    """What is at a path, according to the sources or the table of known formats; None if missing or unknown. Never raises."""
    try:
        if not (location.is_file(path) or location.is_folder(path)):
            return None
        return by_marks(path) or next(filter(None, (source_class(kind).hint(path) for kind in SOURCES)), None) or by_content(path)
    except (OSError, UsageError):  # UsageError: a folder that cannot be listed
        return None


def absent_file(setting: tuple[str | int, ...], path: str) -> Iterator[InvalidSetting]:
    """An invalid setting if the file does not exist."""
    if location.is_folder(path):
        found = recognize(path_of(path))
        yield InvalidSetting(setting, f"is a folder, not a file: {path}" + (f": {found.what} -> {found.do}" if found else ""))
    elif not location.is_file(path):
        yield InvalidSetting(setting, f"there is no such file: {path}", nearest_path(path_of(path)))


def absent_folder(setting: tuple[str | int, ...], path: str) -> Iterator[InvalidSetting]:
    """An invalid setting if the folder does not exist."""
    if location.is_file(path):
        found = recognize(path_of(path))
        yield InvalidSetting(setting, f"is a file, not a folder: {path}" + (f": {found.what} -> {found.do}" if found else ""))
    elif not location.is_folder(path):
        yield InvalidSetting(setting, f"there is no such folder: {path}", nearest_path(path_of(path)))


def invalid_size(space: str, width: int, rules: Sequence[Rule]) -> Iterator[InvalidSetting]:
    """Conversions that name dimensions which actions of `width` numbers lack, or an action space whose size differs after them."""
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
    """Mistakes of a rate-lowering rule about which dimensions are changes, where the action space says which are.

    Only checked if the dimensions after the rule are those of the space.
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
