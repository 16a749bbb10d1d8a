"""Facts about what is joined to a log."""

from __future__ import annotations

from rt2data.read.annotations.settings import NOTES

NOTED, BARE, KNOWN, UNLIKE = "steps.noted", "steps.bare", "episodes.known", "episodes.unlike"
LEFT = "left.episodes"
NAMED = 3
"""Episodes without annotations that each unit names."""


def fact(of: str, what: str) -> str:
    """The name of a fact: `steps.noted` and `steps.bare` of steps that are kept; of episodes `known`, `unknown`, `ambiguous` (two
    annotated ones are called so), `shared` (another of the log is called the same), `unusable`, `other_length`, and `unlike.KEY`
    for some that are not known; `left.steps` and `left.episodes` of annotations that no step has; `disputed` of notes with
    two texts, `too_long` of texts.
    """
    return f"{of}.{what}"


def matched(of: str, facts: dict[str, int], annotated: int) -> dict[str, int]:
    """The facts of a whole source: annotated episodes that the log has not are counted, and few of its own are named."""
    unlike = sorted(name for name in facts if name.startswith(fact(of, f"{UNLIKE}.")))
    found = {name: count for name, count in facts.items() if name not in unlike[NAMED:]}
    left = annotated - facts.get(fact(of, KNOWN), 0) if of == NOTES else 0
    return dict(sorted((found | ({fact(of, LEFT): left} if left > 0 else {})).items()))
