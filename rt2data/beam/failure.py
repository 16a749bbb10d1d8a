"""A failure on a worker elsewhere, told in a file: a runner brings only text to the launcher, which owes an exit code.

The file's name has the run's in it: a failure of an earlier run is never taken for one of this.
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
"""The same at every attempt. What cannot be written now, or on this worker, may be written by the next attempt."""
_KINDS = {kind.code: kind for kind in (*FINAL, OutputError, InternalError)}


class Failure(msgspec.Struct, frozen=True):
    """What the file says: the words of a failure with --json."""

    error: str
    code: int
    what: str
    where: str
    do: str


def failure_file(beside: Path, run: str) -> Path:
    """Where the workers of a run tell of a failure: beside its output. Beside a bucket, which may be a store, nothing can be."""
    if is_bucket(beside):
        return beside / f".failure-{run}.json"
    return beside.with_name(f".{beside.name}.failure-{run}.json")


def is_final(error: BaseException | None) -> bool:
    """Whether another attempt would fail in the same way."""
    return isinstance(error, FINAL)


def tell(file: str | Path, error: BaseException) -> None:
    """Write a failure, unless one that counts as much is there. An error that is none of ours, a bug, stays with the runner."""
    if not isinstance(error, RtError):
        return
    with suppress(OSError, RtError):  # where the launcher's files cannot be reached, it has the runner's text
        known = told(file)
        if known is None or (is_final(error) and not is_final(known)):
            what = "; ".join(getattr(error, "lines", (error.what,)))  # all mistakes of a recipe
            found = Failure(type(error).__name__, error.code, what, error.where, error.do)
            location.write_whole(file, msgspec.json.encode(found))


def told(file: str | Path) -> RtError | None:
    """The failure that was told, as it was raised, if there is any."""
    with suppress(OSError, RtError, msgspec.MsgspecError):
        found = msgspec.json.decode(location.read_bytes(file), type=Failure)
        return _KINDS.get(found.code, InternalError)(found.what, found.where, found.do)
    return None


def forget(file: str | Path) -> None:
    """Remove the file, if it is there and can be removed."""
    with suppress(OSError, RtError):
        location.delete(file)
