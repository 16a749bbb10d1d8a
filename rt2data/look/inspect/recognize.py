"""Recognizes what is at a path, with a table of recognizers: a new kind is one function and one line here."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from rt2data.errors import RtError, UsageError
from rt2data.io import location
from rt2data.io.generations import current
from rt2data.plan.recipe import canonical, read_recipe
from rt2data.read.known_formats import hub_advice
from rt2data.read.source import SOURCES, Source, source_class
from rt2data.read.source import recognize as recognize_foreign

if TYPE_CHECKING:
    from rt2data.look.inspect.examples import Examples
    from rt2data.look.report.contact_sheet import Tile

KINDS: dict[str, tuple[str, str]] = {
    "mixture": ("rt2data.look.inspect.mixture:recognize_mixture", "a folder with a manifest.json"),
    "store": ("rt2data.look.inspect.store:recognize_store", "a folder with a source.json"),
    "recipe": ("rt2data.look.inspect.recognize:recognize_recipe", "a .yaml file"),
}
"""Our own outputs: name -> the function that recognizes it, and what it looks for. The first match wins; the sources in
`read.source.SOURCES` come after these."""
RAW = "rt2data.look.inspect.raw:recognize_source"


@dataclass(frozen=True)
class Inspected(ABC):
    """What was recognized at a path."""

    path: Path

    @property
    @abstractmethod
    def kind(self) -> str:
        """The name in `KINDS`, or the kind of its source."""

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """Its contents, as plain JSON values. Raises RtError if it is damaged."""

    def tiles(self, count: int) -> list[Tile]:
        """About `count` images with their texts, for a contact sheet. Raises UsageError if there are none."""
        raise UsageError(f"a {self.kind} has no images of its own", str(self.path), "name a dataset or a mixture")

    def examples(self) -> Examples:
        """All its examples, by number. Raises UsageError if it has none."""
        do = "name a dataset, a prepared store or a mixture"
        raise UsageError(f"a {self.kind} has no examples of its own", str(self.path), do)

    def suggestion(self) -> str:
        """The part of a recipe, in YAML, that reads this source. Raises UsageError if it is not a source."""
        raise UsageError(f"a {self.kind} is not a source", str(self.path), "name a raw dataset")


Recognizer = Callable[[Path], Inspected | None]


def recognize(path: Path) -> Inspected:
    """What is at `path`. Raises UsageError, listing what was looked for, if nothing known is there, or it is not readable."""
    try:
        path = current(path)
        marks = path, path / "manifest.json", path / "source.json"  # a folder may be invisible while its contents are not
        if not any(map(location.exists, marks)):
            do = hub_advice(str(path)) or "name a dataset, a mixture, a prepared store or a recipe"
            raise UsageError("nothing is there", str(path), do)
        if location.exists(path) and not (location.is_file(path) or location.is_folder(path)):
            raise UsageError("this is neither a file nor a folder", str(path), "name one")
        places = [*(where for where, _ in KINDS.values()), RAW]
        found = next(filter(None, (_recognizer(where)(path) for where in places)), None)
    except PermissionError as error:
        raise UsageError("a file or folder may not be read", str(error.filename or path), "give yourself permission") from error
    if found is None and (other := recognize_foreign(path)):
        raise UsageError(f"nothing that rt2data reads is here: this is {other.what}", str(path), other.do)
    if found is None:
        looks_for = {name: what for name, (_, what) in KINDS.items()} | {kind: source_class(kind).looks_for for kind in SOURCES}
        looked = "; ".join(f"{name}: {what}" for name, what in looks_for.items())
        raise UsageError("nothing known is here", str(path), f"looked for {looked}")
    return found


def _recognizer(where: str) -> Recognizer:
    module, name = where.split(":")
    found: Recognizer = getattr(import_module(module), name)
    return found


# Recipes


def recognize_recipe(path: Path) -> Inspected | None:
    """A recipe, if the path is a YAML file."""
    return InspectedRecipe(path) if location.is_file(path) and path.suffix in (".yaml", ".yml") else None


@dataclass(frozen=True)
class InspectedRecipe(Inspected):
    """The settings and sources of a recipe."""

    @property
    def kind(self) -> str:
        return "recipe"

    def facts(self) -> dict[str, Any]:
        recipe = read_recipe(self.path)
        asked: dict[str, Any] = msgspec.json.decode(canonical(recipe))
        sources = {name: _source_facts(source) for name, source in recipe.sources.items()}
        settings = {key: value for key, value in asked.items() if key not in ("robot", "web")}
        return {"sources": sources, "settings": settings}


def _source_facts(source: Source) -> dict[str, Any]:
    """A source, and whether its files exist."""
    try:
        files, problem = len(source.files()), ""
    except RtError as error:
        files, problem = 0, str(error)
    kind = getattr(source, "kind", "")
    return {"side": source.role, "kind": kind, "weight": str(source.weight), "files": files, "problem": problem}
