"""`rt2data schema`."""

from __future__ import annotations

import sys
import tomllib

from rt2data.cli.console import say_json
from rt2data.errors import UsageError
from rt2data.io.installation import folder
from rt2data.io.words import choose


def schema(name: str, as_json: bool = False) -> None:
    """Print a JSON Schema, or the TOML of an action space, with `as_json` as JSON."""
    shelf = folder("schemas")
    known = {path.name.removesuffix(".schema.json"): path for path in shelf.glob("*.schema.json")}
    known |= {path.stem: path for path in (shelf / "actions").glob("*.toml")}
    if name not in known:
        raise UsageError(f"no schema named {name!r}", do=choose(name, sorted(known)))
    text = known[name].read_text("utf-8")
    if as_json and known[name].suffix == ".toml":
        say_json(tomllib.loads(text))
    else:
        sys.stdout.write(text)
