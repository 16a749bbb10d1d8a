"""An example in words: styled lines for a terminal, plain values for programs. Text from data cannot steer anything."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any

from rich.text import Text

from rt2data.look.inspect.examples import Dimension, Seen, counted
from rt2data.read.text import one_line

LABEL = 10
"""Cells of the names at the left."""
BAR = 21
LARGE = 1e5
SHOWN_TOKENS, SHOWN_CHARS = 600, 4000
SIDE_STYLE = {"robot": "bold blue", "web": "bold yellow"}
LEARNED = "bold reverse green"


def lines(seen: Seen, colored: bool = True) -> list[Text]:
    """All there is to say. Without colours, learned tokens stand in brackets."""
    found = [_title(seen), _row("prompt", seen.prompt), _row("target", seen.target, "bold green")]
    if answers := given(seen):
        found.append(_row("answers", answers, "dim"))
    if seen.fault:
        found.append(_row("picture", seen.fault, "red"))
    found += _action(seen)
    if seen.tokens:
        found.append(_tokens(seen, colored))
    return [*found, _row("key", seen.key, "dim")]


def _title(seen: Seen) -> Text:
    title = Text.assemble((seen.kind, SIDE_STYLE[seen.kind]), "  ", (one_line(seen.source, 60), "bold"), "  ")
    return title.append("  ".join(facts(seen)), "dim")


def facts(seen: Seen) -> list[str]:
    """Where it comes from, in a few words."""
    steps = f" of {seen.steps}" if seen.steps is not None else ""
    said = {
        "episode" if seen.kind == "robot" else "picture": one_line(seen.group, 80),
        "step": None if seen.step is None else f"{seen.step}{steps}",
        "epoch": None if seen.epoch is None else str(seen.epoch),
        "split": one_line(seen.split, 60),
        "camera": one_line(seen.camera, 60) or None,
        "ends": "the task" if seen.terminate else None,
        "target": seen.legend or None,
    }
    return [f"{name} {value}" for name, value in said.items() if value is not None]


def given(seen: Seen) -> str:
    """All answers that were given, where they say more than the target does."""
    said = counted(seen.answers)
    return said if said not in (seen.target, f"{seen.target} x{len(seen.answers)}") else ""


def _row(label: str, value: str, style: str = "") -> Text:
    return _labelled(label).append(one_line(value, SHOWN_CHARS), style)


def _labelled(label: str) -> Text:
    return Text().append(f"{label:<{LABEL}}", "dim")


def _action(seen: Seen) -> Iterator[Text]:
    wide = max((len(dim.name) for dim in seen.action), default=0)
    for number, dim in enumerate(seen.action):
        line = _labelled("" if number else "action").append(f"{one_line(dim.name):<{wide}} ")
        line.append(f"{figure(dim.value):>10} ", "bold").append(f"{bar(dim)} ", "cyan")
        yield line.append(f"{one_line(dim.unit):<4}" + ("" if dim.bin is None else f"{dim.bin:>4}"), "dim")


def figure(value: float) -> str:
    """With its sign and four decimals; four digits where it is too large for a column."""
    return f"{value:+.4f}" if abs(value) < LARGE else f"{value:+.4g}"


def span(dim: Dimension) -> tuple[float, float, float] | None:
    """Where a bar begins and ends and where zero is, as shares of the reach from `lo` to `hi`; None where that is not known."""
    if dim.lo is None or dim.hi is None or not dim.hi > dim.lo:
        return None
    zero, value = (min(max((at - dim.lo) / (dim.hi - dim.lo), 0.0), 1.0) for at in (0.0, dim.value))
    return min(zero, value), max(zero, value), zero


def bar(dim: Dimension) -> str:
    """From zero, or the end that is nearer to it, to the value; 21 cells, blank where nobody said how far it reaches."""
    found = span(dim)
    if found is None:
        return " " * BAR
    first, last, zero = (round(share * (BAR - 1)) for share in found)
    return "".join("│" if i == zero else "█" if first <= i <= last else "·" for i in range(BAR))


def _tokens(seen: Seen, colored: bool) -> Text:
    """What is learned is marked, run by run: by colour, or in brackets."""
    line, shown = _labelled("tokens"), seen.tokens[:SHOWN_TOKENS]
    gap = "" if all(token.word for token in shown) else " "
    for learned, run in groupby(shown, key=lambda token: token.in_loss):
        said = gap.join(str(token.id) if gap else one_line(token.word, 60) for token in run)
        line.append(f"[{said}]" if learned and not colored else said, LEARNED if learned else "").append(gap)
    more = len(seen.tokens) - SHOWN_TOKENS
    return line.append(f" and {more:,} more" if more > 0 else "")


def as_plain(seen: Seen) -> dict[str, Any]:
    """The example as JSON values, without its picture."""
    names = ("number", "key", "kind", "source", "split", "group", "step", "steps", "epoch", "camera", "prompt", "target")
    found: dict[str, Any] = {name: getattr(seen, name) for name in names}
    return found | {
        "answers": list(seen.answers),
        "terminate": seen.terminate,
        "terminate_word": seen.legend or None,
        "action": [dim._asdict() for dim in seen.action],
        "tokens": [token._asdict() for token in seen.tokens],
        "fault": seen.fault,
    }
