"""An example as text and half-block images for a terminal, and as JSON. Text from data cannot control the terminal."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Resampling
from rich.color import Color
from rich.console import Console
from rich.style import Style
from rich.table import Table
from rich.text import Text

from rt2data.images.ready import ImageFault
from rt2data.look.inspect.examples import ActionValue, ImageData, Seen, counted
from rt2data.look.report.contact_sheet import decoded
from rt2data.look.view.select import images_of
from rt2data.read.text import one_line

LABEL, BAR = 10, 21  # cells of the labels on the left, and of a bar
IMAGE_WIDTH, IMAGE_LINES = 48, 24  # cells of an image at most
LARGE = 1e5
SHOWN_TOKENS, SHOWN_CHARS = 600, 4000
SHOWN_ACTIONS = 8  # of a chunk
ACROSS = 4  # images in a row
KIND_STYLE = {"robot": "bold blue", "web": "bold yellow"}
LOSS = "bold reverse green"


def draw(console: Console, seen: Seen, total: int | None) -> str:
    """All of an example, with its images where the terminal has colors. Otherwise loss tokens are in brackets."""
    colored = console.color_system is not None and not console.no_color
    with console.capture() as captured:
        console.print(Text(f"example {seen.number:,}" + ("" if total is None else f" of {total:,}")))
        if colored and (images := images_of(seen)):
            for start in range(0, len(images), ACROSS):
                console.print(_images(images[start : start + ACROSS], console.width, len(images) > 1))
        for line in lines(seen, colored):
            console.print(line)
    return captured.get()


def page(texts: Iterable[str]) -> None:
    """Send text to $PAGER, by default `less`, until the user leaves it; print it if there is no such program."""
    command = shlex.split(os.environ.get("PAGER", "")) or ["less"]
    with suppress(BrokenPipeError):  # the user has left the pager
        try:
            process = subprocess.Popen(command, stdin=subprocess.PIPE, env={"LESS": "-R"} | os.environ)
        except OSError:
            sys.stdout.writelines(texts)
            return
        with process as pager:
            assert pager.stdin is not None
            try:
                for text in texts:
                    pager.stdin.write(text.encode("utf-8", "replace"))
                    pager.stdin.flush()
                pager.stdin.close()
                pager.wait()
            except (KeyboardInterrupt, SystemExit):
                pager.terminate()
                raise


# Images


def _images(images: list[tuple[str, ImageData]], width: int, named: bool) -> Table:
    """Images in a row, with their names if the example has several."""
    row = Table.grid(padding=(0, 2))
    if named:
        row.add_row(*(Text(one_line(name, 60), "dim") for name, _ in images))
    each = max(min(IMAGE_WIDTH, width // len(images) - 2), 1)
    row.add_row(*(_image(image, each) for _, image in images))
    return row


def _image(image: ImageData, width: int) -> Text:
    """An image as large as fits into `width` cells and 24 lines; the reason if it cannot be decoded."""
    height = 2 * IMAGE_LINES
    try:
        found = decoded(image, max(width, height))
    except ImageFault as fault:
        return Text(one_line(str(fault.reason)), "red")
    scale = min(width / found.width, height / found.height)
    size = max(1, round(found.width * scale)), max(2, 2 * round(found.height * scale / 2))
    return half_blocks(np.asarray(found.resize(size, Resampling.LANCZOS)))


def half_blocks(pixels: NDArray[np.uint8]) -> Text:
    """A line for each two rows of uint8[2h, w, 3]: the upper pixel is the foreground of a cell, the lower its background."""
    rows = []
    for pair in zip(pixels[::2].tolist(), pixels[1::2].tolist(), strict=True):
        colors = [(Color.from_rgb(*upper), Color.from_rgb(*lower)) for upper, lower in zip(*pair, strict=True)]
        rows.append(Text.assemble(*(("▀", Style(color=upper, bgcolor=lower)) for upper, lower in colors)))
    return Text("\n").join(rows)


# Text


def lines(seen: Seen, colored: bool = True) -> list[Text]:
    """All fields. Without colors, loss tokens are in brackets."""
    found = [_title(seen)]
    for role, words in seen.messages or (("prompt", seen.prompt),):
        found.append(_row(role, words, "green" if role == "assistant" else ""))
    found.append(_row("target", seen.target, "bold green"))
    found += [_row(name, text, "dim") for name, text in more_texts(seen)]
    if answers := other_answers(seen):
        found.append(_row("answers", answers, "dim"))
    if seen.fault:
        found.append(_row("image", seen.fault, "red"))
    if len(seen.images) > 1 or seen.absent:
        found.append(_row("images", ", ".join(name for name, _ in images_of(seen))))
    if seen.absent:
        found.append(_row("absent", ", ".join(seen.absent), "dim"))
    found += [*_action(seen), *_chunk(seen)]
    if seen.tokens:
        found.append(_tokens(seen, colored))
    return [*found, _row("key", seen.key, "dim")]


def _title(seen: Seen) -> Text:
    title = Text.assemble((seen.kind, KIND_STYLE[seen.kind]), "  ", (one_line(seen.source, 60), "bold"), "  ")
    return title.append("  ".join(facts(seen)), "dim")


def facts(seen: Seen) -> list[str]:
    """Where it comes from: episode or image, step, epoch, split, camera."""
    steps = f" of {seen.steps}" if seen.steps is not None else ""
    said = {
        "episode" if seen.step is not None else "image": one_line(seen.group, 80),
        "step": None if seen.step is None else f"{seen.step}{steps}",
        "epoch": None if seen.epoch is None else str(seen.epoch),
        "split": one_line(seen.split, 60),
        "camera": one_line(seen.camera, 60) or None,
        "ends": "the task" if seen.terminate else None,
        "target": seen.legend or None,
    }
    return [f"{name} {value}" for name, value in said.items() if value is not None]


def more_texts(seen: Seen) -> list[tuple[str, str]]:
    """The log's own instruction if it differs, and notes."""
    own = [("instruction", seen.original)] if seen.original else []
    return [*own, *(("note", f"{name}: {text}") for name, text in seen.notes)]


def other_answers(seen: Seen) -> str:
    """All answers with their counts, unless the target says the same."""
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


def _chunk(seen: Seen) -> Iterator[Text]:
    """The first actions of a chunk, one a line."""
    for number, (values, pad) in enumerate(seen.chunk[:SHOWN_ACTIONS]):
        line = _labelled("" if number else "chunk").append(f"{number:>2} ", "dim")
        line.append("".join(f"{figure(value):>10}" for value in values), "dim" if pad else "")
        yield line.append("  pad" if pad else "", "dim")
    if (more := len(seen.chunk) - SHOWN_ACTIONS) > 0:
        yield _labelled("").append(f"and {more:,} more", "dim")


def figure(value: float) -> str:
    """A number with sign and four decimals; four digits if it is too large for a column."""
    return f"{value:+.4f}" if abs(value) < LARGE else f"{value:+.4g}"


def span(dim: ActionValue) -> tuple[float, float, float] | None:
    """Where a bar begins and ends and where zero is, as shares of the range from `lo` to `hi`; None if there is no range."""
    if dim.lo is None or dim.hi is None or not dim.hi > dim.lo:
        return None
    zero, value = (min(max((at - dim.lo) / (dim.hi - dim.lo), 0.0), 1.0) for at in (0.0, dim.value))
    return min(zero, value), max(zero, value), zero


def bar(dim: ActionValue) -> str:
    """21 cells from zero, or from the end of the range next to it, to the value; blank if the range is not known."""
    found = span(dim)
    if found is None:
        return " " * BAR
    first, last, zero = (round(share * (BAR - 1)) for share in found)
    return "".join("│" if i == zero else "█" if first <= i <= last else "·" for i in range(BAR))


def _tokens(seen: Seen, colored: bool) -> Text:
    """Runs of loss tokens are marked by color or brackets."""
    line, shown = _labelled("tokens"), seen.tokens[:SHOWN_TOKENS]
    gap = "" if all(token.word for token in shown) else " "
    for in_loss, run in groupby(shown, key=lambda token: token.in_loss):
        said = gap.join(str(token.id) if gap else one_line(token.word, 60) for token in run)
        line.append(f"[{said}]" if in_loss and not colored else said, LOSS if in_loss else "").append(gap)
    more = len(seen.tokens) - SHOWN_TOKENS
    return line.append(f" and {more:,} more" if more > 0 else "")


def as_plain(seen: Seen) -> dict[str, Any]:
    """The example as JSON values, without its images."""
    names = ("number", "key", "kind", "source", "split", "group", "step", "steps", "epoch", "camera", "prompt", "target")
    found: dict[str, Any] = {name: getattr(seen, name) for name in names}
    return (
        found
        | {
            "answers": list(seen.answers),
            "terminate": seen.terminate,
            "terminate_word": seen.legend or None,
            "images": [name for name, _ in images_of(seen)],
            "absent": list(seen.absent),
            "messages": [{"role": role, "content": words} for role, words in seen.messages],
            "action": [dim._asdict() for dim in seen.action],
            "chunk": [{"values": list(values), "pad": pad} for values, pad in seen.chunk],
            "tokens": [token._asdict() for token in seen.tokens],
            "fault": seen.fault,
        }
        | _joined(seen)
    )


def _joined(seen: Seen) -> dict[str, Any]:
    """The data joined to a step, if any."""
    notes = {"notes": [{"name": name, "text": text} for name, text in seen.notes]} if seen.notes else {}
    return notes | ({"original": seen.original} if seen.original else {})
