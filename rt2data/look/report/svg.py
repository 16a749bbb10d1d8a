"""The ground of all charts: a drawing that a screen reader can name, and axes in HTML, whose words keep their size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from rt2data.look.report.figures import plain

NONE = Markup()


@dataclass(frozen=True, slots=True)
class Tick:
    """A word on an axis."""

    at: float  # 0..1 along the axis
    label: str


def drawing(marks: Markup, title: str, desc: str, width: int, height: int, stretch: bool = False, look: str = "") -> Markup:
    """An SVG of so many units. `stretch` fills whatever box it is put in; else it keeps its proportions.

    Its first child is the title, which is its name; the description says in words what the drawing shows.
    """
    fit = Markup(' preserveAspectRatio="none"') if stretch else NONE
    box = f"0 0 {width} {height}"
    words = Markup("<title>{}</title><desc>{}</desc>").format(plain(title), plain(desc))
    return Markup('<svg role="img" class="{}" viewBox="{}"{}>{}{}</svg>').format(look, box, fit, words, marks)


def plot(area: Markup, x: Sequence[Tick] = (), y: Sequence[Tick] = (), look: str = "") -> Markup:
    """A stretched drawing between its axes. Their words are for eyes: the drawing's description says the same."""
    left = join(_word(tick, "bottom") for tick in y)
    below = join(_word(tick, "left") for tick in x)
    return Markup(
        '<div class="plot {}"><div class="y" aria-hidden="true">{}</div>{}<div class="x" aria-hidden="true">{}</div></div>'
    ).format(look, left, area, below)


def _word(tick: Tick, side: str) -> Markup:
    """At the ends of an axis a word stays inside it."""
    place = "first" if tick.at < 0.02 else "last" if tick.at > 0.98 else ""
    return Markup('<span class="{}" style="{}:{}%">{}</span>').format(place, side, short(100 * tick.at), plain(tick.label))


def join(parts: object) -> Markup:
    """Markup, one after another; what is not markup is escaped."""
    return NONE.join(map(escape, parts))  # type: ignore[call-overload]


def path(shape: str, look: str, more: Markup = NONE) -> Markup:
    """A path; nothing where there is no shape."""
    return Markup('<path class="{}" d="{}"{}/>').format(look, shape, more) if shape else NONE


def short(value: float) -> str:
    """A coordinate in few characters."""
    return f"{value:.2f}".rstrip("0").rstrip(".") or "0"


def rungs(places: Sequence[float], width: float, height: float) -> Markup:
    """Thin lines across, at shares of the height from below."""
    return path("".join(f"M0 {short(height * (1 - at))}H{short(width)}" for at in places), "rung")
