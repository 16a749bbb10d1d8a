"""Outputs in an object store, where nothing can be renamed.

Each build is a generation, OUT/FINGERPRINT/..., and OUT/current.json names the current one. It is updated by compare-and-swap: a
reader sees either the old output or the new one, and keeps the generation that it opened.
"""

from __future__ import annotations

import re
import time
from contextlib import suppress
from pathlib import Path

import msgspec

from rt2data.errors import DataError, LockedError, UsageError
from rt2data.io import location
from rt2data.io.location.bodies import remote_body
from rt2data.io.location.folders import bytes_and_time, discard_folder
from rt2data.io.location.objects import object_store
from rt2data.io.location.paths import refuse_bucket

CURRENT, LEASE = "current.json", ".lease"
KEPT = 3
"""Number of generations to keep: the current one and those before it."""
ABANDONED_S = 7 * 86_400.0
"""A generation that was never published, or is no longer kept, is removed if nothing was written to it for this long, in
seconds."""
_NAME = re.compile(r"[0-9a-f]{12}")


class Generations(msgspec.Struct, frozen=True):
    """current.json: the current generation, then earlier ones, newest first."""

    generation: str
    earlier: tuple[str, ...] = ()


def generation_name(fingerprint: str) -> str:
    """The folder name of a plan's output."""
    return fingerprint[:12]


def current(out: Path) -> Path:
    """The folder with an output: `out` itself or, in an object store, its current generation. Raises DataError, OSError."""
    found = _known(out) if location.is_remote(out) else None
    return out / found[0].generation if found else out


def publish_generation(out: Path, name: str) -> None:
    """Make this generation the current one, and remove expired and abandoned ones.

    Raises LockedError if another build published at the same time.
    """
    before = _known(out)
    if before is None:
        published = object_store(out).put_new(str(out / CURRENT), msgspec.json.encode(Generations(name)))
        earlier: tuple[str, ...] = ()
    else:
        known, content = before
        earlier = tuple(each for each in (known.generation, *known.earlier) if each != name)
        fresh = msgspec.json.encode(Generations(name, earlier[: KEPT - 1]))
        published = fresh == content or object_store(out).replace(str(out / CURRENT), fresh, content)
    if not published:
        raise LockedError(f"another build published {out}", str(out / CURRENT), "run the same command again")
    for each in earlier[KEPT - 1 :]:
        discard_folder(out / each)
    with suppress(OSError):
        _remove_abandoned(out, {name, *earlier})


def _remove_abandoned(out: Path, known: set[str]) -> None:
    """Remove unfinished builds of other plans, and leftovers of builds that were killed while removing."""
    names = [entry.name for entry in location.children(out) if entry.is_dir()]
    for each in names:
        if _NAME.fullmatch(each) and each not in known and time.time() - bytes_and_time(out / each)[1] > ABANDONED_S:
            discard_folder(out / each)


def refuse_foreign_objects(out: Path) -> None:
    """Raises UsageError if an output's folder contains anything that is not ours, or is a whole bucket."""
    refuse_bucket(out)
    try:
        names = [(entry.name, entry.is_dir()) for entry in location.children(out)]
    except FileNotFoundError:
        return
    for name, folder in names:
        if not (_NAME.fullmatch(name) if folder else name in (CURRENT, LEASE)):
            raise UsageError("the output folder holds something else", str(out / name), "choose an empty or new folder")


def _known(out: Path) -> tuple[Generations, bytes] | None:
    """The content of current.json, decoded and as bytes; None if there is none. Raises DataError if it is damaged."""
    path = out / CURRENT
    try:
        content = remote_body(path).read_now(str(path))
        found = msgspec.json.decode(content, type=Generations)
    except FileNotFoundError:
        return None
    except msgspec.MsgspecError as error:
        raise DataError(f"damaged: {error}", str(path), "name a generation in it as its `generation`") from None
    if not all(_NAME.fullmatch(name) for name in (found.generation, *found.earlier)):
        raise DataError("a generation with an impossible name", str(path), "name a generation in it as its `generation`")
    return found, content
