"""Failures on remote workers, reported through a file: a runner returns only text to the launcher, which needs an exit code.

The file name contains the run's name, so a failure of an earlier run is never mistaken for one of this run.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import msgspec

from rt2data.errors import (
    DataError,
    InternalError,
    LockedError,
    OutputError,
    RejectLimitError,
    RtError,
    SourceChangedError,
    UsageError,
)
from rt2data.io import location
from rt2data.io.location.paths import is_bucket

FINAL = (UsageError, DataError, RejectLimitError, LockedError, SourceChangedError)
"""Failures that every attempt repeats. Output that cannot be written now, or by this worker, may succeed on the next attempt."""
_KINDS = {kind.code: kind for kind in (*FINAL, OutputError, InternalError)}


class Failure(msgspec.Struct, frozen=True):
    """Content of the file: the fields of a failure with --json."""

    error: str
    code: int
    what: str
    where: str
    do: str


def failure_file(beside: Path, run: str) -> Path:
    """Where a run's workers report a failure: next to its output; for a bucket, which has no place next to it, inside."""
    if is_bucket(beside):
        return beside / f".failure-{run}.json"
    return beside.with_name(f".{beside.name}.failure-{run}.json")


def is_final(error: BaseException | None) -> bool:
    """Whether another attempt would fail in the same way."""
    return isinstance(error, FINAL)


def tell(file: str | Path, error: BaseException) -> None:
    """Write a failure, unless one of equal weight is there. An error that is not ours, a bug, is left to the runner."""
    if not isinstance(error, RtError):
        return
    with suppress(OSError, RtError):  # if the file cannot be reached, the launcher has the runner's text
        known = told(file)
        if known is None or (is_final(error) and not is_final(known)):
            what = "; ".join(getattr(error, "lines", (error.what,)))  # all mistakes of a recipe
            found = Failure(type(error).__name__, error.code, what, error.where, error.do)
            location.write_whole(file, msgspec.json.encode(found))


def told(file: str | Path) -> RtError | None:
    """The reported failure as an exception, or None."""
    with suppress(OSError, RtError, msgspec.MsgspecError):
        found = msgspec.json.decode(location.read_bytes(file), type=Failure)
        return _KINDS.get(found.code, InternalError)(found.what, found.where, found.do)
    return None


def forget(file: str | Path) -> None:
    """Remove the file, if it exists and can be removed."""
    with suppress(OSError, RtError):
        location.delete(file)
