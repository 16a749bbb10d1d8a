"""Recognising a recipe."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from rt2data.errors import RtError
from rt2data.look.inspect.recognize import Sight
from rt2data.plan.recipe import canonical, read_recipe
from rt2data.read.source import Source


def see(path: Path) -> Sight | None:
    """A recipe where there is a YAML file."""
    return RecipeSight(path) if path.is_file() and path.suffix in (".yaml", ".yml") else None


@dataclass(frozen=True)
class RecipeSight(Sight):
    """What is asked for."""

    kind = "recipe"

    def facts(self) -> dict[str, Any]:
        recipe = read_recipe(self.path)
        asked: dict[str, Any] = msgspec.json.decode(canonical(recipe))
        sources = {name: _source(source) for name, source in recipe.sources.items()}
        settings = {key: value for key, value in asked.items() if key not in ("robot", "web")}
        return {"sources": sources, "settings": settings}


def _source(source: Source) -> dict[str, Any]:
    """A source, and whether its files are there."""
    try:
        files, problem = len(source.files()), ""
    except RtError as error:
        files, problem = 0, str(error)
    return {
        "side": source.role,
        "kind": getattr(source, "kind", ""),
        "weight": str(source.weight),
        "files": files,
        "problem": problem,
    }
