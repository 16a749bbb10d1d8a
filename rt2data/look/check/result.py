"""The result of a check."""

from __future__ import annotations

from typing import Literal

import msgspec

Status = Literal["PASS", "WARN", "FAIL", "SKIP"]
"""FAIL: training on the data is a mistake; WARN: look into it, the data alone cannot decide; SKIP: it could not be measured."""


class Result(msgspec.Struct, frozen=True):
    """The result of one check of one log: the measured figure; what is wrong, or why nothing was measured; and what to do."""

    status: Status
    measured: str = ""
    what: str = ""
    do: str = ""


class Checked(msgspec.Struct, frozen=True):
    """A result with the name of its check."""

    check: str  # snake_case, stable
    title: str
    status: Status
    measured: str
    what: str
    do: str


def passed(measured: str) -> Result:
    """Measured and correct."""
    return Result("PASS", measured)


def skipped(why: str, measured: str = "") -> Result:
    """Not measured."""
    return Result("SKIP", measured, why)


def judged(failed: bool, measured: str, what: str, do: str) -> Result:
    """FAIL if `failed`, else WARN."""
    return Result("FAIL" if failed else "WARN", measured, what, do)
