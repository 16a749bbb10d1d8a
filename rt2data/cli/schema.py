"""`rt2data schema`."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

from rt2data.cli.console import say_json
from rt2data.errors import UsageError
from rt2data.io import location
from rt2data.io.installation import folder


def schema(name: str, as_json: bool = False) -> None:
    """Print a JSON Schema, or the TOML of an action space, with `as_json` as JSON."""
    schemas = folder("schemas")
    known: dict[str, Path] = {}
    for place, ending in ((schemas, ".schema.json"), (schemas / "actions", ".toml")):
        names = [entry.name for entry in location.children(place) if entry.name.endswith(ending)]
        known |= {name.removesuffix(ending): place / name for name in names}
    if name not in known:
        raise UsageError(f"no schema named {name!r}", do=f"choose one of {', '.join(sorted(known))}")
    text = location.read_text(known[name])
    if as_json and known[name].suffix == ".toml":
        say_json(tomllib.loads(text))
    else:
        sys.stdout.write(text)
