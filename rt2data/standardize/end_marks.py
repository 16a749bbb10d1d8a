"""Where the episodes of a record begin, what marks the end of each, and which marks to trust.

A kind of mark is trusted only if it differs between the episodes of the source: an `is_terminal` that is never set, or a reward
that is always 0, says nothing. So each row carries the marks of its episode, and they are judged once all are known.
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
"""Fact: episodes of a recipe that needs to know which episodes are successes."""

DROPPED = "ends.dropped"
"""Fact: episodes that lost the step that ends the task."""


def fact_name(mark: End) -> str:
    """The fact that counts episodes with this mark."""
    return f"ends.{(mark.name or '').lower()}"


def refuted(facts: Mapping[str, int]) -> End:
    """The marks that contradict success. A kind of mark counts if at least one episode has its positive form."""
    found = NO_MARKS
    for positive, negative in OPPOSITES.items():
        if facts.get(fact_name(positive)):
            found |= negative
    return found


def tells_success(facts: Mapping[str, int]) -> bool:
    """Whether the source says which episodes are successes: any success or reward, or an `is_terminal` that differs."""
    differs = all(facts.get(fact_name(mark)) for mark in (End.TERMINAL, End.TRUNCATED))
    return differs or any(facts.get(fact_name(mark)) for mark in (End.SUCCESS, End.REWARDED))


def succeeded(marks: U8, against: End) -> NDArray[np.bool_]:
    """bool[n]: marked a success, or no trusted mark contradicts it. `against` comes from `refuted`."""
    found: NDArray[np.bool_] = ((marks & int(End.SUCCESS)) != 0) | ((marks & int(against)) == 0)
    return found


def wanted(marks: U8, against: End) -> NDArray[np.bool_]:
    """bool[n]: rows to keep. If only successes are wanted and other episodes are marked, an episode without a mark is dropped."""
    labelled = ((marks & int(End.SUCCESS)) != 0) | (not against & End.FAILURE)
    found: NDArray[np.bool_] = ((marks & int(End.WANTED)) == 0) | (succeeded(marks, against) & labelled)
    return found


def cut_at_first(record: list[Step]) -> list[list[Step]]:
    """The episodes of a record: `is_first` after a step without it begins a new episode, with its own name and step numbers."""
    starts = [0, *(at for at, (before, step) in enumerate(pairwise(record), 1) if step.is_first and not before.is_first)]
    if len(starts) == 1:
        return [record]
    pieces = [record[start:stop] for start, stop in pairwise([*starts, len(record)])]
    return [_numbered(piece, number) for number, piece in enumerate(pieces)]


def _numbered(piece: list[Step], number: int) -> list[Step]:
    name = f"{piece[0].episode}-p{number}"
    return [replace(step, episode=name, step=at, steps=len(piece)) for at, step in enumerate(piece)]


def marks_of(episode: Sequence[Step]) -> End:
    """What the source says about the end of an episode."""
    last, rewarded = episode[-1], _rewarded(episode)
    found = End.TERMINAL if last.is_terminal else End.TRUNCATED
    if last.success is not None:
        found |= End.SUCCESS if last.success else End.FAILURE
    if rewarded is not None:
        found |= End.REWARDED if rewarded else End.UNREWARDED
    return found


def _rewarded(episode: Sequence[Step]) -> bool | None:
    """Whether a sparse reward (0 or one positive value) is given at the end; None if there is no such reward.

    RLDS leaves the reward of a last step undefined, like the action, so the step before counts too. A dense reward, such as a
    distance, does not distinguish success from failure.
    """
    rewards = [step.reward for step in episode]
    known = {reward for reward in rewards if reward}
    if None in rewards or len(known) > 1 or not all(isfinite(reward) and reward > 0 for reward in known):
        return None
    return any(rewards[-2:])
