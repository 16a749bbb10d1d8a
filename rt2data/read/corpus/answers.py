"""Reads the answers to a question in all the forms in which corpora write them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from rt2data.read.corpus.draft import RowFault, words

EXACT = 2**53
"""From this number on, floats cannot represent every integer."""
_VOTES = 10
"""How often the answer with the largest weight is repeated: VQA has ten answers per question, so weights are tenths."""


def answers_of(given: Any, max_bytes: int) -> tuple[tuple[str, ...], str]:
    """All non-blank answers, in order, and the fact to count for how they are written, or "".

    They may be a list of texts, numbers, or objects with `answer` (or else `raw_answer`); a single text or number; or an object of
    weights by answer. Raises RowFault: no_answers, bad_answer, bad_text, too_long_text.
    """
    written = ""
    if isinstance(given, dict):
        given, written = by_weight(list(given.items())), "answers.weights"
    elif given is not None and not isinstance(given, list | tuple):
        given = [given]
    found = [_answer(row) for row in given or ()]
    if not written and any(isinstance(answer, int | float) for answer in found):
        written = "answers.numbers"
    return _texts(found, max_bytes), written


def _texts(found: Iterable[Any], max_bytes: int) -> tuple[str, ...]:
    answers = tuple(text for answer in found if (text := words(_spelled(answer), max_bytes)).strip())
    if not answers:
        raise RowFault("no_answers")
    return answers


def by_weight(pairs: Sequence[tuple[str, Any]]) -> list[str]:
    """Each answer, repeated according to its weight, so that the most common answer and sampled answers follow the weights.

    Raises RowFault: bad_answer.
    """
    weights = [weight for _, weight in pairs]
    if not all(isinstance(weight, int | float) and not isinstance(weight, bool) and 0 <= weight < EXACT for weight in weights):
        raise RowFault("bad_answer", "an object whose values are not weights")
    if len({answer for answer, _ in pairs}) < len(pairs):
        raise RowFault("bad_answer", "an answer is given two weights")
    scale = _VOTES / max([1, *weights])
    return [answer for answer, weight in pairs if weight for _ in range(max(1, round(scale * weight)))]


def _answer(row: Any) -> Any:
    if not isinstance(row, dict):
        return row
    answer = row.get("answer")
    return row.get("raw_answer", "") if answer is None else answer


def _spelled(answer: Any) -> Any:
    """A number as text; whole numbers without a decimal point."""
    if isinstance(answer, float) and answer.is_integer() and abs(answer) < EXACT:
        return str(int(answer))
    return str(answer) if isinstance(answer, int | float) and not isinstance(answer, bool) else answer


# Multiple choice

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_LIST_AS_TEXT = re.compile(r"""\[\s*(['"]).*\1\s*\]""", re.DOTALL)


def choices_of(given: Any, max_bytes: int) -> tuple[str, ...]:
    """The options of a question. Raises RowFault: no_choices, bad_choices, bad_text, too_long_text."""
    if not given:
        raise RowFault("no_choices")
    if not isinstance(given, list | tuple) or not 2 <= len(given) <= len(LETTERS):
        raise RowFault("bad_choices", f"no list of 2 to {len(LETTERS)} options")
    found = tuple(words(_spelled(each), max_bytes).strip() for each in given)
    if not all(found):
        raise RowFault("bad_choices", "an option is blank")
    return found


def right_choice(choices: Sequence[str], correct: Any) -> int:
    """The position of the correct option, given as a number from 0, a letter or its text. Raises RowFault: bad_choice,
    ambiguous_choice.
    """
    if type(correct) is int:
        found = {correct} if 0 <= correct < len(choices) else set()
    else:
        text = correct.strip() if isinstance(correct, str) else None
        found = {number for number, choice in enumerate(choices) if choice == text}
        found |= {number for number in range(len(choices)) if LETTERS[number] == text}
    if not found:
        raise RowFault("bad_choice", f"{str(correct)[:40]!r} is none of {len(choices)} options")
    if len(found) > 1:
        raise RowFault("ambiguous_choice", f"{str(correct)[:40]!r} can be several options")
    return found.pop()


def require_no_list(answers: Iterable[str]) -> None:
    """Raises RowFault: bad_answer, if an answer is a list converted to text."""
    for answer in answers:
        if _LIST_AS_TEXT.fullmatch(answer.strip()):
            raise RowFault("bad_answer", f"a list as text: {answer[:40]}")
