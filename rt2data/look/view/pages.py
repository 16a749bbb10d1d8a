"""Examples as pages for a browser: a grid, and one large. All text is escaped; nothing is loaded from anywhere else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from jinja2 import Environment, StrictUndefined, Template

from rt2data.look.inspect.examples import Examples, Film, Seen
from rt2data.look.view.search import Wanted, look_through
from rt2data.look.view.words import facts, figure, given, span
from rt2data.read.text import clean_text, one_line

GRID = 24
"""Pictures on a page."""
MOST = 20_000
"""Examples looked through for a page; more are looked through when asked for."""
FRAMES = 24
"""Pictures of a film strip, spread over the episode."""
SHOWN = 4000
"""Characters, and tokens, shown of one value."""


@dataclass(frozen=True)
class Asked:
    """What a page is to show."""

    start: int = 0
    source: str = ""
    kind: str = ""
    text: str = ""

    @staticmethod
    def of(query: Mapping[str, Sequence[str]]) -> Asked:
        """From the part of an address behind `?`. Raises ValueError for a number that is none."""
        words = {name: query.get(name, [""])[0][:200] for name in ("source", "kind", "text")}
        return Asked(max(int(query.get("start", ["0"])[0]), 0), **words)

    @property
    def wanted(self) -> Wanted:
        return Wanted(self.source, self.kind, self.text)

    def address(self, start: int) -> str:
        """The address of the page of the same filter that begins elsewhere."""
        said = {"start": start or "", "source": self.source, "kind": self.kind, "text": self.text}
        query = urlencode({name: value for name, value in said.items() if value})
        return f"/?{query}" if query else "/"


@dataclass(frozen=True)
class Grid:
    """What was found for a page, and where the next one begins; None at the end."""

    found: Sequence[Seen]
    looked: int
    following: int | None


def find(examples: Examples, asked: Asked) -> Grid:
    """The next examples that are wanted; few, where many must be looked through for them."""
    found: list[Seen] = []
    at = asked.start - 1
    for at, fits in look_through(examples, asked.wanted, range(asked.start, asked.start + MOST)):
        if fits:
            found.append(replace(examples.at(at, whole=False), picture=None))
        if len(found) == GRID:
            break
    ended = len(found) < GRID and at + 1 < asked.start + MOST
    last = ended or (examples.total is not None and at + 1 >= examples.total)
    return Grid(found, at + 1 - asked.start, None if last else at + 1)


def grid_page(examples: Examples, title: str, asked: Asked, nonce: str) -> str:
    """The grid, with its filter and its pages."""
    grid = find(examples, asked)
    before = max(asked.start - GRID, 0) if asked.wanted.anything else 0
    return _template().render(
        view="grid",
        title=one_line(title),
        nonce=nonce,
        asked=asked,
        home=asked.address(0),
        grid=grid,
        total=examples.total,
        sources=sorted(examples.sources),
        kinds=sorted(set(examples.sources.values())),
        earlier=asked.address(before) if asked.start else "",
        later=asked.address(grid.following) if grid.following is not None else "",
    )


def example_page(examples: Examples, title: str, seen: Seen, film: Film | None, nonce: str) -> str:
    """One example, large, and its episode where that is known."""
    number = seen.number
    return _template().render(
        view="example",
        title=one_line(title),
        nonce=nonce,
        seen=seen,
        answers=given(seen),
        facts=facts(seen),
        tokens=[(token.word or f"{token.id} ", token.id, token.in_loss) for token in seen.tokens[:SHOWN]],
        bars=[(dim, span(dim)) for dim in seen.action],
        figure=figure,
        frames=_frames(film, seen) if film else [],
        total=examples.total,
        earlier=f"/example/{number - 1}" if number else "",
        later=f"/example/{number + 1}" if examples.total is None or number + 1 < examples.total else "",
        here=f"/?start={number - number % GRID}",
    )


def _frames(film: Film, seen: Seen) -> list[dict[str, Any]]:
    """Steps of an episode, its first and last and the one asked about among them."""
    count = len(film.numbers)
    chosen = {i * (count - 1) // max(min(count, FRAMES) - 1, 1) for i in range(min(count, FRAMES))} | {film.here}
    own = not film.examples.sources.keys() ^ {seen.source} and film.numbers[film.here] == seen.number
    found = []
    for i in sorted(chosen):
        frame = film.examples.at(film.numbers[i], whole=False)
        label = frame.key if frame.step is None else str(frame.step)
        link = f"/example/{frame.number}" if own else ""
        found.append({"address": f"/frame/{seen.number}/{i}", "label": label, "here": i == film.here, "link": link})
    return found


def _clean(value: Any) -> Any:
    """Words without control characters and what turns the direction of writing; what the template made itself is left alone."""
    return clean_text(value) if type(value) is str else value


@lru_cache(maxsize=1)
def _template() -> Template:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_clean)
    return environment.from_string(Path(__file__).with_name("page.html").read_text("utf-8"))
