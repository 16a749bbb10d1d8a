"""The rules for conversations: turns that a template can render, a place for every image, and which answer becomes the target."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

from xxhash import xxh3_64_intdigest

from rt2data.errors import DataError
from rt2data.records import Example

IMAGE = "<image>"
"""The place of an image in the text of a turn."""


def conversation_fault(example: Example) -> tuple[str, str, str] | None:
    """Reason, place and detail of what is wrong with a conversation; None where nothing is, or it is a question with answers."""
    turns = example.turns
    if not turns:
        return None
    spoken = [turn for turn in turns if turn.role != "system"]
    order = [turn.role for turn in spoken]
    if any(turn.role == "system" for turn in turns[1:]) or order != ["user", "assistant"] * (len(spoken) // 2) or not spoken:
        return "turn_order", example.key, "roles are " + ", ".join(turn.role for turn in turns)
    if any(not turn.text.strip() for turn in spoken):
        return "blank_turn", example.key, f"turn {[not turn.text.strip() for turn in turns].index(True)}"
    if not any(turn.loss for turn in spoken if turn.role == "assistant"):
        return "no_loss", example.key, "no turn of the assistant has a loss"
    places = sum(turn.text.count(IMAGE) for turn in turns)
    if places != len(example.images):
        return "image_places", example.key, f"{places} places for {len(example.images)} images"
    return None


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
