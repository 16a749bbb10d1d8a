"""Logs of ROS 1 and ROS 2, and MCAP: one recording is one episode, its messages are put on the steps of one clock."""

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
    """What a recording is read from."""

    joints: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # by path: the order of its numbers, where they have names


class Ros(LogSource):
    """Recordings of ROS 1 (.bag), ROS 2 (.db3, .mcap, folders of rosbag2), and MCAP with JSON or protocol buffers."""

    mix_only: ClassVar[frozenset[str]] = RobotSource.mix_only - {"control_hz"}
    usual: ClassVar[Usual] = Usual(())
    package: ClassVar[tuple[str, str]] = ("mcap", "ros")
    looks_for: ClassVar[str] = "a .mcap, .bag or .db3 file, or a folder with some in it or one level below"
    whole_records: ClassVar[frozenset[str]] = frozenset({"missing_topic", "unreadable_topic", "clocks_differ", "wild_times"})

    kind: Literal["ros"] = "ros"
    clock: ClockName = "auto"
    """Which time of a message counts: `header` is its stamp, where it has one, else the time at which it was logged; `log` and
    `publish` are those of the log. `auto` is `header`, and refuses recordings whose stamps are of another clock than the log."""
    clock_topic: str | None = None
    """The topic whose messages are the steps; by default that of the camera with the fewest images, of those that the mixture
    takes. With `control_hz` the steps are even, from its first message to its last."""
    tolerance_ms: Annotated[float, Field(gt=0)] | None = None
    """How far from a step its images and its state may be; by default half a period of the steps or of the topic, whichever is
    longer. A step without one of them is dropped, and counted."""
    commands: Commands = "next"
    """The action of a step: `next` is the first command after what was seen, before the next step; `hold` is the last command
    before it, which holds until there is another. Commands are chosen, never added up."""
    joints: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Names of joints, in the order in which JointState messages are read; by default that of the first message."""

    @classmethod
    def recognize(cls, path: Path) -> Suggestion | None:
        """Settings for the logs at a path."""
        return recognize_logs(path)

    @classmethod
    def hint(cls, path: Path) -> Recognized | None:
        """Logs, folders of them and their metadata."""
        return ros_hint(path)

    def invalid_settings(self) -> Iterator[InvalidSetting]:
        """What names something that is not there: the path, features, cameras, topics and joints."""
        known = list(super().invalid_settings())
        yield from known
        if not any(found.setting == ("path",) for found in known):
            yield from self._invalid_topics(self._survey())

    def _invalid_topics(self, found: Survey) -> Iterator[InvalidSetting]:
        """A clock and joints that are not there."""
        if self.clock_topic is not None and self.clock_topic not in found.topics:
            yield InvalidSetting(
                ("clock_topic",), f"there is no topic {self.clock_topic!r}: there is {', '.join(sorted(found.topics))}"
            )
        known = {name for column in found.columns for name in column.names}
        for number, joint in enumerate(self.joints or ()):
            if known and joint not in known:
                yield InvalidSetting(("joints", number), f"there is no joint {joint!r}: there is {', '.join(sorted(known))}")

    def layout(self) -> LogLayout:
        """What is read, by paths. Raises UsageError, with what is there, where something named is not or the action is unclear."""
        found = self._survey()
        columns = self._columns(found)
        if wrong := next(self._invalid_topics(found), None):
            raise UsageError(wrong.message, self.path)
        chosen = choose_layout(columns, self, usual_of(found))
        joints = {column.path: column.names for column in columns if column.holds == "numbers" and column.names}
        return RosLayout(**{each.name: getattr(chosen, each.name) for each in fields(chosen)}, joints=joints)

    def split_names(self) -> tuple[str, ...]:
        """All episodes are of one split."""
        return (SPLIT,)

    def files(self) -> list[str]:
        """All logs, and the metadata of those that have some."""
        return sorted(file for each in self._recordings() for file in each.every)

    def columns(self) -> Sequence[Column]:
        """What the messages of the first recording hold."""
        return self._columns(self._survey())

    def _columns(self, found: Survey) -> Sequence[Column]:
        joints = self.joints
        if joints is None:
            return found.columns
        return [each._replace(width=len(joints), names=joints) if {*joints} <= {*each.names} else each for each in found.columns]

    def usual_among(self, columns: Sequence[Column]) -> Usual:
        """By types and usual names of topics."""
        return usual_of(self._survey())

    def name_cameras(self, columns: Sequence[Column]) -> dict[str, str]:
        """By the part of a topic that tells it from others."""
        return name_cameras(columns)

    def parts(self, known: Mapping[str, Sequence[Unit]]) -> list[Unit]:
        """One for each recording that is kept, named by its first file."""
        found = [each for each in self._recordings() if self.limits.keep(SPLIT, each.name)]
        for each in found:
            for file in each.files if each.files[0] not in known else ():
                with open_container(file) as container:
                    container.check()
        sizes = {file: stat.size if stat else 0 for file, stat in self._stats(found)}
        return [Unit(n, each.files[0], SPLIT, bytes=sum(sizes[f] for f in each.files)) for n, each in enumerate(found)]

    def bases(self, parts: Sequence[Unit]) -> list[Any]:
        """Which features are read, in which order of joints, and the other files of each recording."""
        layout = repr(self.layout())
        return [[layout, *self._others(part.path)] for part in parts]

    def episode_names(self) -> Iterator[tuple[str, str]]:
        """Those of the recordings; none is opened."""
        return ((SPLIT, each.name) for each in self._recordings())

    def episodes(self, part: Unit, layout: LogLayout) -> Iterator[Episode | SourceRecord]:
        """The one episode of a recording, and what was lost or counted on the way."""
        recording = recording_with(self.path, part.path)
        with ExitStack() as stack:
            files = [stack.enter_context(open_container(file)) for file in recording.files]
            joints = layout.joints if isinstance(layout, RosLayout) else {}
            reading = Reading(files, layout, joints, self._rules(layout), part.path)
            yield Episode(recording.name, SPLIT, part.path, reading.read)
            yield from reading.notes

    def describe(self) -> dict[str, Any]:
        """Topics and the guesses made of them, what is not read and why, and a look at the first episode."""
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
        """Of the first recording that has messages. Raises DataError where none has."""
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
        """The files of a recording behind its first."""
        others = recording_with(self.path, first).every[1:]
        return [[file, *stat] for file, stat in zip(others, location.stats(others), strict=True) if stat]
