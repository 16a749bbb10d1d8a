"""Examples as HTML pages: a grid, and one example. All text is escaped; nothing is loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from jinja2 import Environment, StrictUndefined, Template

from rt2data.io import location
from rt2data.look.inspect.examples import Examples, FilmStrip, Seen
from rt2data.look.view.select import EVERYTHING, Filter, image_size, images_of
from rt2data.look.view.terminal import SHOWN_ACTIONS, facts, figure, other_answers, span
from rt2data.read.text import clean_text, one_line

GRID = 24  # images on a page
MOST = 20_000  # examples searched for a page; the next page searches on
FRAMES = 24  # images of a film strip, spread over the episode
SHOWN = 4000  # tokens shown


@dataclass(frozen=True)
class Query:
    """What a page of the grid shows."""

    start: int = 0
    filter: Filter = EVERYTHING

    @staticmethod
    def of(query: Mapping[str, Sequence[str]]) -> Query:
        """Parse the part of an address after `?`. Raises ValueError for a bad number."""
        source, kind, text = (query.get(name, [""])[0][:200] for name in ("source", "kind", "text"))
        return Query(max(int(query.get("start", ["0"])[0]), 0), Filter(source, kind, text))

    def address(self, start: int) -> str:
        """The address of the page with the same filter that starts at `start`."""
        values = {"start": start or "", "source": self.filter.source, "kind": self.filter.kind, "text": self.filter.text}
        query = urlencode({name: value for name, value in values.items() if value})
        return f"/?{query}" if query else "/"


@dataclass(frozen=True)
class Grid:
    """The examples of a page, how many were searched, and where the next page starts; None at the end."""

    found: Sequence[Seen]
    searched: int
    following: int | None


def find(examples: Examples, query: Query) -> Grid:
    """The next examples that match, among the next 20,000."""
    found: list[Seen] = []
    at = query.start - 1
    for at, matches in query.filter.scan(examples, range(query.start, query.start + MOST)):
        if matches:
            found.append(replace(examples.at(at, whole=False), images=()))
        if len(found) == GRID:
            break
    ended = len(found) < GRID and at + 1 < query.start + MOST
    last = ended or (examples.total is not None and at + 1 >= examples.total)
    return Grid(found, at + 1 - query.start, None if last else at + 1)


def grid_page(examples: Examples, title: str, query: Query, nonce: str) -> str:
    """The grid, with its filter and links to other pages."""
    grid = find(examples, query)
    unfiltered = query.filter == EVERYTHING
    return _template().render(
        view="grid",
        title=one_line(title),
        nonce=nonce,
        query=query,
        unfiltered=unfiltered,
        grid=grid,
        total=examples.total,
        sources=sorted(examples.sources),
        kinds=sorted(set(examples.sources.values())),
        previous=query.address(max(query.start - GRID, 0) if unfiltered else 0) if query.start else "",
        next=query.address(grid.following) if grid.following is not None else "",
    )


def example_page(examples: Examples, title: str, seen: Seen, film: FilmStrip | None, nonce: str) -> str:
    """One example, and its episode if known."""
    number = seen.number
    return _template().render(
        view="example",
        title=one_line(title),
        nonce=nonce,
        seen=seen,
        images=[(name, _drawn(seen, number)) for number, (name, _) in enumerate(images_of(seen))],
        answers=other_answers(seen),
        facts=facts(seen),
        tokens=[(token.word or f"{token.id} ", token.id, token.in_loss) for token in seen.tokens[:SHOWN]],
        chunk=seen.chunk[:SHOWN_ACTIONS],
        bars=[(dim, span(dim)) for dim in seen.action],
        figure=figure,
        frames=_frames(film, seen) if film else [],
        total=examples.total,
        previous=f"/example/{number - 1}" if number else "",
        next=f"/example/{number + 1}" if examples.total is None or number + 1 < examples.total else "",
        grid_address=f"/?start={number - number % GRID}",
    )


def _drawn(seen: Seen, number: int) -> dict[str, Any] | None:
    """The overlay of an image, in pixels; None if it has no regions."""
    regions = [region for region in seen.regions if region.image == number]
    size = image_size(seen.images[number][1]) if regions else None
    if size is None:
        return None
    (width, height), shapes = size, []
    for region in regions:
        x0, y0, *corner = (value * side for value, side in zip(region.coords, (width, height) * 2, strict=False))
        x1, y1 = corner or (x0, y0)
        shapes.append({"x": x0, "y": y0, "width": x1 - x0, "height": y1 - y0, "label": region.label})
    return {"width": width, "height": height, "shapes": shapes, "radius": max(width, height) / 80}


def _frames(film: FilmStrip, seen: Seen) -> list[dict[str, Any]]:
    """Steps of an episode, among them its first, its last and the one on the page."""
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
    """Text without control characters and direction overrides; the template's own markup is unchanged."""
    return clean_text(value) if type(value) is str else value


@lru_cache(maxsize=1)
def _template() -> Template:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_clean)
    return environment.from_string(location.read_text(Path(__file__).with_name("page.html")))
