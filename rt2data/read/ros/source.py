"""ROS 1, ROS 2 and MCAP logs: each recording is one episode; messages are assigned to the steps of one clock."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from rt2data.errors import DataError, UsageError
from rt2data.io import location
from rt2data.io.location import path_of
from rt2data.read.known_formats import Recognized
from rt2data.read.log import Column, LogLayout, LogSource, Usual, choose_layout
from rt2data.read.recorded import Episode
from rt2data.read.ros.container import FETCH
from rt2data.read.ros.episode import Commands, Reading, Rules
from rt2data.read.ros.recognize import recognize_logs, ros_hint
from rt2data.read.ros.recordings import Recording, open_container, recording_with, recordings
from rt2data.read.ros.streams import ClockName
from rt2data.read.ros.survey import Survey, name_cameras, survey, usual_of
from rt2data.read.sample import InvalidSetting
from rt2data.read.source import RobotSource, Suggestion, recognize
from rt2data.records import SourceRecord, Unit

SPLIT = "train"


@dataclass(frozen=True, slots=True)
class RosLayout(LogLayout):
    """The fields that a recording is read from."""

    joints: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # by path: the order of named numbers


class Ros(LogSource):
    """Recordings of ROS 1 (.bag), ROS 2 (.db3, .mcap, folders of rosbag2), and MCAP with JSON or protocol buffers."""

    mix_only: ClassVar[frozenset[str]] = RobotSource.mix_only - {"control_hz"}
    usual: ClassVar[Usual] = Usual(())
    package: ClassVar[tuple[str, str]] = ("mcap", "ros")
    looks_for: ClassVar[str] = "a .mcap, .bag or .db3 file, or a folder with some in it or one level below"
    whole_records: ClassVar[frozenset[str]] = frozenset({"missing_topic", "unreadable_topic", "clocks_differ", "wild_times"})

    kind: Literal["ros"] = "ros"
    clock: ClockName = "auto"
    """Which time of a message to use: `header` is its stamp, or the log time if it has none; `log` and `publish` are the times
    recorded in the log. `auto` is `header`, but refuses recordings whose stamps come from a different clock than the log."""
    clock_topic: str | None = None
    """The topic whose messages define the steps; by default the camera with the fewest images among those in the mixture. With
    `control_hz`, steps are evenly spaced from its first message to its last."""
    tolerance_ms: Annotated[float, Field(gt=0)] | None = None
    """Maximum time between a step and its images and state; by default half a period of the steps or of the topic, whichever is
    longer. Steps without one of them are dropped and counted."""
    commands: Commands = "next"
    """The action of a step: `next` is the first command after the observation and before the next step; `hold` is the last command
    before it, which applies until the next one. Commands are selected, never summed."""
    joints: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Joint names, in the order to read from JointState messages; by default the order in the first message."""

    @classmethod
    def recognize(cls, path: Path) -> Suggestion | None:
        """Settings for the logs at a path."""
        return recognize_logs(path)

    @classmethod
    def hint(cls, path: Path) -> Recognized | None:
        """Logs, folders of logs, and their metadata."""
        return ros_hint(path)

    def invalid_settings(self) -> Iterator[InvalidSetting]:
        """Settings that name something missing: the path, features, cameras, topics and joints."""
        known = list(super().invalid_settings())
        yield from known
        if not any(found.setting == ("path",) for found in known):
            yield from self._invalid_topics(self._survey())

    def _invalid_topics(self, found: Survey) -> Iterator[InvalidSetting]:
        """A clock topic and joints that do not exist."""
        if self.clock_topic is not None and self.clock_topic not in found.topics:
            yield InvalidSetting(
                ("clock_topic",), f"there is no topic {self.clock_topic!r}: there is {', '.join(sorted(found.topics))}"
            )
        known = {name for column in found.columns for name in column.names}
        for number, joint in enumerate(self.joints or ()):
            if known and joint not in known:
                yield InvalidSetting(("joints", number), f"there is no joint {joint!r}: there is {', '.join(sorted(known))}")

    def layout(self) -> LogLayout:
        """The paths to read. Raises UsageError, listing what exists, if something named is missing or the action is unclear."""
        found = self._survey()
        columns = self._columns(found)
        if wrong := next(self._invalid_topics(found), None):
            raise UsageError(wrong.message, self.path)
        chosen = choose_layout(columns, self, usual_of(found))
        joints = {column.path: column.names for column in columns if column.holds == "numbers" and column.names}
        return RosLayout(**{each.name: getattr(chosen, each.name) for each in fields(chosen)}, joints=joints)

    def split_names(self) -> tuple[str, ...]:
        """The only split."""
        return (SPLIT,)

    def files(self) -> list[str]:
        """All logs, and their metadata files."""
        return sorted(file for each in self._recordings() for file in each.every)

    def columns(self) -> Sequence[Column]:
        """The fields in the messages of the first recording."""
        return self._columns(self._survey())

    def _columns(self, found: Survey) -> Sequence[Column]:
        joints = self.joints
        if joints is None:
            return found.columns
        return [each._replace(width=len(joints), names=joints) if {*joints} <= {*each.names} else each for each in found.columns]

    def usual_among(self, columns: Sequence[Column]) -> Usual:
        """The usual columns, by types and common names of topics."""
        return usual_of(self._survey())

    def name_cameras(self, columns: Sequence[Column]) -> dict[str, str]:
        """Cameras named by the distinctive part of their topic."""
        return name_cameras(columns)

    def parts(self, known: Mapping[str, Sequence[Unit]]) -> list[Unit]:
        """One part for each recording to keep, identified by its first file."""
        found = [each for each in self._recordings() if self.limits.keep(SPLIT, each.name)]
        for each in found:
            for file in each.files if each.files[0] not in known else ():
                with open_container(file) as container:
                    container.check()
        sizes = {file: stat.size if stat else 0 for file, stat in self._stats(found)}
        return [Unit(n, each.files[0], SPLIT, bytes=sum(sizes[f] for f in each.files)) for n, each in enumerate(found)]

    def bases(self, parts: Sequence[Unit]) -> list[Any]:
        """The features that are read, the order of joints, and the other files of each recording."""
        layout = repr(self.layout())
        return [[layout, *self._others(part.path)] for part in parts]

    def episode_names(self) -> Iterator[tuple[str, str]]:
        """The names of the recordings; none is opened."""
        return ((SPLIT, each.name) for each in self._recordings())

    def episodes(self, part: Unit, layout: LogLayout) -> Iterator[Episode | SourceRecord]:
        """The single episode of a recording, with losses and facts."""
        recording = recording_with(self.path, part.path)
        with ExitStack() as stack:
            files = [stack.enter_context(open_container(file)) for file in recording.files]
            joints = layout.joints if isinstance(layout, RosLayout) else {}
            reading = Reading(files, layout, joints, self._rules(layout), part.path)
            yield Episode(recording.name, SPLIT, part.path, reading.read)
            yield from reading.notes

    def describe(self) -> dict[str, Any]:
        """Topics, guesses based on them, unread topics with the reason, and a summary of the first episode."""
        found = self._survey()
        topics = {
            name: f"{topic.type} ({topic.encoding}, {topic.messages} messages)" for name, topic in sorted(found.topics.items())
        }
        return super().describe() | {"episodes": len(self._recordings()), "topics": topics, "not_read": dict(found.unread)}

    def _rules(self, layout: LogLayout) -> Rules:
        wanted = self.named_cameras if isinstance(self.named_cameras, tuple) else (self.camera,) if self.camera else None
        names = sorted(layout.cameras)
        chosen = names if self.named_cameras == "all" else names[:1] if wanted is None else [n for n in wanted if n in names]
        tolerance = None if self.tolerance_ms is None else self.tolerance_ms * 1e6
        return Rules(self.clock, self.clock_topic, self.control_hz, tolerance, self.commands, chosen)

    def _survey(self) -> Survey:
        """The survey of the first recording with messages. Raises DataError if there is none."""
        self._require_package()
        found = next((found for each in self._recordings() if (found := survey(each.files)).columns), None)
        if found is None:
            raise DataError("there is no message that can be read", self.path, FETCH)
        return found

    def _recordings(self) -> list[Recording]:
        try:
            return recordings(self.path)
        except UsageError as error:
            found = recognize(path_of(self.path)) if location.exists(self.path) else None
            if found is None:
                raise
            raise UsageError(f"{error.what}: this is {found.what}", error.where or self.path, error.do or found.do) from None

    def _stats(self, found: Sequence[Recording]) -> Iterator[tuple[str, Any]]:
        files = [file for each in found for file in each.files]
        yield from zip(files, location.stats(files), strict=True)

    def _others(self, first: str) -> list[Any]:
        """The files of a recording after its first."""
        others = recording_with(self.path, first).every[1:]
        return [[file, *stat] for file, stat in zip(others, location.stats(others), strict=True) if stat]
