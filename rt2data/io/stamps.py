"""Stamps of files that were read: a file is read again only if its stamp is the same."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass

from rt2data.errors import SourceChangedError
from rt2data.io import location
from rt2data.io.location.base import Stat


@dataclass(frozen=True, slots=True)
class Stamp:
    """Metadata of a file that reveals changes, and is the same on every machine that sees the file."""

    path: str
    size: int
    version: str  # see `Stat`

    @staticmethod
    def of(path: str, stat: Stat | None = None) -> Stamp:
        """The stamp of a file. Raises FileNotFoundError."""
        return Stamp(path, *(stat or location.stat(path)))


NO_FILE = Stamp("", 0, "")
"""The stamp of a missing file. A stamp without a version is not checked."""


def stamps_of(paths: Sequence[str]) -> list[Stamp]:
    """Stamps of many files, with as few requests as possible. Raises FileNotFoundError for the first missing file."""
    found = location.stats(paths)
    for path, stat in zip(paths, found, strict=True):
        if stat is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    return [Stamp(path, *stat) for path, stat in zip(paths, found, strict=True) if stat is not None]


def changed(stamps: Sequence[Stamp]) -> list[str]:
    """The files that no longer match their stamp, in order, including inaccessible ones."""
    known = [stamp for stamp in stamps if stamp.version]
    try:
        found = location.stats([stamp.path for stamp in known])
    except OSError:
        found = [_stat_or_none(stamp.path) for stamp in known]
    return [stamp.path for stamp, stat in zip(known, found, strict=True) if stat != (stamp.size, stamp.version)]


def _stat_or_none(path: str) -> Stat | None:
    try:
        return location.stat(path)
    except OSError:
        return None


def require_unchanged(name: str, changed: Sequence[str]) -> None:
    """Raises SourceChangedError naming the files."""
    if changed:
        listed = ", ".join(changed[:5]) + (f" and {len(changed) - 5} more" if len(changed) > 5 else "")
        raise SourceChangedError(f"source {name} changed since it was prepared", listed, "run the build again to prepare it again")
