"""A raw dataset that one of our sources can read: its images, its examples, and a recipe for it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice, takewhile
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from rt2data.errors import UsageError
from rt2data.images.headers import ImageFault
from rt2data.io import location
from rt2data.look.inspect.examples import Examples, FilmStrip, Seen, Stretches, counted, dimensions
from rt2data.look.inspect.recognize import Inspected
from rt2data.look.inspect.spaces import GENERIC, guess_space
from rt2data.look.report.contact_sheet import Tile
from rt2data.read.source import SOURCES, RobotSource, Source, source_class
from rt2data.records import Example, Image, Kind, Step, Unit

SCANNED = 10_000
"""Maximum records of a unit searched for images."""
MAX_FILM = 48
"""Maximum steps before and after a step searched for its episode."""
Record = TypeVar("Record", bound=Step | Example)


def recognize_source(path: Path) -> Inspected | None:
    """The first source that recognizes a path. The user must choose the action space, which does not affect how steps are read."""
    if not (location.is_file(path) or location.is_folder(path)):  # opening a pipe would block
        return None
    for cls in map(source_class, SOURCES):
        if found := cls.recognize(path):
            needed = {"action_space": GENERIC} if issubclass(cls, RobotSource) else {}
            source = cls.model_validate({**needed, **found.settings})
            return InspectedSource(path, source, found.settings, recipe_name(found.name), found.facts, found.notes)
    return None


@dataclass(frozen=True)
class InspectedSource(Inspected):
    """A dataset, read by a source with default settings."""

    source: Source
    settings: Mapping[str, Any]  # settings a recipe needs, besides the action space
    name: str  # a good name in a recipe
    more: Mapping[str, Any] = field(default_factory=dict)  # facts found by recognition
    notes: tuple[str, ...] = ()  # for people to check

    @property
    def kind(self) -> str:
        return str(getattr(self.source, "kind", ""))

    def facts(self) -> dict[str, Any]:
        return self.source.describe() | dict(self.more)

    def tiles(self, count: int) -> list[Tile]:
        tiles = list(islice(self._robot_tiles(count) if self.source.has_actions else self._web_tiles(), count))
        if not tiles:
            raise UsageError("no images were found", str(self.path), "plan a recipe of it to see what is rejected")
        return tiles

    def _robot_tiles(self, count: int) -> Iterator[Tile]:
        """First, middle and last step of the first episodes, camera by camera."""
        shown = 0
        for steps in self._episodes():
            yield from _by_camera(self.name, steps)
            shown += sum(len(step.images) for step in steps)
            if shown >= count:
                return

    def _episodes(self) -> Iterator[list[Step]]:
        """Three steps of each episode, with copies of their images, since the next record may overwrite the source's own."""
        for unit in self.source.units():
            chosen: list[Step] = []
            for record in self.source.read(unit):
                if not isinstance(record, Step):
                    continue
                if record.step in (0, record.steps // 2, record.steps - 1):
                    chosen.append(_kept(record))
                if record.step == record.steps - 1:
                    yield chosen
                    chosen = []

    def _web_tiles(self) -> Iterator[Tile]:
        """The first questions, one per image."""
        seen: set[str] = set()
        for unit in self.source.units():
            for record in islice(self.source.read(unit), SCANNED):
                if isinstance(record, Example) and record.group not in seen and record.images:
                    seen.add(record.group)
                    first, more = _copy(record.images[0]), len(record.images) - 1
                    yield Tile(first, self.name, "web", _asked(record), _answered(record), record.group, more)

    def examples(self) -> RawExamples:
        """Steps or questions, in file order."""
        return RawExamples(self.name, self.source)

    def suggestion(self) -> str:
        lines = [f"{self.source.role}:", f"  {self.name}:"]
        lines += [f"    {line}" for line in self.lines()]
        return "\n".join(lines) + "\n"

    def lines(self) -> Iterator[str]:
        """The recipe lines for the source. Raises RtError if it is damaged."""
        facts = self.facts()
        yield from (f"# {note}" for note in self.notes)
        yield f"kind: {self.kind}"
        for key, value in self.settings.items():
            yield f"{key}: {json.dumps(value, ensure_ascii=False)}"
        if self.source.has_actions:
            if "action_space" not in self.settings:
                yield from _space_lines(self.name, facts)
            yield from _words_lines(facts, self.settings)
            if not self.settings.keys() & {"camera", "cameras"}:
                yield from _camera_lines(facts, getattr(self.source, "camera", None))
        yield "weight: 1"


class RawExamples(Examples):
    """The examples read from a source, without rejects. Their number is known once all are read."""

    def __init__(self, name: str, source: Source) -> None:
        self._name, self._source = name, source
        self._stretches = Stretches([partial(self._read, unit) for unit in source.units()])

    def _read(self, unit: Unit) -> Iterator[Step | Example]:
        """The records of a unit, with copies of their images."""
        for record in self._source.read(unit):
            if isinstance(record, Step | Example):
                yield _kept(record)

    @property
    def total(self) -> int | None:
        return self._stretches.total

    @property
    def sources(self) -> Mapping[str, Kind]:
        return {self._name: self._source.role}

    def at(self, number: int, whole: bool = True) -> Seen:
        record = self._stretches.at(number)
        seen = self._step(number, record) if isinstance(record, Step) else self._question(number, record)
        return seen if record.images or seen.messages else replace(seen, fault="it has no image")

    def _step(self, number: int, step: Step) -> Seen:
        return Seen(
            number=number,
            key=f"{step.episode}-{step.step:06d}",
            kind="robot",
            source=self._name,
            split=step.split,
            group=step.episode,
            prompt=step.instruction,
            target=_numbers(step.action),
            images=[(image.camera, image.content()) for image in _by_name(step.images)],
            camera=next((image.camera for image in _by_name(step.images)), ""),
            step=step.step,
            steps=step.steps,
            terminate=step.is_terminal,
            action=dimensions((), step.action.tolist()),
        )

    def _question(self, number: int, example: Example) -> Seen:
        return Seen(
            number=number,
            key=example.key,
            kind="web",
            source=self._name,
            split=example.split,
            group=example.group,
            prompt=_asked(example),
            target=_answered(example),
            images=[(f"image_{i}" if example.images[1:] else "image", image.content()) for i, image in enumerate(example.images)],
            answers=example.answers,
            messages=[(turn.role, turn.text) for turn in example.turns],
        )

    def film(self, seen: Seen) -> FilmStrip | None:
        """The neighbouring steps in the log that belong to the same episode."""
        if seen.step is None:
            return None
        before = takewhile(lambda number: self._same(number, seen), range(seen.number - 1, seen.number - MAX_FILM, -1))
        after = takewhile(lambda number: self._same(number, seen), range(seen.number + 1, seen.number + MAX_FILM))
        earlier = sorted(before)
        return FilmStrip(self, [*earlier, seen.number, *after], len(earlier))

    def _same(self, number: int, seen: Seen) -> bool:
        try:
            return self.at(number).place == seen.place
        except IndexError:
            return False


def _by_name(images: Sequence[Image]) -> list[Image]:
    """A step's images by name; by default a mixture uses the first."""
    return sorted(images, key=lambda image: image.camera)


def _asked(example: Example) -> str:
    """The question, or the user's first message in a conversation."""
    return example.question or next((turn.text for turn in example.turns if turn.role == "user"), "")


def _answered(example: Example) -> str:
    """The answers, or the last turn of a conversation."""
    return example.turns[-1].text if example.turns else counted(example.answers)


def recipe_name(text: str) -> str:
    """A valid name of a source: lower case, digits and _, at most 64."""
    name = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")
    name = name if re.match(r"[a-z]", name) else f"source_{name}".rstrip("_")
    return f"{name[:28]}_set" if name in ("longest", "shortest") else name[:64].rstrip("_")


def _space_lines(name: str, facts: Mapping[str, Any]) -> Iterator[str]:
    """Recipe lines for the best action space."""
    found, size = guess_space(name, facts), (facts.get("first_episode") or {}).get("action")
    hint = f"; also of {size} numbers: {', '.join(found.others)}" if found.others else ""
    why = f"by {found.why}" if found.why else "no known one"
    yield f"action_space: {found.space} # check this: {size or 'an unknown number of'} numbers, {why}{hint}"


def _words_lines(facts: Mapping[str, Any], settings: Mapping[str, Any]) -> Iterator[str]:
    """Recipe lines to keep steps without instructions, if the first episode has none: only the user can describe them."""
    first = facts.get("first_episode") or {}
    if first.get("instruction") == "" and "text" not in settings:
        yield 'blank_instruction: keep # check this: it holds no words; say what the robot does, such as text: "lift the cube"'


def _camera_lines(facts: Mapping[str, Any], known: str | None) -> Iterator[str]:
    """Recipe lines for the camera: the dataset's usual one if known, else the first by name."""
    cameras = sorted((facts.get("guesses") or {}).get("cameras") or (facts.get("first_episode") or {}).get("cameras") or ())
    if cameras:
        first = known or cameras[0]
        others = [camera for camera in cameras if camera != first]
        also = f" # check this: also {', '.join(others)}" if others else ""
        yield f"camera: {json.dumps(first)}{also}"


def _by_camera(name: str, steps: list[Step]) -> Iterator[Tile]:
    cameras = [image.camera for image in steps[0].images] if steps else []
    for camera in cameras:
        for step in steps:
            data = next((image.content() for image in step.images if image.camera == camera), None)
            if data is not None:
                note = f"{camera} step {step.step} of {step.steps}"
                yield Tile(data, name, "robot", step.instruction, _numbers(step.action), note)


def _kept(record: Record) -> Record:
    """The record with copies of its images, without damaged ones."""
    return replace(record, images=tuple(filter(None, map(_kept_image, record.images))))


def _kept_image(image: Image) -> Image | None:
    try:
        return Image(image.camera, _copy(image))
    except ImageFault:
        return None


def _copy(image: Image) -> Any:
    """A copy of the bytes or pixels, which stays valid after the record."""
    content = image.content()
    return content.copy() if isinstance(content, np.ndarray) else bytes(content)


def _numbers(action: np.ndarray[Any, np.dtype[np.float32]]) -> str:
    return " ".join(f"{value:.3g}" for value in action.tolist())
