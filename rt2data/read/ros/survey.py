"""The contents of a recording, from its index and the first message of each topic; and guesses of what each topic is."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from rt2data.errors import DataError
from rt2data.images.headers import ImageFault
from rt2data.io import location
from rt2data.io.inflate import InflateError
from rt2data.read.log import Column, Usual
from rt2data.read.ros.container import FETCH, Container, Topic
from rt2data.read.ros.decode import decoder_of
from rt2data.read.ros.fields import JOINT_STATE, columns_of
from rt2data.read.ros.images import image_detail, is_image
from rt2data.read.ros.recordings import open_container
from rt2data.read.ros.values import MessageFault, UnreadableError, ros_type

_DEFINITIONS = 4 << 20
"""Maximum bytes of all definitions in a recording."""


class Survey(NamedTuple):
    """The contents of one recording's files."""

    topics: Mapping[str, Topic]
    columns: tuple[Column, ...]
    unread: Mapping[str, str]  # topics that cannot be read, and why

    def topic_of(self, path: str) -> Topic:
        """The topic of a column."""
        return self.topics[max((name for name in self.topics if path == name or path.startswith(f"{name}.")), key=len)]


def survey(files: Sequence[str]) -> Survey:
    """Survey the files of one recording. Raises DataError if one cannot be read."""
    return _survey(tuple((file, location.stat(file).version) for file in files))


@lru_cache(maxsize=16)
def _survey(files: tuple[tuple[str, str], ...]) -> Survey:
    found = Survey({}, (), {})
    for path, _ in files:
        with open_container(path) as file:
            found = _with_file(found, file)
    seen = {found.topic_of(column.path).name for column in found.columns}
    empty = {name: "it has no messages" for name in found.topics if name not in seen}
    return Survey(found.topics, tuple(sorted(found.columns)), empty | dict(found.unread))


def _with_file(found: Survey, file: Container) -> Survey:
    """The survey extended by another file of the same recording."""
    known = {found.topic_of(column.path).name for column in found.columns}
    topics = {**found.topics, **{name: _counted(found.topics.get(name), topic) for name, topic in file.topics.items()}}
    if known >= topics.keys():
        return found._replace(topics=topics)
    firsts = {name: message for name, message in file.firsts().items() if name not in known}
    if sum(map(len, {topics[name].definition for name in firsts})) > _DEFINITIONS:
        raise DataError("its topics have more definitions than are read", file.path, FETCH)
    unread = dict(found.unread)
    columns = [column for name, message in firsts.items() for column in _described(topics[name], message.data, unread)]
    return Survey(topics, (*found.columns, *columns), unread)


def _counted(before: Topic | None, topic: Topic) -> Topic:
    """A topic with its message count added to that of earlier files."""
    if before is None or before.messages is None or topic.messages is None:
        return topic if before is None else topic._replace(messages=None)
    return topic._replace(messages=before.messages + topic.messages)


def _described(topic: Topic, data: memoryview, unread: dict[str, str]) -> list[Column]:
    """The columns of a topic, from its first message; if none, the reason is added to `unread`."""
    try:
        message = decoder_of(topic)(data)
        if is_image(topic):
            return [Column(topic.name, "images", detail=image_detail(topic, message))]
        found = columns_of(topic, message)
    except (UnreadableError, MessageFault, InflateError) as error:
        found, unread[topic.name] = [], str(error)
    except ImageFault as fault:
        found, unread[topic.name] = [], f"{fault.reason}: {fault.detail}"
    return found


# Guesses

_ACTION = {"action", "actions"}
_COMMAND = {"command", "commands", "cmd", "target", "targets", "desired", "goal", "setpoint", "setpoints", "control", "controls"}
_STATE = {"state", "states", "joint", "joints", "pose", "proprio", "qpos", "position", "positions", "observation", "tcp", "odom"}
_WORDS = ({"instruction", "instructions", "language"}, {"task", "prompt", "text"})
_NO_STATE = {"reward", "rewards", "success", "done", "discount", "image", "images", "camera"}
_GENERAL = {"image", "images", "raw", "rect", "compressed", "camera", "cameras", "sensor", "sensors", "observation", "observations"}
_SYSTEM = ("CameraInfo", "TFMessage", "Clock", "Log", "ParameterEvent", "DiagnosticArray", "PointCloud2", "Metadata")


def usual_of(found: Survey) -> Usual:
    """The guesses used if a recipe names nothing; an action is guessed only if unambiguous."""
    actions = action_topics(found)
    states = state_topics(found)
    words = instruction_paths(found)
    unclear = f"{len(actions)} topics could be the action: {', '.join(actions)}" if len(actions) > 1 else ""
    return Usual(
        action=((main_column(found, actions[0]),),) if len(actions) == 1 else (),
        state=((main_column(found, states[0]),),) if len(states) == 1 else (),
        instruction=tuple(words) if len(words) == 1 else (),
        success=tuple(_single(found, {"success", "succeeded"})),
        reward=tuple(_single(found, {"reward", "rewards"})),
        unclear=unclear,
    )


def suggested(found: Survey) -> dict[str, object]:
    """Settings that name everything usually needed; the most common choice if several are possible."""
    actions, states, words = action_topics(found), state_topics(found), instruction_paths(found)
    plain = [name for name in actions if _parts(name) & _ACTION] or actions
    cameras = name_cameras(found.columns)
    given: dict[str, object] = {}
    if len(plain) == 1:
        given["action"] = main_column(found, plain[0])
        if _is_slow(found, plain[0], cameras):
            given["commands"] = "hold"
    if states:
        given["state"] = main_column(found, states[0])
    if words:
        given["instruction"] = words[0]
    if cameras:
        given["camera_features"] = cameras
    return given


def action_topics(found: Survey) -> list[str]:
    """Topics of numbers that could be the action, by name."""
    return [name for name in _numeric(found) if _parts(name) & (_ACTION | _COMMAND)]


def state_topics(found: Survey) -> list[str]:
    """Topics of numbers that could be the state, joint states first."""
    actions = action_topics(found)
    joints = [name for name in _numeric(found) if ros_type(found.topics[name].type) == JOINT_STATE]
    named = [name for name in _numeric(found) if _parts(name) & _STATE]
    return [name for name in dict.fromkeys((*joints, *named)) if name not in actions and not _parts(name) & _NO_STATE]


def instruction_paths(found: Survey) -> list[str]:
    """Paths of texts that could be the instruction."""
    texts = [column.path for column in found.columns if column.holds == "words"]
    return next((paths for names in _WORDS if (paths := [path for path in texts if _parts(path) & names])), [])


def _numeric(found: Survey) -> list[str]:
    """Topics with numbers, except system topics."""
    paths = dict.fromkeys(found.topic_of(column.path).name for column in found.columns if column.holds == "numbers")
    return [name for name in paths if not found.topics[name].type.endswith(_SYSTEM)]


def main_column(found: Survey, topic: str) -> str:
    """The main column of a topic: `data`, the joint positions, else the largest group of numbers."""
    columns = [column for column in found.columns if column.holds == "numbers" and found.topic_of(column.path).name == topic]
    paths = [column.path for column in columns]
    wanted = f"{topic}.position" if ros_type(found.topics[topic].type) == JOINT_STATE else f"{topic}.data"
    return wanted if wanted in paths else max(columns, key=lambda column: (column.width or 0, len(column.path))).path


def _single(found: Survey, names: set[str]) -> list[str]:
    """The column with a single number in a topic with one of these names."""
    return [
        column.path for column in found.columns if column.holds == "numbers" and column.width == 1 and _parts(column.path) & names
    ][:1]


def _is_slow(found: Survey, action: str, cameras: Mapping[str, str]) -> bool:
    """Whether commands are so rare that each must apply to several images."""
    commands, images = found.topics[action].messages, [found.topics[topic].messages for topic in cameras.values()]
    return commands is not None and any(count is not None and commands * 2 < count for count in images)


def _parts(name: str) -> set[str]:
    """The words of a name: /left_arm/jointStates has left, arm, joint and states."""
    return set(_words(name))


def _words(name: str) -> list[str]:
    return [part.lower() for part in re.findall(r"[A-Z]?[a-z0-9]+|[A-Z]+", name)]


# Cameras


def name_cameras(columns: Sequence[Column]) -> dict[str, str]:
    """Cameras named by the distinctive part of their topic; if one has raw and encoded images, the encoded ones."""
    topics = [column.path for column in columns if column.holds == "images"]
    topics = [topic for topic in topics if f"{topic}/compressed" not in topics]
    for naming in (_last_name, _own_names, _all_names):
        names = [naming(topic) for topic in topics]
        if len({*names}) == len(names):
            return dict(sorted(zip(names, topics, strict=True)))
    return {topic: topic for topic in topics}


def _own(topic: str) -> list[str]:
    """The specific parts of a topic name: `wrist` in /camera/wrist/image_raw/compressed."""
    parts = [part for part in topic.split("/") if part]
    return [part for part in parts if not {*_words(part)} <= _GENERAL] or parts[:1]


def _last_name(topic: str) -> str:
    return _plain(_own(topic)[-1:])


def _own_names(topic: str) -> str:
    return _plain(_own(topic))


def _all_names(topic: str) -> str:
    return _plain(topic.split("/"))


def _plain(parts: Iterable[str]) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "_", "_".join(parts)).strip("_") or "camera"
