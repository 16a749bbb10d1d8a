"""Where the episodes of a record begin, and what marks the end of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from math import isfinite

from rt2data.records import End, Step


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
