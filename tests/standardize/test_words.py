"""Words are judged step by step, as a template will clean them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rt2data.read.text import clean_text, is_blank
from rt2data.render.templates import TEMPLATES
from rt2data.standardize.words import placeholder
from tests.standardize.steps import episode, facts, found, lost, rows, source

BLANKS = ["", " ", "...", "_", "_ _", "?!", "\u200b", "\u3000", "--", "\x07"]


@pytest.mark.parametrize("blank", BLANKS)
def test_a_blank_step_is_dropped_and_no_other(blank: str) -> None:
    for words in ([blank, "lift", "lift", "lift"], ["lift", "lift", blank, "lift"]):
        steps = episode(words=words)
        assert [row.step for row in rows(steps)] == [at for at, text in enumerate(words) if text != blank]
        assert lost(steps) == {("blank_instruction", False): 1}


def test_blank_can_be_a_fault_or_kept() -> None:
    steps = episode(words=["lift", "...", "...", "lift"])
    assert lost(steps, blank_instruction="reject") == {("blank_instruction", True): 2}
    assert lost(steps, blank_instruction="keep") == {}


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=12))
def test_no_template_makes_an_empty_prompt_of_words_that_are_kept(text: str) -> None:
    if is_blank(clean_text(text)):
        return
    for template in TEMPLATES.values():
        slot = template.slot(template.robot_prompt(clean_text(text)), robot=True)
        assert slot


@pytest.mark.parametrize("text", ["7", "lift", "\u2191", "\u62ff", "+", "\U0001f44d"])
def test_signs_and_other_scripts_are_words(text: str) -> None:
    assert not is_blank(text)


def test_a_text_that_is_too_long_costs_its_own_steps() -> None:
    steps = episode(words=["lift", "x" * 40_000, "x" * 40_000, "lift"])
    assert lost(steps) == {("too_long_text", True): 2}
    reject = next(each for each in found(steps) if getattr(each, "reason", "") == "too_long_text")
    assert (reject.where, reject.detail) == ("episode e0 steps 1 to 2", "40000 characters")  # type: ignore[union-attr]


def test_the_filter_keeps_the_steps_that_match_and_comes_before_faults() -> None:
    steps = episode(5, words=["lift", "open", "", "x" * 40_000, "LIFT it"])
    settings = {"filters": {"instruction": "lift"}, "blank_instruction": "reject"}
    assert [row.step for row in rows(steps, **settings)] == [0, 4]
    assert lost(steps, **settings) == {("instruction_filter", False): 3}


def test_a_filter_that_is_no_expression_is_refused_with_the_recipe() -> None:
    with pytest.raises(ValueError, match="must be a regular expression"):
        source(filters={"instruction": "(lift"})


def test_an_episode_is_not_over_where_its_words_change() -> None:
    """What the filter leaves of an episode does not end where the task does."""
    steps = episode(words=["lift", "lift", "open", "open"])
    ends = [row.terminate for row in rows(steps, filters={"instruction": "lift"}, terminate="last_step")]
    assert ends == [False, False]
    assert [row.terminate for row in rows(steps, filters={"instruction": "open"}, terminate="last_step")] == [False, True]


PLACEHOLDERS = {
    "missing": ["None", "nan", "NULL", "n/a", "N/A.", "todo", "TODO:", "unknown"],
    "bytes": ["b'lift the cup'", 'b"lift"'],
    "field": ["put {object} on {}", "lift the <object>", "[TASK]"],
    None: ["lift none of them", "plan b", "turn on", "a < b", "say 'hello'"],
}


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in PLACEHOLDERS.items() for text in texts])
def test_placeholders_are_told_from_words(kind: str | None, text: str) -> None:
    assert placeholder(text) == kind


def test_placeholders_are_counted_and_kept() -> None:
    steps = episode(words=["None", "None", "put {object} down", "lift"])
    assert len(rows(steps)) == 4
    assert {name: count for name, count in facts(steps).items() if name.startswith("placeholder")} == {
        "placeholder.missing": 2,
        "placeholder.field": 1,
    }
