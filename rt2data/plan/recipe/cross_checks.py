"""Checks of settings against one another, and that paths, splits, features and cameras exist, before anything is read.

They work on the tree as written, not on the parsed recipe, so that these mistakes are reported together with all others. Invalid
values are skipped here: the types report them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from rt2data.errors import RtError, UsageError
from rt2data.io.words import closest
from rt2data.plan.recipe.groups import Written, is_ruled, walk
from rt2data.plan.recipe.licences import licence_findings
from rt2data.plan.recipe.messages import KeyPath, RecipeFinding, shown
from rt2data.plan.recipe.model import TokenizerFile, named_tokenizer
from rt2data.plan.recipe.presets import Preset, load_preset, rule_mistakes
from rt2data.read.known_formats import hub_advice
from rt2data.read.sample import InvalidSetting
from rt2data.read.source import SOURCES, Source, absent_file, source_class
from rt2data.records import SOURCE, key_name
from rt2data.settings import NameOrPath, parse_fraction

_RULES = ("longest", "shortest")
_RESERVED = re.compile(r"statistics|sha256sums|note-\d+", re.IGNORECASE | re.ASCII)
"""Names of files and folders that every output has."""
_PATH: TypeAdapter[str] = TypeAdapter(NameOrPath)


@dataclass(frozen=True)
class Outline:
    """The settings that are checked against one another."""

    tree: dict[str, Any]
    robot_frac: Fraction | None  # None if missing or invalid
    members: dict[str, tuple[Written, ...]]  # by side: sources and groups; a side that is not a mapping is absent

    @property
    def shares(self) -> dict[str, Fraction]:
        """Share of each side; empty if unknown."""
        return {} if self.robot_frac is None else {"robot": self.robot_frac, "web": 1 - self.robot_frac}

    @property
    def sources(self) -> dict[str, tuple[Written, ...]]:
        """The sources of each side, including those in groups."""
        return {side: tuple(each for each in members if not each.is_group) for side, members in self.members.items()}

    @property
    def ruled(self) -> Iterator[tuple[KeyPath, dict[str, Any]]]:
        """The sides and groups that can have their own rules, with their paths."""
        yield from (((side,), self.tree[side]) for side in self.members if is_ruled(self.tree.get(side)))
        yield from ((each.path, each.settings) for members in self.members.values() for each in members if each.is_group)


def needed(tree: dict[str, Any]) -> Iterator[tuple[str, Written]]:
    """Side and source of everything that will be read: nonzero weight, in groups with nonzero weight, on a side with a share."""
    outline = _outline(tree)
    for side, sources in outline.sources.items():
        if outline.shares.get(side) != 0:
            yield from ((side, source) for source in sources if source.weight != 0)


def contradictions(tree: Any, folder: Path) -> Iterator[RecipeFinding]:
    """All settings that contradict one another. Paths of mixtures are relative to `folder`."""
    if isinstance(tree, dict):
        outline = _outline(tree)
        rules = (_empty_sides, _zero_sides, _groups, _weighting, _shared_names, _alike_names, _folder_names, _size)
        for rule in rules:
            yield from rule(outline)
        for path, written in outline.ruled:
            yield from _preset(path, written, folder)
        sources = [each for members in outline.sources.values() for each in members]
        yield from licence_findings(tree, sources, (source for _, source in needed(tree)))


def _empty_sides(outline: Outline) -> Iterator[RecipeFinding]:
    for side, share in outline.shares.items():
        if share and outline.sources.get(side) == ():
            asked, other = shown(outline.tree["robot_frac"]), "0" if side == "robot" else "1"
            message = f"{asked} needs {side} sources and there are none: add one under {side}, or set it to {other}"
            yield RecipeFinding(("robot_frac",), message)


def _zero_sides(outline: Outline) -> Iterator[RecipeFinding]:
    for side, share in outline.shares.items():
        sources = outline.sources.get(side, ())
        if share and sources and all(source.weight == 0 for source in sources):
            message = f"every weight under {side} is 0, but robot_frac asks for {side} examples"
            yield RecipeFinding((*sources[0].path, "weight"), message)


def _groups(outline: Outline) -> Iterator[RecipeFinding]:
    """A group with a weight must have a source with a weight."""
    for members in outline.members.values():
        for group in (each for each in members if each.is_group and each.weight != 0):
            inside = [each for each in walk(group.settings, group.path) if not each.is_group]
            if not inside and isinstance(group.settings["sources"], dict):
                yield RecipeFinding((*group.path, "sources"), "has no sources: add one, or set the group's weight to 0")
            if inside and all(each.weight == 0 for each in inside):
                message = "every weight in it is 0: set its own weight to 0, or one of theirs to another"
                yield RecipeFinding((*group.path, "sources"), message)


def _weighting(outline: Outline) -> Iterator[RecipeFinding]:
    for path, written in (((), outline.tree), *outline.ruled):
        given = [written.get(name) is not None for name in ("temperature", "maximum")]
        for setting, message in rule_mistakes(written.get("weighting"), *given):
            yield RecipeFinding((*path, setting), message)


def _preset(path: KeyPath, written: dict[str, Any], folder: Path) -> Iterator[RecipeFinding]:
    """A published mixture must exist, know every member by name, and not be contradicted by other settings."""
    if not isinstance(written.get("weights"), str):
        return
    try:
        preset = load_preset(_PATH.validate_python(written["weights"], context={"folder": folder}))
    except (UsageError, ValidationError) as error:
        said = str(error) if isinstance(error, UsageError) else f"cannot be read: {shown(written['weights'])}"
        yield RecipeFinding((*path, "weights"), said)
        return
    for rule in (rule for rule in ("weighting", "temperature", "maximum") if written.get(rule) is not None):
        yield RecipeFinding((*path, rule), f"{preset.name} has a weighting of its own ({preset}): leave this out, or `weights`")
    yield from _preset_members(path, written["sources"], preset)


def _preset_members(path: KeyPath, members: Any, preset: Preset) -> Iterator[RecipeFinding]:
    seen: dict[str, str] = {}
    for name, settings in members.items() if isinstance(members, dict) else ():
        place, found = (*path, "sources", name), preset.find(name)
        if found is None:
            message = f"{preset.name} has no member of this name: leave it out, or give it a group of its own"
            yield RecipeFinding(place, message, preset.near(name), at_key=True)
        elif seen.setdefault(found.name, name) != name:
            yield RecipeFinding(place, f"is {found.name} of {preset.name}, and so is {seen[found.name]}: group them", at_key=True)
        elif isinstance(settings, dict) and "weight" in settings:
            message = f"{preset.name} gives it the weight {found.weight}: leave this out, or `weights`"
            yield RecipeFinding((*place, "weight"), message)


def _shared_names(outline: Outline) -> Iterator[RecipeFinding]:
    """A name stands for one source, or one group, in the whole recipe."""
    seen: dict[str, tuple[str, Written]] = {}
    for side, members in outline.members.items():
        for each in members:
            home, first = seen.setdefault(each.name, (side, each))
            if first is not each:
                what = f"{'group' if first.is_group else 'source'} under {'.'.join((home, *first.around))}"
                yield RecipeFinding(each.path, f"is already the name of a {what}", at_key=True)
    for members in outline.members.values():
        for each in members:
            if each.name in _RULES:
                yield RecipeFinding(each.path, f"the name must not be {each.name}: it is a rule of size.of", at_key=True)


def _alike_names(outline: Outline) -> Iterator[RecipeFinding]:
    """Names become parts of file names and keys, and must differ there too."""
    sources = [each for side in outline.sources.values() for each in side if re.fullmatch(SOURCE, each.name)]
    for form, alike in ((str.lower, "differ in case only"), (key_name, "give the same keys")):
        seen: dict[str, str] = {}
        for each in sources:
            other = seen.setdefault(form(each.name), each.name)
            if other != each.name:
                yield RecipeFinding(each.path, f"{each.name} and {other} {alike}: rename one", at_key=True)


def _folder_names(outline: Outline) -> Iterator[RecipeFinding]:
    """With `once` each source has a folder of its name in the output."""
    shards = outline.tree.get("shards")
    if not isinstance(shards, dict) or shards.get("materialize") != "once":
        return
    for sources in outline.sources.values():
        for each in (source for source in sources if _RESERVED.fullmatch(source.name)):
            message = f"the name must not be {each.name} with materialize once: every output has a file or folder of that name"
            yield RecipeFinding(each.path, message, at_key=True)


def _size(outline: Outline) -> Iterator[RecipeFinding]:
    size = outline.tree.get("size")
    if not isinstance(size, dict):
        return
    if size.get("num_examples") is not None and {"epochs", "of"} & size.keys():
        yield RecipeFinding(("size", "num_examples"), "excludes epochs and of: give one or the other", at_key=True)
    elif isinstance(size.get("of"), str) and len(outline.members) == 2:
        yield from _size_of(outline, size["of"])


def _size_of(outline: Outline, of: str) -> Iterator[RecipeFinding]:
    sources = [(side, each) for side, members in outline.sources.items() for each in members]
    known = [*_RULES, *(each.name for _, each in sources)]
    if of not in known:
        yield RecipeFinding(("size", "of"), f"no source is called {shown(of)}", closest(of, known))
    for side, each in sources:
        if each.name == of and (each.weight == 0 or outline.shares.get(side) == 0):
            yield RecipeFinding(("size", "of"), f"{of} is not drawn: its weight or the share of {side} is 0")


def _outline(tree: dict[str, Any]) -> Outline:
    sides = {side: tree.get(side, {}) for side in ("robot", "web")}
    members = {side: tuple(walk(written, (side,))) for side, written in sides.items() if isinstance(written, dict)}
    return Outline(tree, _number(tree.get("robot_frac")), members)


def _number(value: Any) -> Fraction | None:
    try:
        return parse_fraction(value)
    except ValueError:
        return None


def absences(tree: Any, folder: Path) -> Iterator[RecipeFinding]:
    """Everything missing for the sources that will be read and for the tokenizer. Paths are relative to `folder`."""
    if not isinstance(tree, dict):
        return
    split = tree.get("split", "train")
    for side, written in needed(tree):
        source = _source(side, written.settings, folder)
        if source is None:
            continue  # the types report why
        with suppress(RtError, OSError):  # damaged: reported with its exit code when it is read
            for invalid in source.invalid_settings():
                yield _finding(written.path, invalid, _written(written.settings, invalid.setting))
        with suppress(RtError, OSError):
            yield from _absent_split(source, split, written.path, "split" in tree)
    yield from _absent_tokenizer(tree.get("tokenizer"), folder)


def _source(side: str, settings: Any, folder: Path) -> Source | None:
    """The source, if its settings are valid."""
    kind = settings.get("kind") if isinstance(settings, dict) else None
    if not isinstance(kind, str) or kind not in SOURCES or source_class(kind).role != side:
        return None
    try:
        return source_class(kind).model_validate(settings, context={"folder": folder})
    except ValidationError:
        return None


def _finding(place: KeyPath, invalid: InvalidSetting, written: Any) -> RecipeFinding:
    message = invalid.message
    if (
        not invalid.suggestion
        and isinstance(written, str)
        and message.startswith("there is no such")
        and (hub := hub_advice(written))
    ):
        message = f"{message} -> {hub}"
    return RecipeFinding((*place, *invalid.setting), message, invalid.suggestion)


def _written(settings: Any, setting: KeyPath) -> Any:
    """The value of a setting as written in the recipe."""
    for key in setting:
        try:
            settings = settings[key]
        except (KeyError, IndexError, TypeError):
            return None
    return settings


def _absent_split(source: Source, split: Any, place: KeyPath, said: bool) -> Iterator[RecipeFinding]:
    """A source without rows in the split that is drawn cannot be mixed."""
    names = source.split_names()
    if names and isinstance(split, str) and not any(source.may_feed(name, split) for name in names):
        message = f"source {place[-1]} has no split {split!r}: it has {', '.join(names)}"
        yield RecipeFinding(("split",) if said else place, message, closest(split, names), at_key=not said)


def _absent_tokenizer(value: Any, folder: Path) -> Iterator[RecipeFinding]:
    with suppress(ValidationError, ValueError):
        found = TokenizerFile.model_validate(named_tokenizer(value), context={"folder": folder}) if value is not None else None
        if found is not None and found.path is not None:
            place: KeyPath = ("tokenizer",) if isinstance(value, str) else ("tokenizer", "path")
            yield from (RecipeFinding(place, invalid.message, invalid.suggestion) for invalid in absent_file((), found.path))
