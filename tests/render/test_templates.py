"""Prompts as the papers and their code write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rt2data.errors import UsageError
from rt2data.render.templates import TEMPLATES, clean_instruction, find_template

LINES = st.text(st.characters(codec="utf-8"), max_size=60)


@pytest.mark.parametrize(
    ("name", "instruction", "prompt"),
    [
        ("rt2", "pick up the can", "Q: what action should the robot take to pick up the can? A:"),
        ("rt2", "  Pick_up the\tCan. ", "Q: what action should the robot take to Pick up the Can? A:"),
        ("rt2", "sort by {size} {0} {}", "Q: what action should the robot take to sort by {size} {0} {}? A:"),
        ("openvla", "Pick Cup.", "In: What action should the robot take to pick cup?\nOut: "),
        ("openvla", "open\nthe drawer?!", "In: What action should the robot take to open the drawer?\nOut: "),
    ],
)
def test_robot_prompts(name: str, instruction: str, prompt: str) -> None:
    assert find_template(name).robot_prompt(instruction) == prompt


@pytest.mark.parametrize(
    ("name", "question", "prompt"),
    [
        ("rt2", "what is this?", "Q: what is this? A:"),
        ("rt2", "what is this", "Q: what is this? A:"),
        ("rt2", "Describe the_image. ", "Q: Describe the_image. A:"),
        ("rt2", "{}?", "Q: {}? A:"),
        ("openvla", "What IS this?", "In: What IS this?\nOut: "),
        ("openvla", "a caption", "In: a caption\nOut: "),
    ],
)
def test_web_prompts(name: str, question: str, prompt: str) -> None:
    assert find_template(name).web_prompt(question) == prompt


@given(LINES)
def test_every_prompt_ends_with_its_cue(text: str) -> None:
    for template in TEMPLATES.values():
        for prompt, cue in ((template.robot_prompt(text), template.before_thoughts), (template.web_prompt(text), template.cue)):
            assert (prompt + template.gap).endswith(cue + " ")


@given(LINES)
def test_a_clean_instruction_is_clean(text: str) -> None:
    once = clean_instruction(text)
    assert clean_instruction(once) == once
    assert "_" not in once and "  " not in once and once == once.strip()
    assert not once.endswith((".", "?", "!"))


def test_facts_say_all_that_decides_a_prompt() -> None:
    for name, template in TEMPLATES.items():
        facts = template.facts()
        assert facts["name"] == name and facts["version"] >= 1
        assert {"words", "robot", "cue", "gap", "lower", "question_mark", "cleaning"} <= facts.keys()


def test_unknown_templates() -> None:
    with pytest.raises(UsageError, match="did you mean openvla"):
        find_template("open-vla")
    with pytest.raises(UsageError, match="choose one of rt2, openvla"):
        find_template("zzz")
