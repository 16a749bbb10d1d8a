"""How the command talks: stdout is data, stderr is talk. Text from data is never markup."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rt2data.errors import RtError


def talk(message: str) -> None:
    """A line for people, on stderr."""
    sys.stderr.write(message + "\n")
    sys.stderr.flush()


def say_json(value: Any) -> None:
    """Data for programs, on stdout."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=True, sort_keys=False) + "\n")


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], left: int = 1) -> None:
    """An aligned table on stdout; the first `left` columns are words, the others numbers. Never cut where there is no terminal.

    A cell that is a Text keeps its style, which shows on a terminal.
    """
    console = Console(width=None if sys.stdout.isatty() else 200, highlight=False)
    drawn = Table(title=title or None, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for number, name in enumerate(columns):
        drawn.add_column(name, justify="left" if number < left else "right", no_wrap=number >= left)
    for row in rows:
        drawn.add_row(*(value if isinstance(value, Text) else Text(plain(value)) for value in row))
    console.print(drawn)


def plain(value: object) -> str:
    """A value as text that cannot steer a terminal: no control characters, no direction overrides."""
    return "".join(c for c in str(value) if c.isprintable() or c == "\n")


def number(value: float) -> str:
    """12,345 or 1.25."""
    return f"{value:,}" if isinstance(value, int) else f"{value:,.3g}" if abs(value) < 100 else f"{value:,.0f}"


def size(count: float) -> str:
    """Bytes as people say them."""
    for unit in ("B", "KB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def report_failure(error: RtError, as_json: bool) -> None:
    """One line of what, where and what to do; for programs the same as JSON on stdout."""
    for line in getattr(error, "lines", (str(error),)):
        talk(f"rt2data: {plain(line)}")
    if as_json:
        say_json({"error": type(error).__name__, "code": error.code, "what": error.what, "where": error.where, "do": error.do})
