"""Recognizes the data at several paths, and writes one recipe for all readable ones: `rt2data init PATH...`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from rt2data.errors import RtError, UsageError
from rt2data.io import location
from rt2data.look.inspect.raw import InspectedSource, recognize_source
from rt2data.read.source import recognize as recognize_foreign
from rt2data.records import Kind

CHILDREN = 200
"""Maximum entries examined in a folder that is not a dataset itself."""


class Found(NamedTuple):
    """What is at one path."""

    path: Path
    kind: str = ""  # of its source; empty if it cannot be read
    name: str = ""  # in the recipe
    side: Kind | None = None
    lines: tuple[str, ...] = ()  # of the recipe
    what: str = ""  # description

    @property
    def space(self) -> str:
        """The action space that the recipe names."""
        line = next((line for line in self.lines if line.startswith("action_space: ")), "")
        return line.removeprefix("action_space: ").partition(" #")[0].strip('"')


def find(paths: Sequence[Path]) -> list[Found]:
    """What is at each path, or in a folder that is not a dataset itself, with distinct names. Raises UsageError if nothing can be
    read.
    """
    found = [each for path in paths for each in _at(path)]
    if not any(each.side for each in found):
        said = "; ".join(f"{each.path}: {each.what}" for each in found[:8])
        raise UsageError("nothing here can be read", said or "an empty folder", "see rt2data inspect of each")
    return list(_distinct(found))


def _at(path: Path) -> list[Found]:
    here = _look(path)
    if here.side or not location.is_folder(path):
        return [here]
    below = [_look(path / entry.name) for entry in islice(location.children(path), CHILDREN) if not entry.name.startswith(".")]
    read = sorted((each for each in below if each.side), key=lambda each: each.path)
    known = sorted((each for each in below if not each.side and each.what), key=lambda each: each.path)
    return [*read, *known] if read else [here]


def _look(path: Path) -> Found:
    if not location.exists(path):
        raise UsageError("nothing is there", str(path), "check the path")
    try:
        source = recognize_source(path)
    except RtError as error:
        return Found(path, what=str(error))
    if isinstance(source, InspectedSource):
        try:
            if invalid := next(iter(source.source.invalid_settings()), None):
                return Found(path, what=f"{source.kind}, {invalid.setting[0]}: {invalid.message}")
            return Found(path, source.kind, source.name, source.source.role, tuple(source.lines()), "")
        except RtError as error:
            return Found(path, what=str(error))
    other = recognize_foreign(path)
    return Found(path, what=f"{other.what} -> {other.do}" if other else "nothing that is known")


def _distinct(found: Sequence[Found]) -> Iterator[Found]:
    """The same with distinct names: a second `bridge` becomes bridge_2."""
    taken: set[str] = set()
    for each in found:
        names = (each.name if not number else f"{each.name}_{number + 1}" for number in range(len(found) + 1))
        name = next((name for name in names if name not in taken), each.name)
        taken.add(name)
        yield each._replace(name=name)


def recipe_of(found: Sequence[Found], schema: str) -> str:
    """A recipe, in YAML, of everything readable; settings that users should check have a comment."""
    robots, web = ([each for each in found if each.side == side] for side in ("robot", "web"))
    share = ("0.5", "1", "0")[0 if robots and web else 1 if robots else 2]
    lines = [
        f"# yaml-language-server: $schema={schema}",
        f"robot_frac: {share} # the fraction of examples that are robot steps",
        "size: {epochs: 1, of: longest}",
        "seed: 0",
        "tokenizer: byte # or the path of a tokenizer.json or .model",
        "template: rt2",
        "codec: rt2",
    ]
    for side, sources in (("robot", robots), ("web", web)):
        lines += [f"{side}:"] if sources else []
        for each in sources:
            lines += [f"  {each.name}:", *(f"    {line}" for line in each.lines)]
    lines += [f"# not read: {json.dumps(str(each.path))}: {each.what}" for each in found if not each.side]
    return "\n".join(lines) + "\n"
