"""Where the episodes of a record begin, what marks the end of each, and which marks are believed.

A mark is believed only if it differs between the episodes of the source: `is_terminal` that is never set, or a reward that is
always 0, says nothing. So each row carries the marks of its episode, and they are judged when all are known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from rt2data.records import NO_MARKS, End, Step

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


def cut_at_first(record: list[Step]) -> list[list[Step]]:
    """The episodes of a record: a step with `is_first` behind one without begins another, with a name and steps of its own."""
    starts = [0, *(at for at, (before, step) in enumerate(pairwise(record), 1) if step.is_first and not before.is_first)]
    if len(starts) == 1:
        return [record]
    pieces = [record[start:stop] for start, stop in pairwise([*starts, len(record)])]
    return [_numbered(piece, number) for number, piece in enumerate(pieces)]


def _numbered(piece: list[Step], number: int) -> list[Step]:
    name = f"{piece[0].episode}-p{number}"
    return [replace(step, episode=name, step=at, steps=len(piece)) for at, step in enumerate(piece)]


def marks_of(episode: Sequence[Step]) -> End:
    """What the source says of the end of an episode."""
    last, rewarded = episode[-1], _rewarded(episode)
    found = End.TERMINAL if last.is_terminal else End.TRUNCATED
    if last.success is not None:
        found |= End.SUCCESS if last.success else End.FAILURE
    if rewarded is not None:
        found |= End.REWARDED if rewarded else End.UNREWARDED
    return found


def _rewarded(episode: Sequence[Step]) -> bool | None:
    """Whether a sparse reward (0 or one positive value) is given at the end; None where there is no such reward.

    RLDS leaves the reward of a last step undefined as it does the action, so the step before counts too. A dense reward, such as a
    distance, does not tell success from failure.
    """
    rewards = [step.reward for step in episode]
    known = {reward for reward in rewards if reward}
    if None in rewards or len(known) > 1 or not all(isfinite(reward) and reward > 0 for reward in known):
        return None
    return any(rewards[-2:])
