"""Charts of counts as SVG: pure functions of numbers. Colours and sizes are set by the page's style sheet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isfinite, sqrt

from markupsafe import Markup, escape

from rt2data.look.report.figures import percent, plain, real, whole
from rt2data.look.stats.model import Camera, EncodedDimension

NONE = Markup()


@dataclass(frozen=True, slots=True)
class Tick:
    """A label on an axis."""

    at: float  # 0..1 along the axis
    label: str


def drawing(marks: Markup, title: str, desc: str, width: int, height: int, stretch: bool = False, look: str = "") -> Markup:
    """An SVG of the given size in units. `stretch` lets it fill its box; otherwise it keeps its proportions.

    Its first child is the title, which is its name; the description says in words what the drawing shows.
    """
    fit = Markup(' preserveAspectRatio="none"') if stretch else NONE
    box = f"0 0 {width} {height}"
    words = Markup("<title>{}</title><desc>{}</desc>").format(plain(title), plain(desc))
    return Markup('<svg role="img" class="{}" viewBox="{}"{}>{}{}</svg>').format(look, box, fit, words, marks)


def plot(area: Markup, x: Sequence[Tick] = (), y: Sequence[Tick] = (), look: str = "") -> Markup:
    """A stretched drawing between its axes. The labels are visual only: the description of the drawing has the same text."""
    left = join(_word(tick, "bottom") for tick in y)
    below = join(_word(tick, "left") for tick in x)
    return Markup(
        '<div class="plot {}"><div class="y" aria-hidden="true">{}</div>{}<div class="x" aria-hidden="true">{}</div></div>'
    ).format(look, left, area, below)


def _word(tick: Tick, side: str) -> Markup:
    """A label, kept inside the axis at its ends."""
    place = "first" if tick.at < 0.02 else "last" if tick.at > 0.98 else ""
    return Markup('<span class="{}" style="{}:{}%">{}</span>').format(place, side, short(100 * tick.at), plain(tick.label))


def join(parts: object) -> Markup:
    """Concatenated markup; anything else is escaped."""
    return NONE.join(map(escape, parts))  # type: ignore[call-overload]


def path(shape: str, look: str, more: Markup = NONE) -> Markup:
    """A path; nothing if there is no shape."""
    return Markup('<path class="{}" d="{}"{}/>').format(look, shape, more) if shape else NONE


def short(value: float) -> str:
    """A coordinate in few characters."""
    return f"{value:.2f}".rstrip("0").rstrip(".") or "0"


def rungs(places: Sequence[float], width: float, height: float) -> Markup:
    """Thin lines across, at shares of the height from below."""
    return path("".join(f"M0 {short(height * (1 - at))}H{short(width)}" for at in places), "rung")


# Counts

HIGH = 100  # units of a histogram's height
WIDE = 1000


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a stacked bar."""

    name: str
    look: str  # classes: side and shade
    value: float


def stacked(title: str, parts: Sequence[Part]) -> Markup:
    """One bar whose pieces have the proportions of their values; nothing if they add up to nothing."""
    total = sum(part.value for part in parts)
    marks, at = [], 0.0
    for part in parts:
        width = WIDE * part.value / total if total else 0.0
        if width:
            marks.append(path(f"M{short(at)} 0h{short(width)}v10h-{short(width)}z", f"piece {part.look}"))
        at += width
    said = ", ".join(f"{plain(part.name, 80)} {percent(part.value / total)}" for part in parts) if total else "nothing"
    return drawing(join(marks), title, said, WIDE, 10, stretch=True, look="stack")


def skyline(values: Sequence[float], top: float) -> str:
    """The outline of bars as wide as one unit, closed at the bottom; HIGH is the full height. Empty where all are 0."""
    if not any(values) or top <= 0:
        return ""
    shape, last = [f"M0 {HIGH}"], None
    for number, value in enumerate(values):
        height = short(HIGH * (1 - min(value / top, 1)))
        if height != last:
            shape.append(f"H{number}V{height}")
            last = height
    return "".join(shape) + f"H{len(values)}V{HIGH}z"


def bins(coded: EncodedDimension, unit: str, side: str = "robot") -> Markup:
    """How often each bin of a dimension occurs, with heights as square roots so that a single bin does not hide the others.

    The axis shows the values of the lowest and highest bins; marks at the ends show what was clipped.
    """
    counts, total = coded.bins, sum(coded.bins)
    roots = [sqrt(count) for count in counts]
    top = max(roots, default=0.0)
    marks = join([rungs((0.5, 1), len(counts), HIGH), path(skyline(roots, top), side), _clipped(coded, len(counts))])
    said = _said(coded, total)
    name = f"{plain(coded.name, 80)}: how often each of {len(counts)} bins is written"
    area = drawing(marks, name, said, max(len(counts), 1), HIGH, stretch=True, look="area")
    most = top * top / total if total else None
    rise = [Tick(0, "0"), Tick(0.5, percent(most / 4, 1)), Tick(1, percent(most, 1))] if most else []
    return plot(area, _bounds(coded, unit), rise, "bins")


def _bounds(coded: EncodedDimension, unit: str) -> list[Tick]:
    """Lowest, zero if it is well inside, highest."""
    zero = -coded.lo / (coded.hi - coded.lo) if coded.hi > coded.lo else -1.0
    middle = [Tick(zero, "0")] if 0.35 < zero < 0.65 else []
    return [Tick(0, real(coded.lo, 3)), *middle, Tick(1, f"{real(coded.hi, 3)} {plain(unit, 20)}".rstrip())]


def _clipped(coded: EncodedDimension, wide: int) -> Markup:
    """A bar at each end where values were clipped, as thick as the share: 1 % fills an eighth of the height."""
    marks = []
    for share, at in ((coded.clipped_low, 0.0), (coded.clipped_high, wide * 0.985)):
        if share > 0:
            height = min(HIGH, max(8.0, HIGH * share * 12.5))
            marks.append(path(f"M{short(at)} 0h{short(wide * 0.015)}v{short(height)}h-{short(wide * 0.015)}z", "clip"))
    return join(marks)


def _said(coded: EncodedDimension, total: int) -> str:
    used = sum(1 for count in coded.bins if count)
    most = max(range(len(coded.bins)), key=coded.bins.__getitem__, default=0)
    peak = percent(coded.bins[most] / total) if total else "none"
    return (
        f"Bins stand for {real(coded.lo)} to {real(coded.hi)}. {used} bins are used; bin {most} has {peak}. "
        f"Clipped low {percent(coded.clipped_low)}, high {percent(coded.clipped_high)}."
    )


def lengths(title: str, bars: Sequence[tuple[int, int]], side: str, unit: str, limit: int | None = None) -> Markup:
    """A histogram from (lowest of the bar, count); with a line at the limit, if any."""
    if not bars:
        return NONE
    step = _step([low for low, _ in bars])
    start, end = bars[0][0], bars[-1][0] + step
    last = max(end, limit + step) if limit is not None else end
    top = max(count for _, count in bars)
    marks = [rungs((0.5, 1), WIDE, HIGH), path(_bars(bars, step, start, last, top), side)]
    x = [Tick(0, whole(start)), Tick(1, f"{whole(last - 1 if step == 1 else last)} {plain(unit, 20)}")]
    if limit is not None:
        at = (limit - start) / (last - start)
        marks.append(path(f"M{short(WIDE * at)} 0V{HIGH}", "limit"))
        x += [Tick(at, f"limit {whole(limit)}")] if 0.2 < at < 0.75 else []
    count = sum(count for _, count in bars)
    most = max(bars, key=lambda bar: bar[1])
    said = f"{whole(count)} in all, from {whole(start)} to {whole(end - 1)} {plain(unit, 20)}; "
    said += f"most at {whole(most[0])}: {whole(most[1])}." + ("" if limit is None else f" The limit is {whole(limit)}.")
    y = [Tick(0, "0"), Tick(0.5, real(top / 2)), Tick(1, whole(top))]
    return plot(drawing(join(marks), title, said, WIDE, HIGH, stretch=True, look="area"), x, y, "lengths")


def _step(lows: Sequence[int]) -> int:
    """How wide the bars are."""
    return min((b - a for a, b in pairwise(lows) if b > a), default=1)


def _bars(bars: Sequence[tuple[int, int]], step: int, start: int, last: int, top: int) -> str:
    """All bars as one path, with a thin gap between them if there is space."""
    scale = WIDE / (last - start)
    hair = min(step * scale * 0.12, 3.0)
    shape = []
    for low, count in bars:
        height = HIGH * count / top if top else 0.0
        if height:
            left, width = scale * (low - start), scale * step - hair
            shape.append(f"M{short(left)} {HIGH}v-{short(height)}h{short(width)}v{short(height)}z")
    return "".join(shape)


def running(points: Sequence[tuple[int, float]], asked: float) -> Markup:
    """The running robot share, and the funnel within which it is off by at most 16 examples."""
    shown = [(n, share) for n, share in points if isfinite(share) and n > 0]
    if not shown:
        return NONE
    end, worst = shown[-1][0], max(abs(share - asked) for _, share in shown)
    reach = max(0.01, worst * 1.25, min(0.1, 128 / end))
    view = View(max(0.0, asked - reach), min(1.0, asked + reach), end)
    line = "M" + "L".join(view.point(n, share) for n, share in shown)
    marks = [rungs((0, 0.5, 1), WIDE, HIGH), path(_funnel(asked, view), "funnel"), path(line, "line robot")]
    said = f"Asked {percent(asked)}; after {whole(end)} examples {percent(shown[-1][1])}; at most {percent(worst)} away."
    area = drawing(join(marks), "Robot share of the examples read so far", said, WIDE, HIGH, stretch=True, look="area")
    levels = [Tick(at, percent(view.lo + (view.hi - view.lo) * at, 1)) for at in (0, 0.5, 1)]
    return plot(area, [Tick(0, "0"), Tick(0.5, whole(end / 2)), Tick(1, f"{whole(end)} examples")], levels, "running")


def _joints(values: Sequence[float]) -> Iterator[tuple[int, float, bool, bool]]:
    """Each finite number with its index, and whether there is one directly before and after it."""
    here = [False, *map(isfinite, values), False]
    return ((at, value, here[at], here[at + 2]) for at, value in enumerate(values) if here[at + 1])


def _high(value: float, lo: float, reach: float) -> float:
    return HIGH * (0.96 - 0.92 * min(max((value - lo) / reach, 0.0), 1.0))


@dataclass(frozen=True, slots=True)
class View:
    """The range of a chart of shares: from `lo` to `hi`, and the number of examples."""

    lo: float
    hi: float
    end: int

    def point(self, n: float, share: float) -> str:
        """Position of a share, clamped to the edges."""
        at = (share - self.lo) / (self.hi - self.lo)
        return f"{short(WIDE * n / self.end)} {short(HIGH * (1 - max(0.0, min(1.0, at))))}"


def _funnel(asked: float, view: View) -> str:
    """asked + 16/n and back along asked - 16/n."""
    places = [view.end * (k / 60) ** 2 for k in range(1, 61)]
    up = [view.point(n, asked + 16 / n) for n in places]
    down = [view.point(n, asked - 16 / n) for n in reversed(places)]
    return "M0 0L" + "L".join(up + down) + f"L0 {HIGH}z"


def curve(values: Sequence[float], lo: float, hi: float, title: str, side: str = "robot") -> Markup:
    """One dimension over the steps of an episode, between lo and hi; non-finite values leave a gap, isolated values are dots."""
    reach = hi - lo if hi > lo else 1.0
    shape = []
    for step, value, joined, goes_on in _joints(values):
        at = f"{short(WIDE * (step + 0.5) / len(values))} {short(_high(value, lo, reach))}"
        shape.append(f"L{at}" if joined else f"M{at}" if goes_on else f"M{at}h0")
    finite = [value for value in values if isfinite(value)]
    said = f"{len(values)} steps, from {real(min(finite))} to {real(max(finite))}" if finite else "no numbers"
    zero = rungs(((-lo / reach) * 0.92 + 0.04,), WIDE, HIGH) if lo < 0 < hi else NONE
    return drawing(join([zero, path("".join(shape), f"line {side}")]), title, said, WIDE, HIGH, stretch=True, look="curve")


# Two dimensions

LEVELS = 8
"""Shades of a map: each is one path, so a map of thousands of cells stays small."""


def heat(rows: Sequence[EncodedDimension], side: str = "robot") -> Markup:
    """One strip per dimension, one cell per bin, darker for more; the shade is the square root of the share in its row."""
    wide = max((len(row.bins) for row in rows), default=0)
    if not wide:
        return NONE
    shapes: list[list[str]] = [[] for _ in range(LEVELS + 1)]
    for number, row in enumerate(rows):
        _strip(row.bins, number * 10, shapes)
    marks = [_shade(shape, level, side) for level, shape in enumerate(shapes) if level]
    said = "; ".join(f"{plain(row.name, 60)} uses {sum(map(bool, row.bins))} of {len(row.bins)} bins" for row in rows)
    return drawing(join(marks), "Bins by dimension", said, wide, 10 * len(rows) - 1, stretch=True, look="heat")


def _strip(counts: Sequence[int], top: int, shapes: list[list[str]]) -> None:
    """Add a strip, drawing neighbouring cells of the same shade as one rectangle."""
    most = max(counts)
    levels = [_level(count / most) if most else 0 for count in counts]
    start = 0
    for at in range(1, len(levels) + 1):
        if at == len(levels) or levels[at] != levels[start]:
            shapes[levels[start]].append(f"M{start} {top}h{at - start}v9h-{at - start}z")
            start = at


def _level(share: float) -> int:
    """The shade: 0 for nothing, else 1..LEVELS."""
    return max(1, min(LEVELS, round(sqrt(share) * LEVELS))) if share > 0 else 0


def _shade(shapes: Sequence[str], level: int, side: str) -> Markup:
    return path("".join(shapes), f"{side} level{level}")


def matrix(names: Sequence[str], values: Sequence[Sequence[float]]) -> Markup:
    """Correlations as squares: filled with ink where positive, with the warning colour where negative; strength is shade."""
    if not names:
        return NONE
    shapes: dict[tuple[str, int], list[str]] = {}
    for down, row in enumerate(values):
        for across, value in enumerate(row):
            if isfinite(value) and (level := min(LEVELS, round(abs(value) * LEVELS))):
                key = ("plus" if value > 0 else "minus", level)
                shapes.setdefault(key, []).append(f"M{across * 10} {down * 10}h9v9h-9z")
    marks = [_shade(shape, level, sign) for (sign, level), shape in sorted(shapes.items())]
    size = 10 * len(names) - 1
    return drawing(join(marks), "Correlation of the dimensions", _strongest(names, values), size, size, look="matrix")


def _strongest(names: Sequence[str], values: Sequence[Sequence[float]]) -> str:
    """The three pairs with the strongest correlation."""
    pairs = [(values[b][a], a, b) for b in range(len(values)) for a in range(b) if isfinite(values[b][a])]
    first = sorted(pairs, key=lambda pair: (-abs(pair[0]), pair[1:]))[:3]
    strongest = ", ".join(f"{plain(names[a], 60)} and {plain(names[b], 60)} {real(round(value, 3))}" for value, a, b in first)
    return f"Strongest: {strongest}." if strongest else "There is one dimension only."


def sizes(cameras: Sequence[Camera], side: str) -> Markup:
    """Frames in the proportions and relative sizes of the images, on a common corner."""
    every = [(w, h, count) for camera in cameras for w, h, count in camera.sizes if w > 0 and h > 0]
    if not every:
        return NONE
    merged: dict[tuple[int, int], int] = {}
    for width, height, count in every:
        merged[width, height] = merged.get((width, height), 0) + count
    scale = 200 / max(max(size) for size in merged)
    tall = max(height for _, height in merged) * scale
    marks = [_frame(w * scale, h * scale, tall, count / max(merged.values()), side) for (w, h), count in sorted(merged.items())]
    common = sorted(merged.items(), key=lambda pair: (-pair[1], pair[0]))[:5]
    total = sum(merged.values())
    said = "; ".join(f"{w} by {h}: {whole(count)} ({percent(count / total)})" for (w, h), count in common)
    return drawing(join(marks), "Sizes of the images", said, 204, round(tall) + 4, look="frames")


def _frame(width: float, height: float, tall: float, often: float, side: str) -> Markup:
    shape = f"M2 {short(tall + 2 - height)}h{short(width)}v{short(height)}h-{short(width)}z"
    return path(shape, f"frame {side} level{_level(often)}")
