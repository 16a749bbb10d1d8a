"""Output of the command: stdout is data, stderr is messages. Text from data is never markup.

Tables are aligned. A narrow terminal drops whole columns, in an order that the table declares, until they fit. No cell is
truncated.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Iterable, Sequence
from typing import Any, TextIO

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rt2data.cli.commands import verbosity
from rt2data.errors import RtError
from rt2data.read.text import one_line
from rt2data.records import Warn, worst_first


def talk(message: str) -> None:
    """A message on stderr; not with -q."""
    if not verbosity.quiet:
        insist(message)


def insist(message: str) -> None:
    """A message on stderr that -q does not silence: a warning, a failure."""
    sys.stderr.write(message + "\n")
    sys.stderr.flush()


def tell(warnings: Iterable[Warn], to: TextIO | None = None) -> None:
    """Warnings, worst first, one line each. On stderr by default."""
    for warn in worst_first(warnings):
        (to or sys.stderr).write(one_line(str(warn), 600) + "\n")
    (to or sys.stderr).flush()


def say_json(value: Any) -> None:
    """JSON on stdout."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=True, sort_keys=False) + "\n")


def plain(value: object) -> str:
    """A value as text that is safe for a terminal: without control characters and direction overrides."""
    return "".join(c for c in str(value) if c.isprintable() or c == "\n")


def report_failure(error: RtError, as_json: bool) -> None:
    """One line: what, where and what to do; with `as_json` also JSON on stdout."""
    for line in getattr(error, "lines", (str(error),)):
        insist(f"rt2data: {plain(line)}")
    if as_json:
        say_failure(error)


def say_failure(error: RtError) -> None:
    """A failure as JSON on stdout."""
    say_json({"error": type(error).__name__, "code": error.code, "what": error.what, "where": error.where, "do": error.do})


GAP = 2
"""Spaces between columns."""
WRAPPED = 24
"""Minimum width of a column whose text may wrap."""


def table(
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    left: int = 1,
    drop: Sequence[str] = (),
    wrap: str = "",
    title: str = "",
) -> None:
    """Print a table on stdout; the first `left` columns are text, the others numbers.

    To a file all columns are printed, one line per row. On a terminal the columns in `drop` are dropped, first to last, until the
    table fits, and a line names them; other columns always stay. The text of column `wrap` may take several lines. A cell that is a
    Text keeps its style.
    """
    cells = [[value if isinstance(value, Text) else Text(plain(value)) for value in row] for row in rows]
    widths = [max(map(cell_len, (name, *(row[at].plain for row in cells)))) for at, name in enumerate(columns)]
    width = Console().width if sys.stdout.isatty() else None
    dropped = to_drop(columns, widths, width, drop, wrap)
    shown = [at for at, name in enumerate(columns) if name not in dropped]
    narrow = None if width is None else _wrap_width(columns, widths, width, dropped, wrap)
    drawn = Table(title=title or None, title_justify="left", box=None, pad_edge=False, padding=(0, GAP, 0, 0))
    for at in shown:
        wide = narrow if columns[at] == wrap else None
        justify = "left" if at < left else "right"
        drawn.add_column(columns[at], justify=justify, no_wrap=wide is None, width=wide, overflow="fold")  # type: ignore[arg-type]
    for row in cells:
        drawn.add_row(*(row[at] for at in shown))
    Console(width=max(_needed(widths, shown), len(title), width or 0) + GAP, highlight=False).print(drawn)
    if dropped:
        print(f"(columns not shown: {', '.join(dropped)}; widen the terminal, or use --json)")


def to_drop(columns: Sequence[str], widths: Sequence[int], width: int | None, drop: Sequence[str], wrap: str = "") -> list[str]:
    """The columns to drop, in this order, so that the rest fits into `width`; none if there is no limit."""
    gone: list[str] = []
    for name in (each for each in drop if each in columns):
        if width is None or _fits(columns, widths, width, gone, wrap):
            break
        gone.append(name)
    return gone


def _fits(columns: Sequence[str], widths: Sequence[int], width: int, gone: Collection[str], wrap: str) -> bool:
    least = [min(wide, WRAPPED) if name == wrap else wide for name, wide in zip(columns, widths, strict=True)]
    return _needed(least, [at for at, name in enumerate(columns) if name not in gone]) <= width


def _wrap_width(columns: Sequence[str], widths: Sequence[int], width: int, gone: Collection[str], wrap: str) -> int | None:
    """Width of the column that may wrap; None if everything fits."""
    shown = [at for at, name in enumerate(columns) if name not in gone]
    if wrap not in columns or wrap in gone or _needed(widths, shown) <= width:
        return None
    others = [at for at in shown if columns[at] != wrap]
    return max(width - _needed(widths, others) - GAP, WRAPPED)


def _needed(widths: Sequence[int], shown: Sequence[int]) -> int:
    return sum(widths[at] for at in shown) + GAP * (len(shown) - 1)
