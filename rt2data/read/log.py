"""Robot logs whose episodes are columns (numbers, text and images of each step), which recipes name by feature paths.

RLDS is described by its own features.json (`rlds/layout.py`); every other format states its columns, and where it usually keeps the
action, state, instruction and images. A new format implements `columns`, `parts` and `episodes`; everything else is here.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from rt2data.errors import DataError, RtError, UsageError
from rt2data.io import location
from rt2data.io.location import path_of
from rt2data.io.words import closest
from rt2data.read.features import FeaturePath, FeaturePaths, Part, parse_part
from rt2data.read.recorded import Episode, described_step, read_episode
from rt2data.read.sample import InvalidSetting, nearest_path
from rt2data.read.source import CameraNames, Growing, RobotSource, invalid_size, recognize
from rt2data.read.units import whole_units
from rt2data.records import SourceRecord, Step, Unit
from rt2data.settings import PathStr

_LISTED = 24
Holds = Literal["numbers", "words", "images"]


class Column(NamedTuple):
    """One feature of every step of a log."""

    path: str  # the name used in recipes
    holds: Holds
    width: int | None = None  # how many numbers each step has
    detail: str = ""  # for messages and `inspect`: float32[7], video 640x480
    names: tuple[str, ...] = ()  # of the numbers, if the log has them


class Usual(NamedTuple):
    """Where a format usually keeps what a recipe does not name: the first alternative present, with all its columns joined."""

    action: tuple[tuple[str, ...], ...]
    state: tuple[tuple[str, ...], ...] = ()
    instruction: tuple[str, ...] = ()
    success: tuple[str, ...] = ()
    reward: tuple[str, ...] = ()
    unclear: str = ""  # why no action is chosen, if several columns could be one


@dataclass(frozen=True, slots=True)
class LogLayout:
    """The columns that an episode is read from."""

    action: tuple[Part, ...]  # joined in order
    state: tuple[Part, ...]
    instruction: str | None
    cameras: Mapping[str, str]  # name and column
    success: str | None = None
    reward: str | None = None


class LogSource(RobotSource, Growing):
    """A robot log made of columns."""

    usual: ClassVar[Usual]
    package: ClassVar[tuple[str, str]] = ("", "")
    """The package that reading imports, and the rt2data extra that installs it."""

    path: PathStr
    """The file or folder of the log."""
    action: FeaturePaths | None = None
    """Feature or features that hold the action, joined in order; `name[0:7]` takes a range of the numbers."""
    state: FeaturePaths | None = None
    """Feature or features that hold the robot's state."""
    instruction: FeaturePath | None = None
    """Feature that holds the instruction."""
    text: Annotated[str, Field(min_length=1, max_length=4096)] | None = None
    """The instruction of every episode, for a log that has none."""
    success: FeaturePath | None = None
    """Feature that marks episodes as successes."""
    camera_features: dict[str, FeaturePath] | None = None
    """Names of cameras and their features; by default every image feature, named by the last part of its path."""
    cameras: CameraNames | Literal["all", "none"] | None = None
    """The cameras whose images go into the mixture, in this order, or `all` of them, by name; or `none`."""

    @model_validator(mode="after")
    def _ranges(self) -> Self:
        for path in (*(self.action or ()), *(self.state or ())):
            try:
                parse_part(path)
            except UsageError as error:
                raise ValueError(error.what) from None
        return self

    @model_validator(mode="after")
    def _words_once(self) -> Self:
        if self.text is not None and self.instruction is not None:
            raise ValueError("give `instruction` or `text`, not both")
        return self

    # What a format must provide

    @abstractmethod
    def columns(self) -> Sequence[Column]:
        """The features of the log's steps, from headers and metadata.

        Raises UsageError if this is not such a log, DataError if it is truncated.
        """

    @abstractmethod
    def parts(self, known: Mapping[str, Sequence[Unit]]) -> list[Unit]:
        """The log's files, or ranges of them, in order: see `Growing`."""

    @abstractmethod
    def episodes(self, part: Unit, layout: LogLayout) -> Iterator[Episode | SourceRecord]:
        """The episodes of one part in order, with Rejects and Facts found while reading."""

    # What a format may provide

    def more_facts(self) -> dict[str, Any]:
        """Other facts the format states about a log, such as `robot_type` and `fps`, for `inspect` and for guesses."""
        return {}

    def usual_among(self, columns: Sequence[Column]) -> Usual:
        """Where a log with these columns usually keeps what the recipe does not name."""
        return self.usual

    def name_cameras(self, columns: Sequence[Column]) -> dict[str, str]:
        """Camera names and their columns, for a log with these columns."""
        return camera_names(columns)

    # What follows from these

    def layout(self) -> LogLayout:
        """What to read. Raises UsageError, listing what exists, if a named feature is missing or nothing can be guessed."""
        self._require_package()
        columns = self.columns()
        return choose_layout(columns, self, self.usual_among(columns))

    def invalid_settings(self) -> Iterator[InvalidSetting]:
        """A path, features or cameras that do not exist."""
        yield from super().invalid_settings()
        if not location.exists(self.path):
            yield InvalidSetting(("path",), f"there is no such file or folder: {self.path}", nearest_path(path_of(self.path)))
            return
        try:
            self._require_package()
            columns = self.columns()
        except UsageError as error:
            yield InvalidSetting(("path",), str(error))
            return
        yield from invalid_columns(columns, self, self.usual_among(columns))

    def units(self) -> list[Unit]:
        """Units of about 64 MB each. Raises UsageError if the recipe and the log disagree, DataError if a file is truncated."""
        self.layout()
        found = self.parts({})
        if not found:
            raise DataError("there are no episodes", self.path)
        return self.units_of(found)

    def units_of(self, parts: Sequence[Unit]) -> list[Unit]:
        """About 64 MB each."""
        return whole_units(parts)

    def bases(self, parts: Sequence[Unit]) -> list[Any]:
        """The features that are read, and from which episodes."""
        layout, bounds = repr(self.layout()), sorted(self.limits.bounds.items())
        return [[layout, bounds] if bounds else layout] * len(parts)

    def episode_names(self) -> Iterator[tuple[str, str]]:
        """The episodes of all parts; opens each part but reads no steps."""
        layout = self.layout()
        for part in self.parts({}):
            yield from ((found.split, found.name) for found in self.episodes(part, layout) if isinstance(found, Episode))

    def read(self, unit: Unit) -> Iterator[SourceRecord]:
        """Steps of the episodes in a unit, and a Reject for each episode that is damaged or lost."""
        layout = self.layout()
        for part in unit.each:
            try:
                for found in self.episodes(part, layout):
                    yield from self.steps_of(found)
            except OSError as error:
                error.filename = error.filename or part.path  # a failed read has none
                raise

    def kept(self, split: str, names: Iterable[str]) -> list[list[str]]:
        """The part's episodes that `filters.limit` keeps, for its basis; empty if there is no limit."""
        return [] if self.filters.limit is None else [[name for name in names if self.limits.keep(split, name)]]

    def steps_of(self, found: Episode | SourceRecord) -> Iterator[SourceRecord]:
        """The records of an episode, unless `filters.limit` excludes it; any other record unchanged."""
        if not isinstance(found, Episode):
            yield found
        elif self.limits.keep(found.split, found.name):
            yield from read_episode(self._worded(found))

    def _worded(self, episode: Episode) -> Episode:
        """The episode with the instruction given in the recipe."""
        words, read = self.text, episode.read
        return episode if words is None else episode._replace(read=lambda: replace(read(), instruction=words))

    def describe(self) -> dict[str, Any]:
        """Features, guesses based on them, and a summary of the first episode."""
        columns = self.columns()
        return {
            "kind": getattr(self, "kind", ""),
            "path": self.path,
            "features": [f"{column.path} ({column.detail or column.holds})" for column in columns],
            "guesses": described_layout(columns, self, self.usual_among(columns)),
            "action_names": action_names(columns, self, self.usual_among(columns)),
            **self.more_facts(),
            "first_episode": self._describe_first(),
        }

    def _describe_first(self) -> dict[str, Any]:
        """Length, instruction and sizes of the first episode, or why it cannot be read."""
        try:
            found = next((each for each in self.read(self.units()[0]) if isinstance(each, Step)), None)
        except RtError as error:
            return {"problem": str(error)}
        if found is None:
            return {"problem": "the first file has no episode that can be read"}
        return described_step(found)

    def _require_package(self) -> None:
        """Raises UsageError if the library that reads this format is not installed."""
        name, extra = self.package
        if name:
            require_package(name, extra, self.path)


def not_read(path: str, kind: str, absent: str, do: str) -> UsageError:
    """The error for a path that is not a log of this kind: what it is instead, or what is missing and what to do."""
    found = recognize(path_of(path))
    return UsageError(f"not {kind}: this is {found.what}" if found else absent, path, found.do if found else do)


def require_package(name: str, extra: str, path: str) -> None:
    """Raises UsageError if a package is not installed."""
    try:
        import_module(name)
    except ImportError:
        raise UsageError(
            f"this is read by the package {name}, which is not installed", path, f"pip install 'rt2data[{extra}]'"
        ) from None


def choose_layout(columns: Sequence[Column], wanted: LogSource, usual: Usual) -> LogLayout:
    """The layout of a log with these columns. Raises UsageError."""
    action = wanted.action or _first(columns, usual.action)
    if not action:
        raise UsageError(usual.unclear or "no feature is known to be the action", listed(columns), "name it as `action`")
    state = wanted.state if wanted.state is not None else _first(columns, usual.state)
    return LogLayout(
        action=tuple(_numbers(columns, path) for path in action),
        state=tuple(_numbers(columns, path) for path in state),
        instruction=_named(columns, wanted.instruction, "words") or _unless(wanted.text, columns, usual),
        cameras=_cameras(columns, wanted),
        success=_named(columns, wanted.success, "numbers") or _one(columns, usual.success, "numbers"),
        reward=_one(columns, usual.reward, "numbers"),
    )


def described_layout(columns: Sequence[Column], wanted: LogSource, usual: Usual) -> dict[str, Any]:
    """What is read, as feature paths; anything that cannot be guessed is left out."""
    try:
        found = choose_layout(columns, wanted, usual)
    except UsageError as error:
        return {"problem": str(error)}
    return {
        "action": [str(part) for part in found.action],
        "state": [str(part) for part in found.state],
        "instruction": found.instruction,
        "cameras": dict(found.cameras),
    }


def action_names(columns: Sequence[Column], wanted: LogSource, usual: Usual) -> list[str]:
    """Names of the action's numbers; empty if the log does not name them all."""
    try:
        parts = choose_layout(columns, wanted, usual).action
    except UsageError:
        return []
    names = {column.path: column.names for column in columns}
    widths = {column.path: column.width for column in columns}
    found = [name for part in parts for name in names[part.path][part.start : part.stop]]
    return found if len(found) == sum(part.width(widths[part.path]) or 0 for part in parts) else []


def camera_names(columns: Sequence[Column]) -> dict[str, str]:
    """Every image column, named by the last part of its path, or by the whole path if the last parts are not unique."""
    paths = [column.path for column in columns if column.holds == "images"]
    names = [path.replace("/", ".").rpartition(".")[2] for path in paths]
    if len(set(names)) < len(names):
        names = [path.replace("/", "_").replace(".", "_") for path in paths]
    return dict(zip(names, paths, strict=True))


def listed(columns: Sequence[Column]) -> str:
    """Names of the columns, up to a bounded number."""
    more = f" and {len(columns) - _LISTED} more" if len(columns) > _LISTED else ""
    return "there is " + ", ".join(column.path for column in columns[:_LISTED]) + more


def find_column(columns: Sequence[Column], path: str) -> Column:
    """The column with this path. Raises UsageError, listing the existing columns, if there is none."""
    found = next((column for column in columns if column.path == path), None)
    if found is None:
        near = closest(path, [column.path for column in columns])
        raise UsageError(f"there is no feature `{path}`", listed(columns), f"did you mean {near}?" if near else "")
    return found


def _first(columns: Sequence[Column], alternatives: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    there = {column.path for column in columns if column.holds == "numbers"}
    return next((paths for paths in alternatives if there.issuperset(paths)), ())


def _one(columns: Sequence[Column], paths: Sequence[str], holds: Holds) -> str | None:
    there = {column.path for column in columns if column.holds == holds}
    return next((path for path in paths if path in there), None)


def _unless(text: str | None, columns: Sequence[Column], usual: Usual) -> str | None:
    """The usual instruction feature, unless the recipe gives a text."""
    return None if text is not None else _one(columns, usual.instruction, "words")


def _named(columns: Sequence[Column], path: str | None, holds: Holds) -> str | None:
    if path is not None and find_column(columns, path).holds != holds:
        raise UsageError(f"the feature `{path}` does not hold {holds}", listed(columns))
    return path


def _numbers(columns: Sequence[Column], text: str) -> Part:
    part = parse_part(text)
    column = find_column(columns, part.path)
    if column.holds != "numbers":
        raise UsageError(f"the feature `{part.path}` does not hold numbers", listed(columns))
    if column.width is not None and not part.fits(column.width):
        raise UsageError(f"`{text}` ends behind the {column.width} numbers of {part.path}", listed(columns))
    return part


def _cameras(columns: Sequence[Column], wanted: LogSource) -> dict[str, str]:
    if wanted.camera_features is None:
        return wanted.name_cameras(columns)
    for path in wanted.camera_features.values():
        _named(columns, path, "images")
    return dict(wanted.camera_features)


# Checks of the settings


def invalid_columns(columns: Sequence[Column], wanted: LogSource, usual: Usual) -> Iterator[InvalidSetting]:
    """Features and cameras that are missing or hold something else, and an action space of another size."""
    for key, holds in (("action", "numbers"), ("state", "numbers"), ("instruction", "words"), ("success", "numbers")):
        given = getattr(wanted, key)
        paths = (given,) if isinstance(given, str) else given or ()
        for number, path in enumerate(paths):
            yield from _invalid(columns, (key, number) if len(paths) > 1 else (key,), path, holds)
    for name, path in (wanted.camera_features or {}).items():
        yield from _invalid(columns, ("camera_features", name), path, "images")
    if not (wanted.action or _first(columns, usual.action)):
        yield InvalidSetting(("action",), f"must name the features that are the action: {usual.unclear or listed(columns)}")
    names = list(wanted.camera_features or wanted.name_cameras(columns))
    chosen = wanted.cameras if isinstance(wanted.cameras, tuple) else ()
    for number, camera in enumerate(chosen):
        if camera not in names:
            yield InvalidSetting(("cameras", number), _no_camera(camera, names), closest(camera, names))
    if wanted.camera is not None and wanted.camera not in names:
        yield InvalidSetting(("camera",), _no_camera(wanted.camera, names), closest(wanted.camera, names))
    yield from _invalid_width(columns, wanted, usual)


def _no_camera(camera: str, names: Sequence[str]) -> str:
    return f"there is no camera {camera!r}: there is {', '.join(names) or 'none'}"


def _invalid(columns: Sequence[Column], setting: tuple[str | int, ...], text: str, holds: str) -> Iterator[InvalidSetting]:
    path = parse_part(text).path if holds == "numbers" else text
    try:
        found = find_column(columns, path)
    except UsageError as error:
        near = closest(path, [column.path for column in columns])
        yield InvalidSetting(setting, error.what if near else f"{error.what}: {error.where}", near)
        return
    if found.holds != holds:
        yield InvalidSetting(setting, f"the feature does not hold {holds}: {found.path} ({found.detail or found.holds})")


def _invalid_width(columns: Sequence[Column], wanted: LogSource, usual: Usual) -> Iterator[InvalidSetting]:
    try:
        layout = choose_layout(columns, wanted, usual)
    except UsageError:
        return  # reported already
    widths = {column.path: column.width for column in columns}
    found = [part.width(widths[part.path]) for part in layout.action]
    if None not in found:
        yield from invalid_size(wanted.action_space, sum(each or 0 for each in found), wanted.conversions)
