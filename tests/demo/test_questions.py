"""Every answer is true: each question is parsed again and answered from the scene in another way."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from functools import lru_cache
from math import hypot
from random import Random

import numpy as np
import pytest

from rt2data.demo.corpora import make_scene
from rt2data.demo.draw import render, visible
from rt2data.demo.questions import WORDS, DemoQuestion, all_questions, annotate
from rt2data.demo.scene import TABLES, VIEWS, Scene, Thing

SCENES = range(1, 41)
every_scene = pytest.mark.parametrize("number", SCENES)


@lru_cache(maxsize=64)
def scene_of(number: int) -> Scene:
    return make_scene(0, number)[0]


def the(scene: Scene, name: str) -> Thing:
    """The only thing of this name; fails where the name could mean another."""
    (found,) = [thing for thing in scene.things if name in (thing.shape, f"{thing.color} {thing.shape}")]
    return found


def inside(scene: Scene, name: str) -> list[Thing]:
    """What is inside the outline of a thing, and higher than its foot."""
    holder = the(scene, name)
    near = [t for t in scene.things if hypot(t.x - holder.x, t.y - holder.y) < 0.02 and t.z > holder.z]
    return sorted(near, key=lambda t: t.z)[:1]


def column(scene: Scene, thing: Thing) -> float:
    """Where a thing is in an image of it alone: the middle of its columns, 0 left to 127 right."""
    alone, empty = (render(Scene(things, scene.table, scene.view), 128).astype(int) for things in ((thing,), ()))
    changed = np.abs(alone - empty).sum(axis=2) > 40
    return float(np.nonzero(changed)[1].mean())


def far(scene: Scene, thing: Thing) -> float:
    return float(np.linalg.norm(np.subtract((thing.x, thing.y, thing.z), VIEWS[scene.view].eye)))


def yes(true: bool) -> str:
    return "yes" if true else "no"


def count(scene: Scene, shape: str) -> int:
    return Counter(thing.shape for thing in scene.things)[shape]  # type: ignore[index]


def color_inside(scene: Scene, shape: str, where: str) -> str:
    (found,) = inside(scene, where)
    assert found.shape == shape
    return found.color


TRUTH: dict[str, Callable[..., str]] = {
    r"What color is the table\?": lambda s: TABLES[s.table],
    r"What color is the (\w+) (?:in|on) the ([\w ]+)\?": color_inside,
    r"What color is the (\w+)\?": lambda s, name: the(s, name).color,
    r"What is (?:in|on) the ([\w ]+)\?": lambda s, where: next((t.shape for t in inside(s, where)), "nothing"),
    r"Which is closer to the camera, the (\w+) or the (\w+)\?": lambda s, a, b: a if far(s, the(s, a)) < far(s, the(s, b)) else b,
    r"How many objects can you see\?": lambda s: str(len(s.things)),
    r"How many (\w+)s are there\?": lambda s, shape: str(count(s, shape)),
    r"How many (\w+) objects are there\?": lambda s, color: str(sum(t.color == color for t in s.things)),
    r"Is there an? (\w+) (\w+)\?": lambda s, color, shape: yes(any((t.color, t.shape) == (color, shape) for t in s.things)),
    r"Is the (\w+) empty\?": lambda s, name: yes(not inside(s, name)),
    r"Is the (\w+) (\w+)\?": lambda s, name, color: yes(the(s, name).color == color),
    r"Is the ([\w ]+) to the left of the ([\w ]+)\?": lambda s, a, b: yes(column(s, the(s, a)) < column(s, the(s, b)) - 5),
    r"Is the ([\w ]+) to the right of the ([\w ]+)\?": lambda s, a, b: yes(column(s, the(s, a)) > column(s, the(s, b)) + 5),
    r"Is the ([\w ]+) in front of the ([\w ]+)\?": lambda s, a, b: yes(far(s, the(s, a)) < far(s, the(s, b))),
    r"Are there more (\w+)s than (\w+)s\?": lambda s, a, b: yes(count(s, a) > count(s, b)),
}  # fmt: skip


def answered(scene: Scene, question: str) -> str:
    for pattern, truth in TRUTH.items():
        if found := re.fullmatch(pattern, question):
            return truth(scene, *found.groups())
    raise AssertionError(f"no way to answer {question!r}")


@every_scene
def test_every_question_that_could_be_asked_has_its_true_answer(number: int) -> None:
    scene = scene_of(number)
    asked = all_questions(scene)
    chosen = asked if len(asked) < 40 else Random(number).sample(asked, 40)
    assert {q.text: q.answer for q in chosen} == {q.text: answered(scene, q.text) for q in chosen}


def test_all_kinds_of_questions_come_up_in_fair_shares() -> None:
    asked = [question for number in range(1, 151) for question in make_scene(0, number)[1]]
    assert len(asked) == 450
    shares = Counter(question.answer_type for question in asked)
    assert all(0.2 < shares[kind] / 450 < 0.5 for kind in ("yes/no", "number", "other"))
    truths = Counter(question.answer for question in asked if question.answer_type == "yes/no")
    assert 0.35 < truths["yes"] / truths.total() < 0.65
    used = {pattern for question in asked for pattern in TRUTH if re.fullmatch(pattern, question.text)}
    assert used == set(TRUTH)


@every_scene
def test_everything_asked_about_can_be_seen(number: int) -> None:
    scene = scene_of(number)
    assert 3 <= len(scene.things) <= 7
    assert min(visible(scene)) >= 0.5
    assert sum(seen < 0.85 for seen in visible(scene)) <= 3  # what holds something


@every_scene
def test_questions_of_a_scene_are_different(number: int) -> None:
    _, asked, _ = make_scene(0, number)
    assert len({question.text for question in asked}) == 3


@pytest.mark.parametrize("seed", range(30))
def test_ten_answers_of_which_at_least_seven_are_the_true_one(seed: int) -> None:
    question = DemoQuestion("What color is the can?", "gray", "what color is the", "other", ("grey",))
    answers = annotate(question, Random(seed))
    assert len(answers) == 10
    assert answers.count("gray") >= 7
    assert set(answers) <= {"gray", "grey"}
    assert annotate(DemoQuestion("Is it?", "yes", "is", "yes/no"), Random(seed)) == ["yes"] * 10


def test_numbers_have_their_words() -> None:
    for number in SCENES:
        for question in all_questions(scene_of(number)):
            if question.answer_type == "number":
                assert question.also == (WORDS[int(question.answer)],)
