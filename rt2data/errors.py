"""Expected failures: each says in one line what happened, where and what to do, and has an exit code."""

from __future__ import annotations

import shlex
from os import PathLike


def command(*words: str | PathLike[str]) -> str:
    """An rt2data command line, quoted for a shell."""
    return shlex.join(["rt2data", *map(str, words)])


class RtError(Exception):
    """An expected failure.

    It says `what` happened, `where` (source, file, episode, step, byte) and what to `do` about it. It can be pickled completely, so
    it keeps its type from a worker process to the command line.
    """

    code = 1

    def __init__(self, what: str, where: str = "", do: str = "") -> None:
        super().__init__(what, where, do)
        self.what, self.where, self.do = what, where, do

    def __str__(self) -> str:
        place = f" [{self.where}]" if self.where else ""
        advice = f" -> {self.do}" if self.do else ""
        return f"{self.what}{place}{advice}"


class UsageError(RtError):
    """A wrong recipe, flag or path: nothing was read."""

    code = 2


class DataError(RtError):
    """Corrupt or unusable data: a truncated file, a wrong dimension, an empty side of the mixture."""

    code = 3


class RejectLimitError(RtError):
    """More rejects than the recipe allows: the output was not published."""

    code = 4


class OutputError(RtError):
    """The output cannot be written: full, read-only, no permission."""

    code = 5


class LockedError(RtError):
    """Another build holds this output, or finished it first."""

    code = 6


class SourceChangedError(RtError):
    """A source file differs from the one that was prepared or planned."""

    code = 7


class InternalError(RtError):
    """A bug, or a worker that died twice on the same work order."""

    code = 1
