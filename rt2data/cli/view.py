"""`rt2data view`: examples one by one, on a terminal, in a browser, or printed."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.console import Console

from rt2data.cli.console import say_json, talk
from rt2data.errors import OutputError, UsageError
from rt2data.images.ready import ImageFault
from rt2data.io import location
from rt2data.io.location.folders import make_folder
from rt2data.io.streams import terminal
from rt2data.look.inspect import recognise
from rt2data.look.inspect.examples import Examples, Seen
from rt2data.look.view.cells import Depth, speaks_kitty
from rt2data.look.view.words import as_plain, lines
from rt2data.read.text import one_line


def view(path: Path, at: int, count: int | None, save: Path | None, port: int | None, as_json: bool, force: bool = False) -> None:
    """Show examples from `at` on; on a terminal until somebody leaves. Raises UsageError where there is none."""
    seen = recognise(path)
    examples = seen.examples()
    if port is not None:
        _serve(examples, f"{seen.kind} {path}", port)
    elif as_json:
        shown = [as_plain(each) | _saved(each, save, force) for each in _chosen(examples, at, count or 1)]
        say_json({"path": str(path), "kind": seen.kind, "total": examples.total, "examples": shown})
    elif count is None and save is None and _on_terminal():
        _page(examples, at)
    else:
        _print(examples, at, count or 1, save, force)


def _chosen(examples: Examples, at: int, count: int) -> Iterator[Seen]:
    """So many, or as many as there are. Raises UsageError where there is none."""
    for number in range(at, at + count):
        try:
            yield examples.at(number)
        except IndexError:
            if number == at:
                raise UsageError(f"there is no example {at:,}", do=f"there are {examples.total or 0:,}, counted from 0") from None
            return


def _print(examples: Examples, at: int, count: int, save: Path | None, force: bool = False) -> None:
    console = Console(width=None if sys.stdout.isatty() else 200, highlight=False)
    colored = console.color_system is not None and not console.no_color
    for seen in _chosen(examples, at, count):
        print(f"example {seen.number:,}" + ("" if examples.total is None else f" of {examples.total:,}"))
        for line in lines(seen, colored):
            console.print(line)
        for place in _saved(seen, save, force).values():
            print(f"{'picture':<9} {one_line(str(place), 1000)}")
        print()


def _saved(seen: Seen, folder: Path | None, force: bool) -> dict[str, Any]:
    """Where the picture was written; nothing where it was not to be, or there is none.

    Raises OutputError, and UsageError where another file has its name and `force` is not given.
    """
    if folder is None or seen.picture is None:
        return {}
    from rt2data.look.view.pictures import encoded

    try:
        extension, content = encoded(seen.picture)
    except ImageFault as fault:
        talk(f"note: the picture of example {seen.number:,} cannot be used: {one_line(str(fault.reason))}")
        return {}
    name = re.sub(r"[^A-Za-z0-9_-]", "_", seen.key)[:90]
    path = folder / f"{seen.number:06d}-{name}.{extension}"
    if not location.is_folder(folder.parent):
        raise OutputError("there is no such folder", str(folder.parent), "make it first")
    make_folder(folder)
    if location.exists(path) and not force and location.read_bytes(path) != content:
        raise UsageError("another file is here already", str(path), "choose another folder, or replace it with --force")
    location.write_whole(path, content)
    return {"picture": str(path)}


# On a terminal


def _on_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM", "dumb") not in ("", "dumb")


def _page(examples: Examples, at: int) -> None:
    """Hand the terminal over until somebody leaves."""
    from rt2data.look.view.pager import State
    from rt2data.look.view.screen import Look
    from rt2data.look.view.terminal import Terminal, Viewer

    look = Look(depth(Console()), speaks_kitty(os.environ))
    with ExitStack() as opened:
        try:
            descriptor = opened.enter_context(terminal())
        except OSError:  # a terminal that is not this session's own
            _print(examples, at, 1, None)
            return
        Viewer(examples, Terminal(descriptor), look, State(at)).run()


def depth(console: Console) -> Depth:
    """The colours that a terminal has and its user wants."""
    found: dict[str | None, Depth] = {"truecolor": "true", "256": "256"}
    return "none" if console.no_color else found.get(console.color_system, "none")


# In a browser


def _serve(examples: Examples, title: str, port: int) -> None:
    """Until Ctrl-C."""
    from rt2data.look.view.server import Server, Site

    server = Server(Site(examples, title), port)
    try:
        print(server.url, flush=True)
        talk("Ctrl-C ends it")
        server.serve_forever()
    finally:
        server.server_close()
