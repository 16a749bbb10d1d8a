"""Fractions are read exactly as they are written."""

from __future__ import annotations

import pickle
import sys
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from fractions import Fraction
from functools import partial
from threading import Barrier
from typing import Any, ClassVar, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rt2data.read.conversions import Conversions
from rt2data.read.rlds.source import RLDS
from rt2data.settings import Settings, Share, frozen_lists, parse_fraction

decimals = st.decimals(0, 10**6, allow_nan=False, places=9)


@given(st.integers(0, 10**12), st.integers(1, 10**12))
def test_a_ratio_is_exact(over: int, under: int) -> None:
    assert parse_fraction(f"{over}/{under}") == parse_fraction(f" {over} / {under} ") == Fraction(over, under)


@given(decimals)
def test_a_decimal_and_a_percentage_are_exact(number: Decimal) -> None:
    assert parse_fraction(f"{number:f}") == Fraction(number)
    assert parse_fraction(f"{number:f}%") == parse_fraction(f"{number:f} %") == Fraction(number) / 100


@given(decimals)
def test_a_float_counts_as_it_prints(number: Decimal) -> None:
    assert parse_fraction(float(number)) == Fraction(str(float(number)))


@given(st.fractions(0, 10**6, max_denominator=10**9))
def test_what_we_write_reads_back(fraction: Fraction) -> None:
    assert parse_fraction(str(fraction)) == parse_fraction(fraction) == fraction


def test_tenths_add_up_to_one() -> None:
    assert sum(parse_fraction(0.1) for _ in range(10)) == 1


ODD_TEXT = ["nan", "inf", "1e3", "1e400", "1E5", "012", "0x10", "1_000", "1:30", "no", "%", "1/0", "50%%", "1/2/3", "½", "٣"]


@pytest.mark.parametrize("odd", [*ODD_TEXT, "", float("nan"), float("inf"), True, None, (1,), "9" * 5000, 1e300, 1e-300])
def test_anything_else_is_refused(odd: Any) -> None:
    with pytest.raises(ValueError, match=r"^must be a"):
        parse_fraction(odd)


class Box(Settings):
    """A setting of before, and two that came later."""

    later: ClassVar[frozenset[str]] = frozenset({"lid", "labels"})

    size: int = 1
    lid: Literal["open", "shut"] = "open"
    labels: tuple[str, ...] = ()


class Shelf(Settings):
    boxes: dict[str, Box]


@pytest.mark.parametrize(
    ("asked", "written"),
    [
        ({}, {"size": 1}),
        ({"size": 1, "lid": "open", "labels": ()}, {"size": 1}),
        ({"lid": "shut"}, {"size": 1, "lid": "shut"}),
        ({"size": 2, "labels": ("a",)}, {"size": 2, "labels": ["a"]}),
    ],
)
def test_settings_that_came_later_are_written_where_they_say_something(asked: dict[str, Any], written: dict[str, Any]) -> None:
    box = Box(**asked)
    assert box.model_dump(mode="json") == written
    assert Shelf(boxes={"a": box}).model_dump(mode="json") == {"boxes": {"a": written}}
    assert Box.model_validate(frozen_lists(written)) == box
    assert box.model_dump(mode="json", exclude={"size"}) == {name: value for name, value in written.items() if name != "size"}


def test_a_source_is_written_as_before() -> None:
    """These keys, and their order, are part of the names of stores that there are."""
    plain = RLDS(path="/x", action_space="widowx_bridge")
    assert list(plain.prepare_settings()) == [
        *("holdout", "images", "max_text_bytes", "action_space", "camera", "cameras", "history", "gripper_open", "terminate"),
        *("blank_instruction", "bad_step", "filters", "kind", "path", "splits", "action", "state", "instruction", "success"),
        "camera_features",
    ]


# Validators are built when first used


class Travelling(Settings):
    """Nothing in this process validates it."""

    share: Share = Fraction(1, 2)
    """A share."""


def test_settings_travel_without_a_validator() -> None:
    sent = pickle.dumps(Travelling.model_construct(share=Fraction(1, 3)))
    assert pickle.loads(sent).share == Fraction(1, 3)
    assert not Travelling.__pydantic_complete__


def test_threads_may_be_the_first_to_use_a_class(request: pytest.FixtureRequest) -> None:
    """Many classes and many switches, for not every round would show that two threads build one at once."""
    request.addfinalizer(partial(sys.setswitchinterval, sys.getswitchinterval()))
    sys.setswitchinterval(1e-6)
    with ThreadPoolExecutor(8) as threads:
        for _ in range(50):

            class Inner(Settings):
                share: Share

            class Fresh(Inner):
                inner: Inner
                rules: Conversions = ()

            together = Barrier(8)

            def use(_: int, model: type[Fresh] = Fresh, together: Barrier = together) -> dict[str, Any]:
                together.wait()
                return model.model_validate({"share": "1/3", "inner": {"share": 1}}).model_dump()

            assert list(threads.map(use, range(8))) == [{"share": "1/3", "inner": {"share": "1"}, "rules": ()}] * 8


def test_what_a_field_means_is_under_it_or_in_a_base() -> None:
    class Base(Settings):
        first: int
        """Of the base."""
        second: int
        """Also
        of the base."""

    class Derived(Base):
        second: int = 0
        """Of its own."""
        third: int = 0

    assert Derived.meanings() == {"first": "Of the base.", "second": "Of its own."}
    described = Derived.model_json_schema()["properties"]
    assert [described[name].get("description") for name in ("first", "second", "third")] == ["Of the base.", "Of its own.", None]
