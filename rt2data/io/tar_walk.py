"""Reads the members of any tar archive in order with Python's tarfile, which supports pax and GNU. Truncation is never silent."""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from rt2data.errors import DataError
from rt2data.io.tar import BLOCK, padded

_EXTENDED = frozenset(b"xgLKX")  # extended headers, which apply to the next member
_MAX_EXTENDED = 1 << 20
_MOST_EXTENDED = 16  # maximum in a row; GNU and pax write up to three
_CHUNK = 1 << 20
_ESCAPES = re.compile(r"^/|^[A-Za-z]:|(?:^|[/\\])\.\.(?:[/\\]|$)|\0")


@dataclass(frozen=True, slots=True)
class Cut:
    """The archive ends here, without an end marker."""

    at: int
    detail: str
    name: str = ""  # of the member whose content is truncated


def walk(file: BinaryIO, path: str, size: int, start: int = 0) -> Iterator[tarfile.TarInfo | Cut]:
    """Members from the header at `start` to the end, then a Cut if the file is truncated. The caller may read the file in between.

    Raises DataError for a damaged header, and for data after the end marker, which would be lost.
    """
    tar = _opened(file, path)
    tar.offset = start
    while True:
        at = tar.offset
        file.seek(at)
        block = file.read(BLOCK)
        if len(block) < BLOCK:
            yield Cut(at, "no mark of its end" if not block else "it ends inside a header")
            return
        if not block.strip(b"\0"):
            _require_blank(file, path)
            return
        info = _member(tar, file, block, path, size)
        if isinstance(info, Cut) or _end(info, tar) > size:
            yield info if isinstance(info, Cut) else Cut(info.offset, f"it ends inside {info.name}", info.name)
            return
        yield info


def problem_of(info: tarfile.TarInfo) -> tuple[str, str] | None:
    """Why a member is not used, as a reject reason and a detail: links are never followed, names must not leave the archive."""
    name = printable(info.name)
    if name != info.name:
        return "unsafe_name", f"{name[:200]} is not UTF-8"
    if info.issym() or info.islnk():
        return "link_in_tar", f"{name[:200]} is a link"
    if info.issparse() or not info.isreg():
        return "odd_member", f"{name[:200]} is no plain file"
    if _ESCAPES.search(name):
        return "unsafe_name", name[:200]
    return None


def printable(name: str) -> str:
    """A name in which non-UTF-8 bytes are written as \\xff."""
    return name.encode(errors="surrogateescape").decode(errors="backslashreplace")


def _end(info: tarfile.TarInfo, tar: tarfile.TarFile) -> int:
    """Where the content of a member ends. The size of a sparse member includes holes, which are not stored in the archive."""
    if info.issparse():
        return tar.offset
    return info.offset_data + (info.size if info.isreg() else 0)


def _opened(file: BinaryIO, path: str) -> tarfile.TarFile:
    try:
        _require_short(file, 0)
        file.seek(0)
        return tarfile.TarFile(fileobj=file, encoding="utf-8", errors="surrogateescape")
    except (tarfile.TarError, ValueError) as error:
        raise DataError(f"this is no tar archive: {error}", path, "fetch it again; unpack it if it is compressed") from None


def _member(tar: tarfile.TarFile, file: BinaryIO, block: bytes, path: str, size: int) -> tarfile.TarInfo | Cut:
    at = tar.offset
    try:
        if block[156] in _EXTENDED:
            _require_short(file, at)
        file.seek(at)
        info = tarfile.TarInfo.fromtarfile(tar)
        if info.size < 0 or tar.offset <= at:
            raise tarfile.HeaderError("a size below 0")
    except (tarfile.TarError, ValueError, OverflowError) as error:
        if file.tell() >= size:
            return Cut(at, "it ends inside a header")
        raise DataError(f"a damaged header of a member: {error}", f"{path}: byte {at}", "fetch the archive again") from None
    return info


def _require_short(file: BinaryIO, at: int) -> None:
    """Raises TarError if a member's extended headers are too long or too many: tarfile keeps them all, recursively."""
    for _ in range(_MOST_EXTENDED):
        file.seek(at)
        block = file.read(BLOCK)
        if len(block) < BLOCK or block[156] not in _EXTENDED:
            return
        size = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape").size
        if not 0 <= size <= _MAX_EXTENDED:
            raise tarfile.HeaderError("a header of more than 1 MB")
        at += BLOCK + padded(size)
    raise tarfile.HeaderError(f"more than {_MOST_EXTENDED} headers of one member")


def _require_blank(file: BinaryIO, path: str) -> None:
    """Raises DataError if something follows the end marker."""
    while rest := file.read(_CHUNK):
        if rest.strip(b"\0"):
            at = file.tell() - len(rest.lstrip(b"\0"))
            raise DataError(
                "bytes behind the mark of the archive's end", f"{path}: byte {at}", "fetch it again; split archives put together"
            )
