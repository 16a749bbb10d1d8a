"""`rt2data view`: examples in a pager, in a browser, or printed."""

from __future__ import annotations

import itertools
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console

from rt2data.cli.console import say_json, talk
from rt2data.errors import OutputError, UsageError
from rt2data.images.ready import ImageFault
from rt2data.io import location
from rt2data.io.location.folders import make_folder
from rt2data.look.inspect import recognize
from rt2data.look.inspect.examples import Examples, ImageData, Seen
from rt2data.look.view.select import EVERYTHING, Filter, encoded, images_of
from rt2data.look.view.terminal import as_plain, draw, page
from rt2data.read.text import one_line


def view(
    path: Path,
    at: int,
    count: int | None,
    save: Path | None,
    port: int | None,
    as_json: bool,
    force: bool = False,
    only: Filter = EVERYTHING,
) -> None:
    """Show examples from number `at` on; on a terminal all of them, in a pager. Raises UsageError if there is none."""
    seen = recognize(path)
    examples = seen.examples()
    if only.source and only.source not in examples.sources:
        raise UsageError(f"no source {only.source!r}", str(path), f"choose one of {', '.join(sorted(examples.sources))}")
    paged = count is None and save is None and _on_terminal()
    chosen = _chosen(examples, at, None if paged else count or 1, only)
    if port is not None:
        _serve(examples, f"{seen.kind} {path}", port, at, only)
    elif as_json:
        shown = [as_plain(each) | _saved(each, save, force) for each in chosen]
        say_json({"path": str(path), "kind": seen.kind, "total": examples.total, "examples": shown})
    elif paged:
        first = next(chosen)  # raises before the pager starts
        page(_drawn(itertools.chain([first], chosen), examples.total))
    else:
        for text in _drawn(chosen, examples.total, save, force):
            sys.stdout.write(text)


def _chosen(examples: Examples, at: int, count: int | None, only: Filter) -> Iterator[Seen]:
    """At most `count` examples that match. Raises UsageError if there is none."""
    numbers = (number for number, matches in only.scan(examples, itertools.count(at)) if matches)
    none = True
    for number in itertools.islice(numbers, count):
        none = False
        yield examples.at(number)
    if none and only != EVERYTHING:
        raise UsageError(f"no example from number {at:,} on matches", do="choose another --source, --search or --at")
    if none:
        raise UsageError(f"there is no example {at:,}", do=f"there are {examples.total or 0:,}, counted from 0")


def _drawn(chosen: Iterator[Seen], total: int | None, save: Path | None = None, force: bool = False) -> Iterator[str]:
    """Each example as text, with an empty line after it."""
    console = Console(width=None if sys.stdout.isatty() else 200, highlight=False)
    for seen in chosen:
        saved = "".join(f"{name:<9} {one_line(str(place), 1000)}\n" for name, place in _saved(seen, save, force).items())
        yield draw(console, seen, total) + saved + "\n"


def _saved(seen: Seen, folder: Path | None, force: bool) -> dict[str, Any]:
    """Where the images were written; empty without a folder or images.

    Raises OutputError, and UsageError if another file has the name and `force` is not given.
    """
    images = images_of(seen) if folder is not None else []
    places = [_save(seen, name if len(images) > 1 else "", image, folder, force) for name, image in images if folder is not None]
    return {f"image {number}" if number else "image": str(place) for number, place in enumerate(places) if place is not None}


def _save(seen: Seen, name: str, image: ImageData, folder: Path, force: bool) -> Path | None:
    """Write one image; None if it cannot be decoded, which is noted on stderr."""
    try:
        extension, content = encoded(image)
    except ImageFault as fault:
        talk(f"note: the image of example {seen.number:,} cannot be used: {one_line(str(fault.reason))}")
        return None
    key = re.sub(r"[^A-Za-z0-9_-]", "_", seen.key)[:90] + re.sub(r"[^A-Za-z0-9_-]", "_", name and f"-{name}")[:60]
    path = folder / f"{seen.number:06d}-{key}.{extension}"
    if not location.is_folder(folder.parent):
        raise OutputError("there is no such folder", str(folder.parent), "make it first")
    make_folder(folder)
    if location.exists(path) and not force and location.read_bytes(path) != content:
        raise UsageError("another file is here already", str(path), "choose another folder, or replace it with --force")
    location.write_whole(path, content)
    return path


def _on_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM", "dumb") not in ("", "dumb")


def _serve(examples: Examples, title: str, port: int, at: int, only: Filter) -> None:
    """Serve pages until Ctrl-C; the printed address shows the requested examples."""
    from rt2data.look.view.pages import Query
    from rt2data.look.view.server import PageServer, Server

    server = Server(PageServer(examples, title), port)
    try:
        print(server.url + Query(at, only).address(at).removeprefix("/"), flush=True)
        talk("Ctrl-C ends it")
        server.serve_forever()
    finally:
        server.server_close()
