"""The answer of a row is a function of the row, the epoch and the seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rt2data.errors import DataError
from rt2data.read.vqav2.source import VQAv2
from rt2data.records import Agreement, Example, Fact, Reject, Row
from rt2data.standardize import standardize
from rt2data.standardize.answers import choose_answer, consensus, distinct_answers, vqa_normalized

ANSWERS = st.lists(st.sampled_from(["yes", "Yes", " yes", "no", "NO", "2", "a dog", "A dog", " "]), max_size=10)


@pytest.mark.parametrize(
    ("answers", "distinct"),
    [
        (("no", "yes", "yes"), ("yes", "no")),
        (("b", "a"), ("b", "a")),  # ties: as given
        (("Yes", "yes", "yes ", "no"), ("yes", "no")),  # the commonest spelling
        (("Yes", "yes"), ("Yes",)),  # ties: the first spelling
        (("no", "no", "Yes", "yes", "YES"), ("Yes", "no")),  # spellings count together
        (("", " ", "x"), ("x",)),
        ((), ()),
    ],
)
def test_distinct_answers(answers: tuple[str, ...], distinct: tuple[str, ...]) -> None:
    assert distinct_answers(answers) == distinct


@given(ANSWERS)
def test_distinct_answers_are_distinct_and_were_given(answers: list[str]) -> None:
    found = distinct_answers(answers)
    assert len({answer.lower() for answer in found}) == len(found)
    assert set(found) <= {answer.strip() for answer in answers}
    counts = Counter(answer.strip().lower() for answer in answers)
    ranks = [counts[answer.lower()] for answer in found]
    assert ranks == sorted(ranks, reverse=True)
    assert sum(ranks) == sum(1 for answer in answers if answer.strip())


@given(ANSWERS.filter(lambda answers: any(map(str.strip, answers))), st.integers(0, 9), st.integers())
def test_picks_are_distinct_answers(answers: list[str], epoch: int, seed: int) -> None:
    found = distinct_answers(answers)
    for pick, answer in enumerate(found):
        assert choose_answer(answers, "all", "k", epoch, pick, seed) == answer
    assert choose_answer(answers, "majority", "k", epoch, -1, seed) == found[0]
    assert choose_answer(answers, "sample", "k", epoch, -1, seed) in {answer.strip() for answer in answers}


def test_sampling_is_uniform_over_what_was_given_and_pinned() -> None:
    answers = ("yes", "yes", "yes", "no")
    keys = [f"q{i}" for i in range(4000)]
    chosen = [choose_answer(answers, "sample", key, 0, -1, 7) for key in keys]
    assert abs(chosen.count("no") - 1000) < 4 * (4000 * 0.25 * 0.75) ** 0.5
    assert chosen == [choose_answer(answers, "sample", key, 0, -1, 7) for key in keys]
    other = [choose_answer(answers, "sample", key, 1, -1, 7) for key in keys]
    assert 0.2 < sum(a != b for a, b in zip(chosen, other, strict=True)) / 4000 < 0.55  # 2 * 3/4 * 1/4 = 0.375
    letters = "".join(choose_answer("abcdefghij", "sample", key, 0, -1, 0) for key in keys[:16])
    assert letters == "hfjahagdaijfejgf"


@pytest.mark.parametrize(
    ("answers", "rule", "pick"),
    [((), "majority", -1), ((" ",), "sample", -1), (("a",), "all", -1), (("a",), "all", 1)],
)
def test_no_answer_is_an_error_with_the_key(answers: tuple[str, ...], rule: str, pick: int) -> None:
    with pytest.raises(DataError, match="q17"):
        choose_answer(answers, rule, "q17", 0, pick, 0)  # type: ignore[arg-type]


# Agreement, and soft weights


@pytest.mark.parametrize(
    ("answer", "normalized"),
    [
        ("Two", "2"),
        ("none", "0"),
        ("ten", "10"),
        ("eleven", "eleven"),
        ("The dog.", "dog"),
        ("a cat and an owl", "cat and owl"),
        ("dont know", "don't know"),
        ("couldnt've", "couldn't've"),
        ("well", "well"),  # not we'll
        ("1,000", "1000"),
        ("3.5", "3.5"),
        ("yes, sir", "yes sir"),  # beside a space it goes
        ("red/blue", "red blue"),  # between letters it becomes a space
        ("t-shirt", "t shirt"),
        ("what?", "what"),
        ("new\nyork", "new york"),
        ("The", "the"),  # never nothing
    ],
)
def test_vqa_normalization(answer: str, normalized: str) -> None:
    assert vqa_normalized(answer) == normalized


def test_answers_agree_as_vqa_counts_them_and_are_spelled_as_given() -> None:
    answers = ("The dog", "dog.", "dog.", "cat", "cat")
    assert distinct_answers(answers) == ("dog.", "cat", "The dog")
    assert distinct_answers(answers, "vqa") == ("dog.", "cat")
    assert choose_answer(("two", "2", "3", "3"), "majority", "k", 0, -1, 0, "vqa") == "two"


def leave_one_out(answers: list[str], answer: str) -> Fraction:
    """Accuracy as VQA's evaluation defines it: the mean over all sets without one person."""
    rest = [[given for other, given in enumerate(answers) if other != left] for left in range(len(answers))]
    return sum((min(Fraction(1), Fraction(others.count(answer), 3)) for others in rest), Fraction()) / len(answers)


@given(st.lists(st.sampled_from(["yes", "no", "2", "red", "blue"]), min_size=10, max_size=10))
def test_soft_weights_are_the_consensus_of_ten(answers: list[str]) -> None:
    for answer in {*answers, "green"}:
        assert consensus(answers, answer) == leave_one_out(answers, answer)


@pytest.mark.parametrize(
    ("answers", "answer", "agreement", "weight"),
    [
        (["x"], "x", "case", "1"),  # nobody was asked to agree
        (["x", "y"], "x", "case", "3/10"),
        (["x", "X ", "y"], "x", "case", "3/5"),
        (["two", "2", "Two.", "3"], "2", "case", "3/10"),
        (["two", "2", "Two.", "3"], "2", "vqa", "9/10"),
    ],
)
def test_soft_weights_by_hand(answers: list[str], answer: str, agreement: Agreement, weight: str) -> None:
    assert consensus(answers, answer, agreement) == Fraction(weight)


# What is no target


def rows(given: Sequence[str], /, **settings: Any) -> list[Row | Fact | Reject]:
    source = VQAv2.model_validate({"questions": "q", "annotations": "a", "image_dirs": ("i",), **settings})
    return list(standardize(source, [Example("q1", "i1", "train", "what?", tuple(given))]))


def kept(given: Sequence[str], /, **settings: Any) -> list[tuple[str, int, tuple[str, ...]]]:
    return [(row.key, row.pick, row.answers) for row in rows(given, **settings) if isinstance(row, Row)]


LOST = ["unanswerable", "unanswerable", "a red bus on a road", "bus"]


def test_what_a_recipe_does_not_mention_stays() -> None:
    assert kept(LOST) == [("q1", -1, tuple(LOST))]
    assert kept(LOST, answers="all") == kept(LOST, answers="soft") == [(f"q1-a{n}", n, tuple(LOST)) for n in range(3)]
    assert kept([]) == [("q1", -1, ())]


@pytest.mark.parametrize("fault", [False, True])
def test_a_question_that_cannot_be_answered_is_dropped_or_a_fault(fault: bool) -> None:
    for rule in ("majority", "sample", "all", "soft"):
        (reject,) = rows(LOST, answers=rule, unanswerable="reject" if fault else "drop")
        assert reject == Reject("unanswerable", "question q1", "unanswerable", fault)
    assert rows(["Unsuitable."] * 2, unanswerable="drop")[0] == Reject("unanswerable", "question q1", "Unsuitable.", False)


def test_an_unanswerable_answer_of_another_question_is_no_target() -> None:
    answers = ["bus", "bus", "unanswerable", "car"]
    assert rows(answers, unanswerable="drop")[1:] == [Fact("answers.dropped.unanswerable", 1)]
    assert kept(answers, unanswerable="drop") == [("q1", -1, ("bus", "bus", "car"))]
    assert kept(answers, answers="soft", unanswerable="drop") == [("q1-a0", 0, tuple(answers)), ("q1-a2", 2, tuple(answers))]


@pytest.mark.parametrize("limit", [{"max_answer_words": 2}, {"max_answer_bytes": 9}])
def test_long_answers_are_no_targets(limit: dict[str, int]) -> None:
    answers = ["a red bus on a road", "a red bus on a road", "bus", "red bus", "été à Orly"]  # of 10 characters, 12 bytes
    longest = 3
    assert kept(answers, **limit) == [("q1", -1, ("bus", "red bus"))]
    assert rows(answers, **limit)[1:] == [Fact("answers.dropped.long_answer", longest)]
    assert [pick for _, pick, _ in kept(answers, answers="all", **limit)] == [1, 2]
    (reject,) = rows(answers[:2], **limit)
    assert isinstance(reject, Reject)
    assert (reject.reason, reject.fault) == ("long_answer", False)


def test_questions_that_few_people_answered_are_counted() -> None:
    few = Fact("answers.few", 1)
    assert few in rows(["a"] * 9, answers="soft")
    assert few not in rows(["a"] * 10, answers="soft") + rows(["a"], answers="soft") + rows(["a"] * 9, answers="all")
