"""`rt2data schema`."""

from __future__ import annotations

import sys

from rt2data.errors import UsageError
from rt2data.resources import folder


def schema(name: str) -> None:
    """Print a JSON Schema, or the TOML of an action space."""
    shelf = folder("schemas")
    known = {path.name.removesuffix(".schema.json"): path for path in shelf.glob("*.schema.json")}
    known |= {path.stem: path for path in (shelf / "actions").glob("*.toml")}
    if name not in known:
        raise UsageError(f"no schema named {name!r}", do=f"choose one of {', '.join(sorted(known))}")
    sys.stdout.write(known[name].read_text())
