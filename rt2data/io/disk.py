"""Checks before a build that the disks it writes to have enough space."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rt2data.errors import OutputError
from rt2data.io import location
from rt2data.io.location.folders import disk_of, free_bytes
from rt2data.io.words import size
from rt2data.records import Warn


@dataclass(frozen=True)
class Need:
    """The number of bytes that will be written into a folder, which need not exist yet."""

    what: str  # the output, the store
    folder: Path
    bytes: int


@dataclass(frozen=True)
class Shortage:
    """A disk with too little space for the planned writes."""

    needs: tuple[Need, ...]
    free: int

    @property
    def bytes(self) -> int:
        return sum(need.bytes for need in self.needs)

    @property
    def where(self) -> str:
        return str(self.needs[0].folder)

    def __str__(self) -> str:
        parts = " and ".join(f"{need.what} ({size(need.bytes, 2)})" for need in self.needs)
        return f"{parts} will not fit: {size(self.bytes, 2)} are needed and {size(self.free, 2)} are free"


ADVICE = "free some space, choose another disk (--out, or `store` in the recipe), or draw fewer examples"


def shortages(needs: Iterable[Need]) -> Iterator[Shortage]:
    """Each disk with too little space. Needs on the same disk are summed; the store and the output may be on different disks."""
    by_disk: dict[int, list[Need]] = defaultdict(list)
    for need in needs:
        if need.bytes > 0 and not location.is_remote(need.folder):
            by_disk[disk_of(need.folder)].append(need)
    for found in by_disk.values():
        free = free_bytes(found[0].folder)
        if sum(need.bytes for need in found) > free:
            yield Shortage(tuple(found), free)


def require_space(*needs: Need) -> None:
    """Raises OutputError, with the figures, if a disk has too little space."""
    for short in shortages(needs):
        raise OutputError(str(short), short.where, ADVICE)


def space_warnings(*needs: Need) -> tuple[Warn, ...]:
    """The same, as warnings."""
    return tuple(Warn("disk_space", "error", "", f"{short} [{short.where}]", ADVICE) for short in shortages(needs))


def bytes_in(folder: Path) -> int:
    """Total bytes of the files in and below a folder; 0 if the folder does not exist."""
    return sum(found.size for _, found in location.files_below(folder))
