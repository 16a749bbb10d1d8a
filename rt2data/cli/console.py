"""Output of the command: stdout is data, stderr is messages. Text from data is never markup."""

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
    """A message on stderr; not with -q."""
    if not verbosity.quiet:
        insist(message)


def insist(message: str) -> None:
    """A message on stderr that -q does not silence: a warning, a failure."""
    sys.stderr.write(message + "\n")
    sys.stderr.flush()


def tell(warnings: Iterable[Warn], to: TextIO | None = None) -> None:
    """Warnings, worst first, one line each. On stderr by default."""
    for warn in worst_first(warnings):
        (to or sys.stderr).write(one_line(str(warn), 600) + "\n")
    (to or sys.stderr).flush()


def say_json(value: Any) -> None:
    """JSON on stdout."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=True, sort_keys=False) + "\n")


def plain(value: object) -> str:
    """A value as text that cannot steer a terminal: no control characters, no direction overrides."""
    return "".join(c for c in str(value) if c.isprintable() or c == "\n")


def report_failure(error: RtError, as_json: bool) -> None:
    """One line: what, where and what to do; with `as_json` also JSON on stdout."""
    for line in getattr(error, "lines", (str(error),)):
        insist(f"rt2data: {plain(line)}")
    if as_json:
        say_failure(error)


def say_failure(error: RtError) -> None:
    """A failure as JSON on stdout."""
    say_json({"error": type(error).__name__, "code": error.code, "what": error.what, "where": error.where, "do": error.do})
