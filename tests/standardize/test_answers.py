"""The answer of a row is a function of the row, the epoch and the seed."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rt2data.errors import DataError
from rt2data.standardize.conversation import choose_answer, distinct_answers

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
