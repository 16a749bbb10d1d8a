"""How episodes ended. A mark is believed only where the source as a whole tells ends apart: `is_terminal` that is never set, or a
reward that is always 0, says nothing. So each row carries the marks of its episode, and they are judged when all are known."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from rt2data.records import NO_MARKS, End

U8 = NDArray[np.uint8]


OPPOSITES = {End.SUCCESS: End.FAILURE, End.REWARDED: End.UNREWARDED, End.TERMINAL: End.TRUNCATED}
REQUIRED = "ends.required"
"""Fact: episodes of a recipe that must know which of them are successes."""

DROPPED = "ends.dropped"
"""Fact: episodes that lost the step that ends the task."""


def fact_name(mark: End) -> str:
    """The fact that counts episodes with this mark."""
    return f"ends.{(mark.name or '').lower()}"


def refuted(facts: Mapping[str, int]) -> End:
    """The marks that speak against success. A kind of mark counts where at least one episode has its positive form."""
    found = NO_MARKS
    for positive, negative in OPPOSITES.items():
        if facts.get(fact_name(positive)):
            found |= negative
    return found


def tells_success(facts: Mapping[str, int]) -> bool:
    """Whether the source says which episodes are successes: a success or a reward somewhere, or `is_terminal` that differs."""
    differs = all(facts.get(fact_name(mark)) for mark in (End.TERMINAL, End.TRUNCATED))
    return differs or any(facts.get(fact_name(mark)) for mark in (End.SUCCESS, End.REWARDED))


def succeeded(marks: U8, against: End) -> NDArray[np.bool_]:
    """bool[n]: marked a success, or nothing that is believed speaks against it. `against` is what `refuted` gives."""
    found: NDArray[np.bool_] = ((marks & int(End.SUCCESS)) != 0) | ((marks & int(against)) == 0)
    return found


def wanted(marks: U8, against: End) -> NDArray[np.bool_]:
    """bool[n]: rows to keep. Where the recipe wants successes only, an episode without a mark is none if others are marked."""
    labelled = ((marks & int(End.SUCCESS)) != 0) | (not against & End.FAILURE)
    found: NDArray[np.bool_] = ((marks & int(End.WANTED)) == 0) | (succeeded(marks, against) & labelled)
    return found
