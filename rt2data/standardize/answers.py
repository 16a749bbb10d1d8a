"""Which of the answers given to a question becomes the target."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

from xxhash import xxh3_64_intdigest

from rt2data.errors import DataError

AnswerRule = Literal["majority", "sample", "all"]


def choose_answer(answers: Sequence[str], rule: AnswerRule, key: str, epoch: int, pick: int, seed: int) -> str:
    """The answer of one row in one epoch.

    `majority` is the commonest answer; `sample` is one of all that were given, uniform over (seed, key, epoch); a row
    made by `all` says with `pick` >= 0 which distinct answer it stands for. Raises DataError where there is no answer,
    or no such pick.
    """
    if pick < 0 and rule == "sample":
        given = _given(answers)
        return given[_draw(seed, key, epoch, len(given))] if given else _missing(key, pick)
    distinct = distinct_answers(answers)
    place = 0 if pick < 0 and rule == "majority" else pick
    return distinct[place] if 0 <= place < len(distinct) else _missing(key, pick)


def distinct_answers(answers: Sequence[str]) -> tuple[str, ...]:
    """Answers that differ in more than case and outer white space, the commonest first, then the first given.

    Each is spelled as it most often is, then as it first is. Blank answers are dropped.
    """
    spellings = Counter(_given(answers))
    if len(spellings) == 1:
        return tuple(spellings)
    groups: dict[str, list[str]] = {}
    for spelling in spellings:  # in order of first use, which sorting and max keep
        groups.setdefault(spelling.lower(), []).append(spelling)
    ranked = sorted(groups.values(), key=lambda group: -sum(spellings[each] for each in group))
    return tuple(max(group, key=spellings.__getitem__) for group in ranked)


def _given(answers: Sequence[str]) -> list[str]:
    return [text for answer in answers if (text := answer.strip())]


def _draw(seed: int, key: str, epoch: int, n: int) -> int:
    return (xxh3_64_intdigest(f"{seed}/{epoch}/{key}".encode()) * n) >> 64


def _missing(key: str, pick: int) -> str:
    what = "no answer" if pick < 0 else f"no distinct answer number {pick}"
    raise DataError(f"a question with {what}", where=key, do="prepare the source again")
