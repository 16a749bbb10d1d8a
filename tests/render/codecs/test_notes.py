"""What a plan says of codecs before anything is built: dimensions that are held, and terminate words that contradict each other."""

from __future__ import annotations

from fractions import Fraction

import msgspec
import numpy as np
import pytest

from rt2data.plan.model import SourcePlan
from rt2data.plan.plan import plan_source, warnings_of
from rt2data.plan.recipe import Recipe
from rt2data.plan.shares import SourceShare
from rt2data.plan.source_notes import source_notes
from rt2data.prepare.statistics import summarize
from rt2data.prepare.store import SplitInfo, StoreInfo
from rt2data.read.action_space import ActionSpace, Dim, load_space
from rt2data.records import Warn
from rt2data.render.codecs.table import CODECS, Codec, make_codec
from tests.contract.toy import ToyRobot

FLAG = Dim("stop", "discrete", (0.0, 1.0), terminates=1, continues=0)
INDEX = Dim("stop", "discrete", (0.0, 1.0), terminates=0, continues=1)


INFO = StoreInfo(
    version=3, tool_version="test", name="arm", kind="robot", source="toy_robot", settings={}, digest="0" * 32, camera="front",
    cameras=("front",), action_dim=4, state_dim=0, splits={"train": SplitInfo(100, 1, 0, 0, (100,), {})}, rejects=(),
    conversions={}, bytes_read=0,
)  # fmt: skip
SOURCE = ToyRobot(path="x", action_space="generic_nd")


def planned(name: str, codec: Codec) -> SourcePlan:
    drawn = plan_source(SourceShare(name, SOURCE, Fraction(1), Fraction(1), ()), INFO, "train", 100)
    return msgspec.structs.replace(drawn, codec=codec.to_json())


def notes(actions: np.ndarray) -> list[Warn]:
    codec = make_codec("rt2", load_space("generic_nd"), summarize(actions.astype(np.float32)))
    return [each for each in source_notes(SOURCE, INFO, planned("arm", codec)) if each.code == "held"]


def test_held_dimensions_are_told_before_a_build() -> None:
    actions = np.random.default_rng(0).normal(0, 1, (3000, 4))
    actions[:, 1] = 0.25
    actions[20:, 2] = 0
    (found,) = notes(actions)
    assert (found.level, found.source) == ("warning", "arm")
    assert "2 of 4 action dimensions are held" in found.what and "a_1 at 0.25, a_2 at 0" in found.what
    assert "bounds = [lo, hi]" in found.do


def test_a_rare_flag_is_not_held() -> None:
    actions = np.random.default_rng(0).normal(0, 1, (3000, 4))
    actions[:, 3] = np.arange(3000) == 7
    assert notes(actions) == []


def test_many_held_dimensions_are_counted() -> None:
    (found,) = notes(np.tile(np.arange(26.0), (100, 1)))
    assert "26 of 26" in found.what and found.what.endswith("and 18 more")


@pytest.mark.parametrize("name", CODECS)
def test_sources_of_opposite_raw_values_agree_in_the_plan(name: str) -> None:
    spaces = [ActionSpace("any", (Dim("x", bounds=(-1.0, 1.0)), each)) for each in (FLAG, INDEX)]
    sources = [planned(f"s{i}", make_codec(name, space)) for i, space in enumerate(spaces)]
    assert warnings_of(Recipe(robot_frac=1), sources) == ()


def test_terminate_words_that_contradict_each_other_are_an_error() -> None:
    space = load_space("metaworld")
    made = make_codec("rt2", space)
    other = type(made)(space, made.lo, made.hi, terminates=1)
    others = [planned(name, other) for name in ("two", "three", "four", "five")]
    (found,) = warnings_of(Recipe(robot_frac=1), [planned("one", made), *others])
    assert (found.code, found.level) == ("terminate_polarity", "error")
    assert "lower bin in one and the higher one in two, three, four, five" in found.what  # in the plan's order, every time
