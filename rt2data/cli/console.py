"""How the command talks: stdout is data, stderr is talk. Text from data is never markup."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import Any, TextIO

from rt2data.cli.commands import verbosity
from rt2data.errors import RtError
from rt2data.read.text import one_line
from rt2data.records import Warn, worst_first


def talk(message: str) -> None:
    """A line for people, on stderr; not with -q."""
    if not verbosity.quiet:
        insist(message)


def insist(message: str) -> None:
    """A line for people that -q does not silence: a warning, a failure."""
    sys.stderr.write(message + "\n")
    sys.stderr.flush()


def tell(warnings: Iterable[Warn], to: TextIO | None = None) -> None:
    """Everything worth a look, worst first, a line each, in every command alike. On stderr, unless warnings were asked for."""
    for warn in worst_first(warnings):
        (to or sys.stderr).write(one_line(str(warn), 600) + "\n")
    (to or sys.stderr).flush()


def say_json(value: Any) -> None:
    """Data for programs, on stdout."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=True, sort_keys=False) + "\n")


def plain(value: object) -> str:
    """A value as text that cannot steer a terminal: no control characters, no direction overrides."""
    return "".join(c for c in str(value) if c.isprintable() or c == "\n")


def report_failure(error: RtError, as_json: bool) -> None:
    """One line of what, where and what to do; for programs the same as JSON on stdout."""
    for line in getattr(error, "lines", (str(error),)):
        insist(f"rt2data: {plain(line)}")
    if as_json:
        say_failure(error)


def say_failure(error: RtError) -> None:
    """A failure as JSON, for programs."""
    say_json({"error": type(error).__name__, "code": error.code, "what": error.what, "where": error.where, "do": error.do})
