"""Keys move, jump, look for things and leave; whatever is typed, the state stays sound."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rt2data.look.view.pager import KEYS, Act, Go, Quit, Seek, State, keys, press


def typed(text: str, state: State = State()) -> tuple[State, list[Act]]:  # noqa: B008 (frozen)
    """The state after what a terminal sends, and all that was asked for; moves are made as if every number were there."""
    acts: list[Act] = []
    for key in keys(text):
        state, act = press(state, key)
        if act is not None:
            acts.append(act)
        if isinstance(act, Go):
            state = State(act.number, state.digits, state.query, state.sought, state.say)
    return state, acts


@pytest.mark.parametrize(
    ("text", "acts"),
    [
        ("n", [Go(6)]),
        (" ", [Go(6)]),
        ("\x1b[C", [Go(6)]),
        ("\x1bOC", [Go(6)]),
        ("p", [Go(4)]),
        ("\x1b[D", [Go(4)]),
        ("\x7f", [Go(4)]),
        ("nnp", [Go(6), Go(7), Go(6)]),
        ("120g", [Go(120)]),
        ("12\x7f5g", [Go(15)]),
        ("12n", [Go(6)]),
        ("12\r", [Go(12)]),
        ("g", [Go(0)]),
        ("e", [Seek("episode")]),
        ("s", [Seek("source")]),
        ("/red cup\r", [Seek("text", "red cup")]),
        ("/né\r", [Seek("text", "né")]),
        ("/qn 1g\r", [Seek("text", "qn 1g")]),
        ("/ab\x7f\x7f\x7fn", [Go(6)]),
        ("/ab\x1bn", [Go(6)]),
        ("/cup\r/\r", [Seek("text", "cup"), Seek("text", "cup")]),
        ("/\r", []),
        ("q", [Quit()]),
        ("\x1b[99~zx", []),
    ],
)
def test_keys(text: str, acts: list[Act]) -> None:
    assert typed(text, State(5))[1] == acts


def test_the_last_line_says_what_is_typed() -> None:
    assert typed("")[0].line == KEYS
    assert typed("12")[0].line == "12"
    assert typed("/ab")[0].line == "/ab"
    assert State(say="nowhere else").line == "nowhere else"
    assert typed("n", State(say="nowhere else"))[0].line == KEYS


@given(st.text(st.sampled_from("np gesq/\r\x7f\x1b[CDO~0123456789é\x00\x07"), max_size=40))
def test_nothing_typed_breaks_it(text: str) -> None:
    state, acts = typed(text)
    assert state.digits == "" or state.digits.isdigit()
    assert state.line.isprintable()
    assert all(isinstance(act, Go | Seek | Quit) for act in acts)
