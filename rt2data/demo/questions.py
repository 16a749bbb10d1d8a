"""Questions about a scene with true answers, and what ten annotators write.

An asker yields every question of its kind that a person can answer from the image with certainty.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import permutations, product
from random import Random
from typing import Literal, NamedTuple

import numpy as np

from rt2data.demo.scene import COLORS, HOLDS, SIZES, TABLES, VIEWS, Scene, Thing, axes, project, support_of

AnswerType = Literal["yes/no", "number", "other"]

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven")
SYNONYMS: dict[str, tuple[str, ...]] = {
    "gray": ("grey",), "purple": ("violet",), "can": ("tin", "soda can"), "block": ("cube",), "ball": ("sphere",),
    "mug": ("cup",), "nothing": ("it is empty",), **{str(n): (word,) for n, word in enumerate(WORDS)},
}  # fmt: skip
TABLE_SYNONYMS: dict[str, tuple[str, ...]] = {
    "oak": ("tan", "light brown"), "walnut": ("dark brown",), "stone": ("grey",), "linen": ("off white",),
    "felt": ("light green",), "slate": ("light blue",),
}  # fmt: skip
ANSWERS = 10
CLEARLY = 0.14  # share of the image's width that things must be apart to be called left or right
NEARER = 0.06  # metres that one thing must be nearer to the camera


class DemoQuestion(NamedTuple):
    """A question, its true answer, and other true ways to say it. `type` is its beginning, as in VQAv2's question types."""

    text: str
    answer: str
    type: str
    answer_type: AnswerType
    also: tuple[str, ...] = ()


def _color_of(scene: Scene) -> Iterator[DemoQuestion]:
    for thing in _singles(scene):
        yield _other(f"What color is the {thing.shape}?", thing.color, "what color is the")


def _color_of_held(scene: Scene) -> Iterator[DemoQuestion]:
    for thing in scene.things:
        support = support_of(thing, scene.things)
        if support is not None and (place := _called(scene, support)):
            text = f"What color is the {thing.shape} {HOLDS[support.shape]} the {place}?"
            yield _other(text, thing.color, "what color is the")


def _color_of_table(scene: Scene) -> Iterator[DemoQuestion]:
    yield DemoQuestion("What color is the table?", TABLES[scene.table], "what color is the", "other", TABLE_SYNONYMS[scene.table])


def _what_is_held(scene: Scene) -> Iterator[DemoQuestion]:
    for support in scene.things:
        word, place = HOLDS.get(support.shape), _called(scene, support)
        held = [thing for thing in scene.things if support_of(thing, scene.things) is support]
        if word and place and (held or support.shape != "block"):
            answer = held[0].shape if held else "nothing"
            also = (held[0].name,) if held else ()
            yield _other(f"What is {word} the {place}?", answer, f"what is {word} the", also)


def _which_is_nearer(scene: Scene) -> Iterator[DemoQuestion]:
    for one, two in _pairs(scene):
        nearer = _nearer_by(scene, one, two)
        if abs(nearer) > NEARER and {one, two} <= set(_singles(scene)):
            first = (one if nearer > 0 else two).shape
            yield _other(f"Which is closer to the camera, the {one.shape} or the {two.shape}?", first, "which", (f"the {first}",))


def _how_many_of_shape(scene: Scene) -> Iterator[DemoQuestion]:
    counts = Counter(thing.shape for thing in scene.things)
    for shape in SIZES:
        if counts[shape] or shape == "mug":  # sometimes none
            yield _number(f"How many {shape}s are there?", counts[shape])


def _how_many_of_color(scene: Scene) -> Iterator[DemoQuestion]:
    for color, count in Counter(thing.color for thing in scene.things).items():
        yield _number(f"How many {color} objects are there?", count)


def _how_many(scene: Scene) -> Iterator[DemoQuestion]:
    yield _number("How many objects can you see?", len(scene.things))


def _is_there(scene: Scene) -> Iterator[DemoQuestion]:
    names = {thing.name for thing in scene.things}
    for color, shape in product({t.color: 0 for t in scene.things}, {t.shape: 0 for t in scene.things}):
        article = "an" if color[0] in "aeiou" else "a"
        kind = f"is there {article}"
        yield _yes_no(f"Is there {article} {color} {shape}?", f"{color} {shape}" in names, kind)


def _is_it_of_color(scene: Scene) -> Iterator[DemoQuestion]:
    for thing, color in product(_singles(scene), COLORS):
        yield _yes_no(f"Is the {thing.shape} {color}?", thing.color == color, "is the")


def _is_it_left(scene: Scene) -> Iterator[DemoQuestion]:
    for one, two in _pairs(scene):
        right = _across(scene, one) - _across(scene, two)
        if abs(right) > CLEARLY:
            names = _called(scene, one), _called(scene, two)
            yield _yes_no(f"Is the {names[0]} to the left of the {names[1]}?", right < 0, "is the")
            yield _yes_no(f"Is the {names[0]} to the right of the {names[1]}?", right > 0, "is the")


def _is_it_in_front(scene: Scene) -> Iterator[DemoQuestion]:
    for one, two in _pairs(scene):
        nearer = _nearer_by(scene, one, two)
        if abs(nearer) > NEARER and abs(_across(scene, one) - _across(scene, two)) < 0.5 * CLEARLY:
            yield _yes_no(f"Is the {_called(scene, one)} in front of the {_called(scene, two)}?", nearer > 0, "is the")


def _is_it_empty(scene: Scene) -> Iterator[DemoQuestion]:
    supports = {support_of(thing, scene.things) for thing in scene.things}
    for thing in scene.things:
        if thing.shape in ("bowl", "plate"):
            yield _yes_no(f"Is the {thing.shape} empty?", thing not in supports, "is the")


def _are_there_more(scene: Scene) -> Iterator[DemoQuestion]:
    counts = Counter(thing.shape for thing in scene.things)
    for one, two in permutations(counts, 2):
        if max(counts[one], counts[two]) > 1:
            yield _yes_no(f"Are there more {one}s than {two}s?", counts[one] > counts[two], "are there")


Asker = Callable[[Scene], Iterator[DemoQuestion]]
ASKERS: dict[AnswerType, dict[Asker, int]] = {
    "yes/no": {_is_there: 2, _is_it_of_color: 1, _is_it_left: 2, _is_it_in_front: 1, _is_it_empty: 1, _are_there_more: 1},
    "number": {_how_many_of_shape: 2, _how_many_of_color: 1, _how_many: 1},
    "other": {_color_of: 3, _color_of_held: 1, _color_of_table: 1, _what_is_held: 2, _which_is_nearer: 2},
}
"""The askers, and their relative frequency within an answer type."""
SHARES = {"yes/no": 0.38, "number": 0.22, "other": 0.40}


def ask(scene: Scene, count: int, rng: Random) -> tuple[DemoQuestion, ...]:
    """`count` different questions, each of a different kind."""
    found: dict[Asker, DemoQuestion] = {}
    while len(found) < count:
        (answer_type,) = rng.choices(list(ASKERS), list(SHARES.values()))
        (asker,) = rng.choices(list(ASKERS[answer_type]), list(ASKERS[answer_type].values()))
        choices = list(asker(scene))
        if choices:
            wanted = rng.choice(sorted({each.answer for each in choices}))  # rare answers as often as common ones
            found.setdefault(asker, rng.choice([each for each in choices if each.answer == wanted]))
    return tuple(found.values())


def all_questions(scene: Scene) -> list[DemoQuestion]:
    """Everything that could be asked about a scene."""
    return [question for each in ASKERS.values() for asker in each for question in asker(scene)]


def annotate(question: DemoQuestion, rng: Random) -> list[str]:
    """Ten answers: the true one, and at most three times another word for it."""
    other = rng.choice((0, 1, 2, 3)) if question.also else 0
    answers = [question.answer] * (ANSWERS - other) + [rng.choice(question.also) for _ in range(other)]
    rng.shuffle(answers)
    return answers


def _other(text: str, answer: str, kind: str, also: tuple[str, ...] = ()) -> DemoQuestion:
    return DemoQuestion(text, answer, kind, "other", (*SYNONYMS.get(answer, ()), *also))


def _number(text: str, count: int) -> DemoQuestion:
    return DemoQuestion(text, str(count), "how many", "number", SYNONYMS[str(count)])


def _yes_no(text: str, true: bool, kind: str) -> DemoQuestion:
    return DemoQuestion(text, "yes" if true else "no", kind, "yes/no")


def _singles(scene: Scene) -> list[Thing]:
    """Things that are unique in their shape."""
    counts = Counter(thing.shape for thing in scene.things)
    return [thing for thing in scene.things if counts[thing.shape] == 1]


def _called(scene: Scene, thing: Thing) -> str:
    """A name that fits no other thing; empty if there is none."""
    if thing in _singles(scene):
        return thing.shape
    alike = sum(other.name == thing.name for other in scene.things)
    return thing.name if alike == 1 else ""


def _pairs(scene: Scene) -> Iterator[tuple[Thing, Thing]]:
    """Ordered pairs of things that stand on the table and can be named."""
    standing = [t for t in scene.things if support_of(t, scene.things) is None and _called(scene, t)]
    return permutations(standing, 2)


def _across(scene: Scene, thing: Thing) -> float:
    """The horizontal position of its center in the image, 0 (left) to 1 (right)."""
    center = np.array([thing.x, thing.y, thing.z + thing.size.height / 2])
    return float(project(VIEWS[scene.view], center, 1)[0])


def _nearer_by(scene: Scene, one: Thing, two: Thing) -> float:
    """Metres by which `one` is nearer to the camera than `two`: by distance or by depth, whichever is less; 0 if uncertain."""
    camera = VIEWS[scene.view]
    seen = np.array([[thing.x, thing.y, thing.z] for thing in (two, one)]) - camera.eye
    by_distance, by_depth = (float(far[0] - far[1]) for far in (np.linalg.norm(seen, axis=1), seen @ axes(camera)[2]))
    return min(by_distance, by_depth, key=abs) if by_distance * by_depth > 0 else 0.0
