"""Aligned tables. On a terminal whole columns are dropped, in an order that the table declares, until it fits. No cell is cut."""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rt2data.cli.console import plain

GAP = 2
"""Spaces between columns."""
WRAPPED = 24
"""A column whose text may wrap takes no less than this."""


def table(
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    left: int = 1,
    drop: Sequence[str] = (),
    wrap: str = "",
    title: str = "",
) -> None:
    """Print a table on stdout; the first `left` columns are words, the others numbers.

    Away from a terminal all of it is printed, one line a row. On one, the columns in `drop` go, first to last, until it fits, and
    a line says which went; what is not in `drop` always stays. The text of column `wrap` may take several lines. A cell that is a
    Text keeps its style.
    """
    cells = [[value if isinstance(value, Text) else Text(plain(value)) for value in row] for row in rows]
    widths = [max(map(cell_len, (name, *(row[at].plain for row in cells)))) for at, name in enumerate(columns)]
    room = Console().width if sys.stdout.isatty() else None
    dropped = to_drop(columns, widths, room, drop, wrap)
    shown = [at for at, name in enumerate(columns) if name not in dropped]
    narrow = None if room is None else _wrap_width(columns, widths, room, dropped, wrap)
    drawn = Table(title=title or None, title_justify="left", box=None, pad_edge=False, padding=(0, GAP, 0, 0))
    for at in shown:
        wide = narrow if columns[at] == wrap else None
        justify = "left" if at < left else "right"
        drawn.add_column(columns[at], justify=justify, no_wrap=wide is None, width=wide, overflow="fold")  # type: ignore[arg-type]
    for row in cells:
        drawn.add_row(*(row[at] for at in shown))
    Console(width=max(_needed(widths, shown), len(title), room or 0) + GAP, highlight=False).print(drawn)
    if dropped:
        print(f"(not shown for want of width: {', '.join(dropped)}; widen the terminal, or use --json)")


def to_drop(columns: Sequence[str], widths: Sequence[int], room: int | None, drop: Sequence[str], wrap: str = "") -> list[str]:
    """The columns to drop, in the order they go, so that the rest fits into `room`; none where there is no limit."""
    gone: list[str] = []
    for name in (each for each in drop if each in columns):
        if room is None or _fits(columns, widths, room, gone, wrap):
            break
        gone.append(name)
    return gone


def _fits(columns: Sequence[str], widths: Sequence[int], room: int, gone: Collection[str], wrap: str) -> bool:
    least = [min(width, WRAPPED) if name == wrap else width for name, width in zip(columns, widths, strict=True)]
    return _needed(least, [at for at, name in enumerate(columns) if name not in gone]) <= room


def _wrap_width(columns: Sequence[str], widths: Sequence[int], room: int, gone: Collection[str], wrap: str) -> int | None:
    """What is left for the column that may wrap; None where all of it fits."""
    shown = [at for at, name in enumerate(columns) if name not in gone]
    if wrap not in columns or wrap in gone or _needed(widths, shown) <= room:
        return None
    others = [at for at in shown if columns[at] != wrap]
    return max(room - _needed(widths, others) - GAP, WRAPPED)


def _needed(widths: Sequence[int], shown: Sequence[int]) -> int:
    return sum(widths[at] for at in shown) + GAP * (len(shown) - 1)
