"""Turns statistics and images into a self-contained HTML page that needs no network and no other files.

The page runs two scripts of its own, named by their hashes in its Content-Security-Policy, and no other script.
All text goes through `figures.plain` and autoescape. The same reports give the same bytes.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from rt2data.io import location
from rt2data.look.report import charts, figures, ticks, views
from rt2data.look.report.episode import Film
from rt2data.look.report.images import Album, LostRow, Shot, Tint, fewer
from rt2data.look.stats.model import SourceStats, Stats

TEMPLATES = Path(__file__).parent / "templates"
MAX_BYTES = 10_000_000
MARK = b'<meta name="generator" content="rt2data report">'
"""A mark near the start of every page."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Provenance: commands that reproduce the data, and hashes that identify it."""

    commands: tuple[str, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    hashes: tuple[tuple[str, str], ...] = ()  # of files or stores
    recipe: str = ""  # as JSON


@dataclass(frozen=True, slots=True)
class Report:
    """One path's part of a page."""

    stats: Stats
    albums: tuple[Album, ...] = ()
    films: tuple[Film, ...] = ()
    lost: tuple[LostRow, ...] = ()
    origin: Origin = Origin()
    trimmed: bool = False  # images were dropped to keep the page small
    legends: Mapping[str, str] = field(default_factory=dict)  # meaning of the terminate word in a source's targets

    @property
    def seen(self) -> list[Shot]:
        """Images of rejected rows."""
        return [each.shot for each in self.lost if each.shot]

    def tint(self, source: SourceStats, camera: str) -> Tint | None:
        """Colours of a camera's images; None if not measured."""
        found = [a.tint for a in self.albums if (a.source, a.split, a.camera) == (source.name, source.split, camera)]
        return found[0] if found else None


def page_within(reports: Sequence[Report], limit: int = MAX_BYTES) -> bytes:
    """The page with as many images as fit: halves them until it is at most `limit` bytes long.

    A page without images may still be longer. Raises ValueError if there is nothing to report.
    """
    made = page(reports)
    while len(made) > limit and any(album.shots for report in reports for album in report.albums):
        reports = [replace(report, albums=tuple(fewer(report.albums)), trimmed=True) for report in reports]
        made = page(reports)
    return made


def page(reports: Sequence[Report]) -> bytes:
    """The whole page. Raises ValueError if there is nothing to report."""
    if not reports:
        raise ValueError("nothing to report")
    script, style = _text("page.js"), _text("page.css")
    made = _environment().get_template("page.html.j2").render(
        reports=reports,
        script=Markup(script),
        style=Markup(style),
        policy=_policy(script),
        embedded=embedded([report.stats for report in reports]),
    )  # fmt: skip
    return (made.rstrip() + "\n").encode()


def _policy(script: str) -> str:
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    allowed = f"img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    return f"default-src 'none'; {allowed}; base-uri 'none'; form-action 'none'"


def embedded(stats: Sequence[Stats]) -> Markup:
    """JSON that is safe inside a script element and in a terminal: no `<`, no invisible characters."""
    text = msgspec.json.encode(stats).decode()
    return Markup("".join(char if char.isprintable() and char not in "<>&" else _escaped(char) for char in text))


def _escaped(char: str) -> str:
    """A character as a JSON escape: a surrogate pair beyond U+FFFF."""
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))


def _text(name: str) -> str:
    return location.read_text(TEMPLATES / name)


@cache
def _environment() -> Environment:
    """A template environment that sanitizes and escapes all output except markup made here."""
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= FILTERS
    made.globals |= {"charts": charts, "ticks": ticks, "views": views}
    return made


def _finalize(value: Any) -> Any:
    return value if isinstance(value, Markup | int) else figures.plain(value)


FILTERS: dict[str, Callable[..., Any]] = {
    "whole": figures.whole,
    "real": figures.real,
    "percent": figures.percent,
    "amount": figures.amount,
    "duration": figures.duration,
    "plain": figures.plain,
    "sentence": figures.sentence,
}
