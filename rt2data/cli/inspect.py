"""`rt2data inspect`: what is at a path."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rt2data.cli.console import say_json, table, talk, tell
from rt2data.io.location import write_whole
from rt2data.io.publish import require_writable
from rt2data.io.words import plural, size
from rt2data.look.inspect import Inspected, recognize
from rt2data.read.text import one_line
from rt2data.records import Warn

WIDE = 100
"""Maximum characters of a list printed on one line."""


def inspect(path: Path, png: Path | None, tiles: int, suggest: bool, as_json: bool, force: bool = False) -> None:
    """Print what is at the path, draw a contact sheet, or print the part of a recipe that reads it."""
    seen = recognize(path)
    if png is not None:
        _draw(seen, png, tiles, force)
    if as_json:
        extra = {"suggestion": seen.suggestion()} if suggest else {}
        say_json({"kind": seen.kind, "path": str(path)} | {"facts": seen.facts()} | extra)
    elif suggest:
        print("\n".join(one_line(line, 10_000) for line in seen.suggestion().splitlines()))
    else:
        print(f"{seen.kind} at {one_line(str(path), 1000)}")
        facts = {key: value for key, value in seen.facts().items() if key != "kind"}
        warnings = [Warn(**each) for each in facts.pop("warnings", ())]
        show(facts)
        tell(warnings, sys.stdout)


def _draw(seen: Inspected, png: Path, tiles: int, force: bool) -> None:
    from rt2data.look.report.contact_sheet import MARK, contact_sheet

    require_writable(png, seen.path, mark=MARK, force=force)
    found = seen.tiles(tiles)
    write_whole(png, contact_sheet(found, title=f"{seen.kind}  {seen.path}"))
    talk(f"{plural(len(found), 'image')} in {png}")


def show(facts: Mapping[str, Any], indent: int = 0) -> None:
    """Print facts of any shape: mappings of mappings and lists of mappings as tables, the rest as lines."""
    for key, value in facts.items():
        if value in (None, "", [], {}, ()):
            continue
        if isinstance(value, Mapping) and all(isinstance(inner, Mapping) for inner in value.values()):
            _table(key, [{key: name} | dict(inner) for name, inner in value.items()])
        elif isinstance(value, Sequence) and not isinstance(value, str) and isinstance(value[0], Mapping):
            _table(key, value)
        elif isinstance(value, Mapping):
            _line(indent, key, "")
            show(value, indent + 2)
        elif isinstance(value, Sequence) and not isinstance(value, str):
            _list(indent, key, [shown(key, each) for each in value])
        else:
            _line(indent, key, shown(key, value))


def _table(key: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print a table: text columns, then numbers, in order of appearance, without empty ones. A narrow terminal drops the last ones,
    since facts are in order of importance.
    """
    columns = [
        name for name in dict.fromkeys(name for row in rows for name in row) if any(row.get(name) not in (None, "") for row in rows)
    ]
    words = [name for name in columns if all(isinstance(row.get(name), str | None) for row in rows)]
    ordered = [*words, *(name for name in columns if name not in words)]
    print()
    least_first = [name for name in reversed(columns) if name != columns[0]]
    table(ordered, [[shown(name, row.get(name)) for name in ordered] for row in rows], left=len(words), drop=least_first)
    print()


def _list(indent: int, key: str, values: Sequence[str]) -> None:
    if sum(map(len, values)) + 2 * len(values) <= WIDE:
        _line(indent, key, ", ".join(values))
        return
    _line(indent, key, "")
    for value in values:
        print(" " * (indent + 2) + value)


def _line(indent: int, key: str, value: str) -> None:
    label = one_line(key, 100)
    print(f"{' ' * indent}{label:<{max(18 - indent, len(label) + 1)}} {value}".rstrip())


def shown(key: str, value: Any) -> str:
    """A value as text, without control characters."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return size(value) if key.endswith("bytes") else str(value) if key.endswith(("id", "seed")) else f"{value:,}"
    if isinstance(value, float):
        return f"{value:.2%}" if key in ("share", "examples", "tokens", "loss_tokens") else f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{one_line(str(name))} {shown(name, inner)}" for name, inner in value.items())
    return one_line(str(value))
