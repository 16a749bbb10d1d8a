"""The table of action codecs, and how a codec gets its bounds. A new codec is one class and one line."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from rt2data.errors import DataError, UsageError
from rt2data.io.words import choose
from rt2data.prepare.statistics import DimStats
from rt2data.read.action_space import ENDLESS, ActionSpace, Dim, too_narrow
from rt2data.render.codecs.codec import Codec
from rt2data.render.codecs.openvla import OpenVLA
from rt2data.render.codecs.rt1 import RT1
from rt2data.render.codecs.rt2 import RT2

__all__ = ["CODECS", "Codec", "codec_from_json", "make_codec"]

CODECS: dict[str, type[Codec]] = {
    RT2.name: RT2,
    OpenVLA.name: OpenVLA,
    RT1.name: RT1,
}

VAST = 1e6  # no action of a step is that large in any unit robots use


def make_codec(name: str, space: ActionSpace, stats: DimStats | None = None) -> Codec:
    """The codec with this name for an action space, with bounds from the space or from the statistics of its source.

    Raises UsageError for an unknown name, or if bounds need statistics that do not exist; DataError if the statistics have another
    number of dimensions or extreme values.
    """
    made = _codec_class(name)
    space = space.sized(stats.size) if stats else space
    if space.size is None:
        raise UsageError(f"action space {space.name} takes its number of dimensions from data, and there are none yet")
    resolved = [_resolve(dim, i, space, stats) for i, dim in enumerate(space.dims)]
    return made(
        space,
        tuple(bounds.lo for bounds in resolved),
        tuple(bounds.hi for bounds in resolved),
        tuple(bounds.note for bounds in resolved if bounds.note),
        tuple(i for i, bounds in enumerate(resolved) if bounds.minmax),
    )


def codec_from_json(found: Any) -> Codec:
    """The codec that `to_json` wrote. Raises DataError for anything else.

    Version 1 of `rt2` decoded to the left edge, as `rt1` does, and is read as `rt1`.
    """
    if not isinstance(found, dict) or found.get("name") not in CODECS:
        raise DataError("not an action codec of this release", do=f"known are {', '.join(CODECS)}")
    if (found["name"], found.get("version")) == (RT2.name, 1):
        found = found | {"name": RT1.name}
    return CODECS[found["name"]].from_json(found)


def _codec_class(name: str) -> type[Codec]:
    if name not in CODECS:
        known = list(CODECS)
        raise UsageError(f"no action codec is called {name!r}", do=choose(name, known))
    return CODECS[name]


class Bounds(NamedTuple):
    """Bounds of one dimension, and a note about them."""

    lo: float
    hi: float
    note: str = ""
    minmax: bool = False


def _resolve(dim: Dim, i: int, space: ActionSpace, stats: DimStats | None) -> Bounds:
    if dim.span is not None:
        return Bounds(*dim.span)
    if stats is None:
        raise UsageError(
            f"dimension {dim.name} of action space {space.name} is bounded by {dim.bounds}, and there are no statistics",
            do="prepare the source first, or give the dimension bounds = [lo, hi]",
        )
    whole = dim.bounds == "minmax"
    lo, hi = (stats.min[i], stats.max[i]) if whole else (stats.q01[i], stats.q99[i])
    if not too_narrow(lo, hi):
        return _moving(dim, lo, hi)._replace(minmax=whole)
    if stats.few_valued(i) and not too_narrow(stats.min[i], stats.max[i]) and stats.max[i] - stats.min[i] <= VAST:
        return Bounds(stats.min[i], stats.max[i], minmax=True)
    return _held(dim, lo / 2 + hi / 2, stats.min[i], stats.max[i])


def _moving(dim: Dim, lo: float, hi: float) -> Bounds:
    if not max(abs(lo), abs(hi)) < ENDLESS:
        raise DataError(f"dimension {dim.name} explodes: its values reach from {lo:g} to {hi:g}", do="mend or filter the source")
    return Bounds(lo, hi, f"dimension {dim.name} reaches from {lo:g} to {hi:g}: is that its unit?" if hi - lo > VAST else "")


def _held(dim: Dim, value: float, least: float, most: float) -> Bounds:
    """Holds a dimension that (almost) never moves at one value: scaled by its quantiles, noise would become full strokes."""
    value = float(np.float32(value))  # so that it decodes exactly, whatever the codec's arithmetic
    if not abs(value) < ENDLESS:
        raise DataError(f"dimension {dim.name} explodes: it is {value:g}", do="mend or filter the source")
    if too_narrow(least, most):
        return Bounds(value, value, f"dimension {dim.name} is constant: always encoded as {value:g}")
    note = (
        f"dimension {dim.name} is {value:g} in 98 % of the steps or more, though it reaches from {least:g} to {most:g}: "
        f"always encoded as {value:g}; give it bounds = [lo, hi] in the action space to keep what it does in the others"
    )
    return Bounds(value, value, note)
