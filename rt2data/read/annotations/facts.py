"""Facts about data joined to a log."""

from __future__ import annotations

from rt2data.read.annotations.settings import NOTES

NOTED, BARE, KNOWN, UNLIKE = "steps.noted", "steps.bare", "episodes.known", "episodes.unlike"
LEFT = "left.episodes"
NAMED = 3
"""Maximum episodes without annotations that a unit names."""


def fact(of: str, what: str) -> str:
    """The name of a fact. Kept steps: `steps.noted`, `steps.bare`. Episodes: `known`, `unknown`, `ambiguous` (two annotated ones
    have the name), `shared` (another in the log has the name), `unusable`, `other_length`, and `unlike.KEY` for some unknown ones.
    Annotations without a step: `left.steps`, `left.episodes`. Notes with two texts: `disputed`. Texts: `too_long`.
    """
    return f"{of}.{what}"


def matched(of: str, facts: dict[str, int], annotated: int) -> dict[str, int]:
    """The facts of a whole source: counts annotated episodes that are not in the log, and limits the unknown episodes named."""
    unlike = sorted(name for name in facts if name.startswith(fact(of, f"{UNLIKE}.")))
    found = {name: count for name, count in facts.items() if name not in unlike[NAMED:]}
    left = annotated - facts.get(fact(of, KNOWN), 0) if of == NOTES else 0
    return dict(sorted((found | ({fact(of, LEFT): left} if left > 0 else {})).items()))
