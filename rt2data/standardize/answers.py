"""Which of a question's answers become targets, which count as equal, and how much weight each has."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import lru_cache
from itertools import chain, combinations

from xxhash import xxh3_64_intdigest

from rt2data.errors import DataError
from rt2data.read.source import WebSource
from rt2data.records import Agreement, AnswerRule, Fact, Reject, Row

LONG, UNANSWERABLE = "long_answer", "unanswerable"
"""Why an answer is not a target, or why a question without any other answer is lost."""
DROPPED, FEW = "answers.dropped.", "answers.few"
"""Facts: answers that are not targets, by reason, of questions that are kept; `soft` questions with two to nine answers."""
NOT_ANSWERED = frozenset({"unanswerable", "unsuitable", "unsuitable image"})
"""What people answer if the picture does not show it, after normalization."""
PEOPLE = 10
"""Number of answers per question in VQA, which soft weights assume."""


# The rows of a question


def question_rows(row: Row, source: WebSource) -> Iterator[Row | Fact | Reject]:
    """The row of a question, or one per distinct answer, without answers that the source does not want as targets.

    Soft weights use all answers given, so rows for single answers keep them all.
    """
    distinct = distinct_answers(row.answers, source.agreement)
    if distinct and _unfit(distinct[0], source) == UNANSWERABLE:
        yield Reject(UNANSWERABLE, f"question {row.key}", distinct[0], fault=source.unanswerable == "reject")
        return
    offered = distinct if source.row_for_each_answer else row.answers
    fit = [not _unfit(answer, source) for answer in offered]
    if offered and not any(fit):
        yield Reject(LONG, f"question {row.key}", f"{len(offered)} answers, none of them short enough", fault=False)
        return
    yield from _rows(row, offered, fit, source)
    dropped = Counter(_unfit(answer, source) for answer, fits in zip(offered, fit, strict=True) if not fits)
    yield from (Fact(f"{DROPPED}{reason}", count) for reason, count in dropped.items())
    if source.answers == "soft" and 1 < len(_given(row.answers)) < PEOPLE:
        yield Fact(FEW)


def _rows(row: Row, offered: Sequence[str], fit: Sequence[bool], source: WebSource) -> Iterator[Row]:
    if source.row_for_each_answer:
        yield from (replace(row, key=f"{row.key}-a{pick}", pick=pick) for pick, fits in enumerate(fit) if fits)
    else:
        yield row if all(fit) else replace(row, answers=tuple(a for a, fits in zip(offered, fit, strict=True) if fits))


def _unfit(answer: str, source: WebSource) -> str:
    """Why the source does not want an answer as a target; empty if it does."""
    if source.unanswerable != "keep" and vqa_normalized(answer) in NOT_ANSWERED:
        return UNANSWERABLE
    words, size = source.max_answer_words, source.max_answer_bytes
    long = (words is not None and len(answer.split()) > words) or (size is not None and len(answer.strip().encode()) > size)
    return LONG if long else ""


# Choosing one


def choose_answer(
    answers: Sequence[str], rule: AnswerRule, key: str, epoch: int, pick: int, seed: int, agreement: Agreement = "case"
) -> str:
    """The answer of one row in one epoch.

    `majority` takes the most common answer; `sample` takes one of all given answers, uniform over (seed, key, epoch); a row made by
    `all` or `soft` says with `pick` >= 0 which distinct answer it stands for. Raises DataError if there is no answer, or no such
    pick.
    """
    if pick < 0 and rule == "sample":
        given = _given(answers)
        return given[_draw(seed, key, epoch, len(given))] if given else _missing(key, pick)
    distinct = distinct_answers(answers, agreement)
    place = 0 if pick < 0 and rule == "majority" else pick
    return distinct[place] if 0 <= place < len(distinct) else _missing(key, pick)


def distinct_answers(answers: Sequence[str], agreement: Agreement = "case") -> tuple[str, ...]:
    """Distinct answers by `agreement`, the most common first, then the first given.

    Each has its most common spelling, or the first of those. Blank answers are dropped.
    """
    spellings = Counter(_given(answers))
    if len(spellings) == 1:
        return tuple(spellings)
    groups: dict[str, list[str]] = {}
    for spelling in spellings:  # in order of first use, which sorting and max keep
        groups.setdefault(AGREE[agreement](spelling), []).append(spelling)
    ranked = sorted(groups.values(), key=lambda group: -sum(spellings[each] for each in group))
    return tuple(max(group, key=spellings.__getitem__) for group in ranked)


def consensus(answers: Sequence[str], answer: str, agreement: Agreement = "case") -> Fraction:
    """VQA's accuracy of an answer against ten people's answers: .3, .6, .9 if one, two, three gave it, 1 from four on.

    This is the mean of min(1, matches / 3) over the ten sets that leave one person out. A single answer gets 1, as there is nobody
    to agree; with other numbers of answers the same counts have the same weights.
    """
    given, agree = _given(answers), AGREE[agreement]
    if len(given) == 1:
        return Fraction(1)
    same = sum(agree(each) == agree(answer) for each in given)
    return min(Fraction(1), Fraction(3 * same, PEOPLE))


def _given(answers: Sequence[str]) -> list[str]:
    return [text for answer in answers if (text := answer.strip())]


def _draw(seed: int, key: str, epoch: int, n: int) -> int:
    return (xxh3_64_intdigest(f"{seed}/{epoch}/{key}".encode()) * n) >> 64


def _missing(key: str, pick: int) -> str:
    what = "no answer" if pick < 0 else f"no distinct answer number {pick}"
    raise DataError(f"a question with {what}", where=key, do="prepare the source again")


# VQA's normalization


@lru_cache(maxsize=65536)
def vqa_normalized(answer: str) -> str:
    """An answer as VQA's evaluation compares it: without punctuation, articles and case, numbers up to ten as digits.

    An answer of which nothing would remain is kept, in lower case.
    """
    plain = _LONE_PERIOD.sub("", _without_marks(" ".join(answer.split()))).lower()
    words = [_DIGITS.get(word, word) for word in plain.split()]
    return " ".join(_CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES) or answer.strip().lower()


def _without_marks(text: str) -> str:
    """Remove each mark that is next to a space anywhere, or all marks if a comma is between digits; turn others into spaces."""
    everywhere = _THOUSANDS.search(text) is not None
    return text.translate({ord(m): "" if everywhere or f"{m} " in text or f" {m}" in text else " " for m in _MARKS})


def _variants(contraction: str) -> Iterator[str]:
    """Every spelling with fewer apostrophes."""
    places = [at for at, letter in enumerate(contraction) if letter == "'"]
    some = chain.from_iterable(combinations(places, count) for count in range(1, len(places) + 1))
    return ("".join(letter for at, letter in enumerate(contraction) if at not in gone) for gone in some)


_MARKS = ';/[]"{}()=+\\_-><@`,?!'
_THOUSANDS = re.compile(r"\d,\d")
_LONE_PERIOD = re.compile(r"\.(?!\d)")
_ARTICLES = frozenset({"a", "an", "the"})
_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_DIGITS = {word: str(number) for number, word in enumerate(_NUMBERS)} | {"none": "0"}
_WRITTEN = """
ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd he'd've he's how'd
how'll how's i'd've i'm i've isn't it'd it'd've it'll ma'am might've mightn't mightn't've must've mustn't needn't not've o'clock
oughtn't shan't she'd've she's should've shouldn't shouldn't've somebody'd somebody'd've somebody'll somebody's someone'd
someone'd've someone'll someone's something'd something'd've something'll that'd that'd've that'll that's there'd there'd've
there're there's they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's what've
when's where'd where's where've who'd who'd've who'll who's who've why'll why're why's won't would've wouldn't wouldn't've y'all
y'all'd've y'all'll you'd you'd've you'll you're you've
"""
_CONTRACTIONS = {plain: whole for whole in _WRITTEN.split() for plain in _variants(whole)}
"""Contractions by their spellings without apostrophes, except where that is another word, such as `well`."""
AGREE: dict[Agreement, Callable[[str], str]] = {"case": str.lower, "vqa": vqa_normalized}
"""The form in which two agreeing answers are equal."""
