"""Reads zip archives without extracting them; an archive's claims about its size are limited before they are trusted."""

from __future__ import annotations

import stat
import struct
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterable
from functools import cached_property
from io import BufferedReader

from rt2data.errors import DataError
from rt2data.io import location
from rt2data.io.location.base import Stat
from rt2data.io.per_thread import PerThread

MAX_MEMBERS = 500_000
"""Maximum members of an archive: each needs about 1 kB of memory in Python."""
MAX_BYTES = 1 << 31
"""Maximum decompressed bytes of a member."""
MAX_RATIO = 1000
"""Maximum ratio of decompressed to compressed bytes: about the best that deflate can reach."""
_END, _END_BYTES = b"PK\5\6", 22
_ENCRYPTED = 1


class ZipFault(Exception):  # noqa: N818 (a finding about data, not an error of ours)
    """A member that cannot be read."""


class Zip:
    """The members of an archive, by name. Folders are left out."""

    def __init__(self, path: str, archive: zipfile.ZipFile) -> None:
        self.path, self._archive = path, archive
        self._members = {member.filename: member for member in archive.infolist() if not member.is_dir()}

    def __contains__(self, name: str) -> bool:
        return name in self._members

    def names(self) -> Iterable[str]:
        """Names of the files, with `/` as separator."""
        return self._members.keys()

    def folders(self, folder: str) -> set[str]:
        """Names of the folders in a folder; "" is the root."""
        return self._tree.get(folder, set())

    @cached_property
    def _tree(self) -> dict[str, set[str]]:
        found = defaultdict[str, set[str]](set)
        for name in self._members:
            above = name.rpartition("/")[0]
            while above:
                upper, _, below = above.rpartition("/")
                if below in found[upper]:
                    break
                found[upper].add(below)
                above = upper
        return found

    def size(self, name: str) -> int:
        """Bytes of a member. Raises KeyError."""
        return self._members[name].file_size

    def read(self, name: str) -> bytes:
        """A whole member, with its checksum verified. Raises KeyError, ZipFault if it is damaged, OSError."""
        try:
            return self._archive.read(self._members[name])
        except (zipfile.BadZipFile, EOFError, NotImplementedError, ValueError, zlib.error) as error:
            raise ZipFault(f"{name}: {error}") from None


def open_zip(path: str) -> Zip:
    """The archive at a path; each thread reads its directory once.

    Raises OSError, and DataError if it is not an archive, is truncated, or has something that a data archive should not: a name
    that leads out of it, a link, a duplicate name, encryption, too many members, or a member that is too large decompressed.
    """
    return _opened(path, location.stat(path))


def _open(path: str, _: Stat) -> Zip:
    file = location.open_file(path)
    try:
        _check_count(path, file)
        archive = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, struct.error, ValueError, NotImplementedError) as error:
        file.close()
        raise DataError(f"not a whole zip archive: {error}", path, "fetch it again") from None
    _check_members(path, archive.infolist())
    return Zip(path, archive)


_opened = PerThread(_open)


def _check_count(path: str, file: BufferedReader) -> None:
    """Refuse an archive with more members than fit in memory, before listing them (APPNOTE.TXT 4.3.14 to 4.3.16)."""
    size = file.seek(0, 2)
    file.seek(max(0, size - (1 << 16) - 2 * _END_BYTES))
    tail = file.read()
    at = tail.rfind(_END)
    if at < 0 or len(tail) < at + _END_BYTES:
        raise zipfile.BadZipFile("it has no end")
    listed = struct.unpack_from("<I", tail, at + 12)[0]  # bytes of the directory; a member takes at least 46
    members = struct.unpack_from("<H", tail, at + 10)[0]
    if members == 0xFFFF and (big := tail.rfind(b"PK\6\6", 0, at)) >= 0:
        members, listed = struct.unpack_from("<QQ", tail, big + 32)
    if max(members, listed // 1024) > MAX_MEMBERS:
        raise DataError(f"a zip archive of {members:,} members: {MAX_MEMBERS:,} are read", path, "unpack it, and name the folder")


def _check_members(path: str, members: list[zipfile.ZipInfo]) -> None:
    seen = set[str]()
    for member in members:
        if fault := _fault(member) or ("is there twice" if member.filename in seen else ""):
            name = member.filename[:200]
            raise DataError(f"a member of the zip archive {fault}: {name!r}", path, "fetch it again from where you trust it")
        seen.add(member.filename)


def _fault(member: zipfile.ZipInfo) -> str:
    """What makes a member unsuitable for a data archive; empty for an ordinary member."""
    name = member.orig_filename
    if name.startswith("/") or "\\" in name or "\0" in name or ":" in name or ".." in name.split("/"):
        return "has a name that leads out of it"
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link or a device"
    if member.flag_bits & _ENCRYPTED:
        return "is encrypted"
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "is packed by a method that is not read"
    if member.file_size > MAX_BYTES or member.file_size > MAX_RATIO * member.compress_size + (1 << 20):
        return f"unpacks to {member.file_size:,} bytes"
    return ""
