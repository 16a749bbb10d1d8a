"""One type and one order for everything worth looking at, and the counts of reading that reach it."""

from __future__ import annotations

from rt2data.records import Fact, Row, Warn, worst_first
from rt2data.standardize import standardize
from tests.contract.toy import ToyWeb


def test_warnings_stand_worst_first_and_once() -> None:
    note, error = Warn("seen", "note", "arm", "a", ""), Warn("bad", "error", "", "b", "mend it")
    assert worst_first([note, error, note]) == (error, note)
    assert [str(each) for each in (error, note)] == ["error: b -> mend it [bad]", "note: arm: a [seen]"]


def test_facts_pass_through_standardizing() -> None:
    source = ToyWeb(path="x")
    assert list(standardize(source, [Fact("join.same_bytes", 2)])) == [Fact("join.same_bytes", 2)]
    assert not isinstance(Fact("a"), Row)
