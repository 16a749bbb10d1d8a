"""What is said before an action: as the papers have it, with loss, and some of it left out by a keyed choice."""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from rt2data.records import Note, Rows
from rt2data.render.fields import loss_mask
from rt2data.render.reasoning import Dropout, lead_of
from rt2data.render.templates import find_template
from rt2data.render.tokenizer import Tokenizer
from tests.render import tiny
from tests.render.test_renderer import BYTE, renderer, robot_rows, web_rows


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tokenizer]:
    return tiny.kinds(tmp_path_factory.mktemp("tokenizers"))


NOTES = (
    Note("task", "Get the can."),
    Note("plan", "pick the can."),
    Note("bboxes", "can [1, 2, 3, 4]"),
    Note("subtask", "reach it"),
    Note("move", "move left"),
    Note("mood", "cheerful"),
)
ECOT = "TASK: Get the can. PLAN: pick the can. VISIBLE OBJECTS: can [1, 2, 3, 4] SUBTASK: reach it MOVE: move left ACTION:"


def noted(*notes: tuple[Note, ...] | None) -> Rows:
    n = len(notes)
    rows = robot_rows(["Bring me a can."] * n, [[128, 91, 255]] * n)
    return dataclasses.replace(rows, notes=list(notes), keys=[f"k{number}" for number in range(n)])


@pytest.mark.parametrize(
    ("template", "notes", "prompt", "target"),
    [
        ("rt2_plan", NOTES, "Instruction: Bring me a can.", "Plan: pick the can. Action: 1 128 91 255"),
        ("rt2_plan", NOTES[3:], "Instruction: Bring me a can.", "Plan: reach it. Action: 1 128 91 255"),
        ("rt2_plan", None, "Instruction: Bring me a can.", "Action: 1 128 91 255"),
        ("ecot", NOTES, None, f"{ECOT} 1 128 91 255"),
        ("ecot", None, None, "ACTION: 1 128 91 255"),
        ("rt2", NOTES, "Q: what action should the robot take to Bring me a can? A:", "1 128 91 255"),
    ],
)
def test_texts_and_loss(template: str, notes: tuple[Note, ...] | None, prompt: str | None, target: str) -> None:
    made = renderer(template=template).render(noted(notes))
    assert prompt is None or made.prompts[0] == prompt
    assert made.targets[0] == target and made.messages[0][1].content == target
    ids, mask = list(made.input_ids[0]), loss_mask(tuple(made.spans[0]))
    learned = [each for each, loss in zip(ids, mask, strict=True) if loss]
    assert BYTE.decode(learned) == f" {target}</s>"
    assert BYTE.decode(ids) == f"{made.prompts[0]} {target}</s>"


def test_ecot_asks_as_openvla_does() -> None:
    prompt = renderer(template="ecot").render(noted(NOTES)).prompts[0]
    assert prompt.endswith("USER: What action should the robot take to bring me a can? ASSISTANT:")


def test_questions_of_these_templates_are_those_of_their_families() -> None:
    rows = web_rows(["is it red"], [("no", "yes", "yes")])
    assert renderer(template="rt2_plan").render(rows).prompts == ["Q: is it red? A:"]
    assert renderer(template="ecot").render(rows).prompts[0].endswith("USER: is it red ASSISTANT:")
    assert renderer(template="ecot").render(rows).targets == ["yes"]


@pytest.mark.parametrize("template", ["rt2_plan", "ecot"])
@pytest.mark.parametrize("words", ["digits", "last_n"])
def test_ids_are_those_of_the_whole_text(kinds: dict[str, Tokenizer], template: str, words: Any) -> None:
    for name in ("llama", "byte level"):
        made = renderer(kinds[name], template, words)
        rendered = made.render(noted(NOTES, None, NOTES[1:]))
        tokenizer = kinds[name]
        begin = [tokenizer.bos_id] if tokenizer.bos_id is not None else []
        for at in range(3):
            whole = tokenizer.encode(f"{rendered.prompts[at]} {rendered.targets[at]}")
            assert list(rendered.input_ids[at]) == [*begin, *whole, tokenizer.eos_id]


def test_a_share_is_left_out_by_key_and_epoch() -> None:
    template, dropout = find_template("ecot"), Dropout(Fraction(3, 10), 7)
    said = [lead_of(template, NOTES, f"k{key}", epoch, dropout) for key in range(400) for epoch in range(3)]
    parts = sum(lead.count("TASK:") - lead.count("SUBTASK:") + lead.count("MOVE:") for lead in said)
    assert abs(parts / (2 * len(said)) - 0.7) < 0.03
    assert said == [lead_of(template, NOTES, f"k{key}", epoch, dropout) for key in range(400) for epoch in range(3)]
    assert len({lead_of(template, NOTES, "k1", epoch, dropout) for epoch in range(20)}) > 5
    assert lead_of(template, NOTES, "k1", 0, Dropout()) == ECOT
    assert lead_of(template, NOTES, "k1", 0, Dropout(Fraction(1))) == "ACTION:"


def test_batches_change_nothing() -> None:
    made = renderer(template="ecot", dropout=Dropout(Fraction(1, 2), 3))
    rows = dataclasses.replace(noted(*[NOTES] * 6), epochs=np.arange(6))
    whole = made.render(rows)
    for at in range(6):
        one = dataclasses.replace(noted(NOTES), keys=[rows.keys[at]], epochs=rows.epochs[at : at + 1])
        assert made.render(one).targets == [whole.targets[at]]
    assert len(set(whole.targets)) > 1
