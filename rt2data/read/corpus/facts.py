"""Facts about corpora of rows in files, and what they mean."""

from __future__ import annotations

from collections.abc import Mapping

UNKNOWN_ROTATION = "vqa.unknown_rotation"
"""Images that `rotations` does not know: they are not turned."""
CROWDS, SMALL, OUTSIDE, CLIPPED, CUT = (f"grounding.{name}" for name in ("crowds", "small", "outside", "clipped", "cut"))
"""Boxes that stand for a crowd, are too small, or wholly outside of their image, which are left out; boxes of which the
part inside counts; boxes beyond `max_regions`."""
WORDS = {CROWDS: "for a crowd", SMALL: "too small", OUTSIDE: "outside of the image", CUT: "beyond max_regions"}


def left_out_line(facts: Mapping[str, int]) -> str:
    """Boxes of examples that are kept which were left out or made smaller; empty where none were."""
    said = [f"{facts[name]:,} {words}" for name, words in WORDS.items() if facts.get(name)]
    out = [f"left out {', '.join(said)}"] if said else []
    beyond = [f"of {facts[CLIPPED]:,} the part inside their image counts"] if facts.get(CLIPPED) else []
    return f"boxes: {'; '.join([*out, *beyond])}" if out or beyond else ""
