"""What every recognised thing can tell of itself, and the table of recognisers. A new kind is one file and one line here."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rt2data.errors import UsageError
from rt2data.read.known_formats import hub_advice
from rt2data.read.source import SOURCES, recognize, source_class

if TYPE_CHECKING:
    from rt2data.look.inspect.examples import Examples
    from rt2data.look.report.contact_sheet import Tile

KINDS: dict[str, tuple[str, str]] = {
    "mixture": ("rt2data.look.inspect.mixture:see", "a folder with a manifest.json"),
    "store": ("rt2data.look.inspect.prepared:see", "a folder with a source.json"),
    "recipe": ("rt2data.look.inspect.recipes:see", "a .yaml file"),
}
"""What we write ourselves: name -> the function that recognizes it, and what it looks for. The first that recognizes a path wins,
then the sources of `read.source.SOURCES`."""
RAW = "rt2data.look.inspect.raw:see"


@dataclass(frozen=True)
class Sight(ABC):
    """Something recognised at a path."""

    path: Path

    @property
    @abstractmethod
    def kind(self) -> str:
        """Its name in `KINDS`, or the kind of its source."""

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """What is in it, as plain JSON values. Raises RtError where it is damaged."""

    def tiles(self, count: int) -> list[Tile]:
        """About `count` pictures with their words, for a contact sheet. Raises UsageError where there are none."""
        raise UsageError(f"a {self.kind} has no pictures of its own", str(self.path), "name a dataset or a mixture")

    def examples(self) -> Examples:
        """All its examples, by number. Raises UsageError where it has none."""
        raise UsageError(
            f"a {self.kind} has no examples of its own", str(self.path), "name a dataset, a prepared store or a mixture"
        )

    def suggestion(self) -> str:
        """A fragment of a recipe, in YAML, that names this source. Raises UsageError where it is none."""
        raise UsageError(f"a {self.kind} is not a source", str(self.path), "name a raw dataset")


See = Callable[[Path], Sight | None]


def recognise(path: Path) -> Sight:
    """What lies at `path`. Raises UsageError, with what was looked for, where there is nothing known, or it may not be read."""
    try:
        if not path.exists():
            do = hub_advice(str(path)) or "name a dataset, a mixture, a prepared store or a recipe"
            raise UsageError("nothing is there", str(path), do)
        found = next(filter(None, (_see(where)(path) for where in (*(where for where, _ in KINDS.values()), RAW))), None)
    except PermissionError as error:
        raise UsageError("a file or folder may not be read", str(error.filename or path), "give yourself permission") from error
    if found is None and (other := recognize(path)):
        raise UsageError(f"nothing that rt2data reads is here: this is {other.what}", str(path), other.do)
    if found is None:
        looks_for = {name: what for name, (_, what) in KINDS.items()} | {kind: source_class(kind).looks_for for kind in SOURCES}
        looked = "; ".join(f"{name}: {what}" for name, what in looks_for.items())
        raise UsageError("nothing known is here", str(path), f"looked for {looked}")
    return found


def _see(where: str) -> See:
    module, name = where.split(":")
    found: See = getattr(import_module(module), name)
    return found
