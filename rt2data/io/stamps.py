"""Stamps of files that were read: a file is read again only if its stamp is the same."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from rt2data.errors import SourceChangedError


@dataclass(frozen=True, slots=True)
class Stamp:
    """Metadata of a file by which a change is noticed."""

    path: str
    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int

    @staticmethod
    def of(path: str, stat: os.stat_result | None = None) -> Stamp:
        found = stat or os.stat(path)  # noqa: PTH116 (hot for folders of images)
        return Stamp(path, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)


NO_FILE = Stamp("", 0, 0, 0, 0)
"""The stamp of a blob that was not needed."""


def unchanged(stamp: Stamp) -> bool:
    """Whether a file still has its stamp."""
    if stamp == NO_FILE:
        return True
    try:
        return Stamp.of(stamp.path) == stamp
    except OSError:
        return False


def require_unchanged(name: str, changed: Sequence[str]) -> None:
    """Raises SourceChangedError naming the files."""
    if changed:
        listed = ", ".join(changed[:5]) + (f" and {len(changed) - 5} more" if len(changed) > 5 else "")
        raise SourceChangedError(f"source {name} changed since it was prepared", listed, "run the build again to prepare it again")
