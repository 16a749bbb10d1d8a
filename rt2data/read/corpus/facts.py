"""Facts about corpora of rows, and what they mean."""

from __future__ import annotations

from collections.abc import Mapping

UNKNOWN_ROTATION = "vqa.unknown_rotation"
"""Images not listed in `rotations`: they are not rotated."""
CROWDS, SMALL, OUTSIDE, CLIPPED, CUT = (f"grounding.{name}" for name in ("crowds", "small", "outside", "clipped", "cut"))
"""Boxes left out because they mark a crowd, are too small, or lie wholly outside the image; boxes clipped to the image; boxes
beyond `max_regions`."""
WORDS = {CROWDS: "for a crowd", SMALL: "too small", OUTSIDE: "outside of the image", CUT: "beyond max_regions"}


def left_out_line(facts: Mapping[str, int]) -> str:
    """A line on the boxes that were left out or clipped in kept examples; empty if none were."""
    said = [f"{facts[name]:,} {words}" for name, words in WORDS.items() if facts.get(name)]
    out = [f"left out {', '.join(said)}"] if said else []
    beyond = [f"of {facts[CLIPPED]:,} the part inside their image counts"] if facts.get(CLIPPED) else []
    return f"boxes: {'; '.join([*out, *beyond])}" if out or beyond else ""
