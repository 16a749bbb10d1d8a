"""What was checked and is right stands beside what was found, and what only the raw log can tell."""

from __future__ import annotations

import re

import msgspec

from rt2data.look.check import CHECKS
from rt2data.look.report.page import page
from rt2data.look.report.ticks import RULES, ticks
from tests.look.report import made


def marks(**changes: object) -> dict[str, str]:
    source = made.robot(**changes)
    found = made.stats(sources=(source,), warnings=(made.warn(code="noops"), made.warn(code="lag", source="other")))
    names = {check.title: check.name for check in CHECKS}
    return {names[tick.title]: tick.mark for tick in ticks(found, source)}


def paired(steps: int) -> object:
    actions = made.robot().actions
    assert actions
    return msgspec.structs.replace(actions, motion=tuple(msgspec.structs.replace(each, steps=steps) for each in actions.motion))


def test_each_check_has_one_mark() -> None:
    found = marks(actions=paired(1000))
    assert list(found) == [check.name for check in CHECKS]
    assert found["idle"] == "found" and found["lag"] == found["finite"] == "right"
    assert {name for name, mark in found.items() if mark == "not checked"} >= {"units", "axes", "stale", "upright", "published"}


def test_what_the_rows_do_not_tell_is_not_ticked() -> None:
    found = marks(actions=paired(3), state=(), cameras=())
    assert {found[name] for name in ("delta", "lag", "wrap", "cameras")} == {"not checked"}


def test_rules_are_of_checks_and_web_has_none() -> None:
    assert set(RULES) <= {check.name for check in CHECKS}
    assert ticks(made.stats(), made.web()) == []


def test_the_page_says_it() -> None:
    text = " ".join(re.sub(r"<[^>]*>", "", page([made.report()]).decode()).split())
    assert "✓ numbers are finite" in text and "See above: every dimension is used" in text
    assert re.search(r"Not checked here: .*units of action and state.*; run rt2data check on the raw log", text)
