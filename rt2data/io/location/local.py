"""The local file system."""

from __future__ import annotations

import errno
import mmap
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from io import FileIO, RawIOBase
from pathlib import Path

from rt2data.errors import SourceChangedError
from rt2data.io.location import whole
from rt2data.io.location.base import Entry, Range, Stat


class LocalFile:
    """A file to read by position."""

    __slots__ = ("_descriptor", "size")

    def __init__(self, descriptor: int) -> None:
        self._descriptor, self.size = descriptor, os.fstat(descriptor).st_size

    def pread(self, length: int, at: int) -> bytes:
        return os.pread(self._descriptor, length, at)

    def preadv(self, into: memoryview, at: int) -> int:
        return os.preadv(self._descriptor, [into], at)


class Local:
    """Files on this machine, including mounted file systems. A name is a path."""

    def stat(self, name: str) -> Stat:
        return stat_of(os.stat(name))  # noqa: PTH116 (hot for folders of images)

    def stats(self, names: Sequence[str]) -> list[Stat | None]:
        return [self._stat_or_none(name) for name in names]

    def _stat_or_none(self, name: str) -> Stat | None:
        try:
            return self.stat(name)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def exists(self, name: str) -> bool:
        return _is(name, Path.exists)

    def identity(self, name: str) -> str:
        found = os.stat(name)  # noqa: PTH116
        return f"{found.st_dev}:{found.st_ino}"

    def is_file(self, name: str) -> bool:
        return _is(name, Path.is_file)

    def is_folder(self, name: str) -> bool:
        return _is(name, Path.is_dir)

    def children(self, folder: str) -> Iterator[Entry]:
        with os.scandir(folder) as entries:
            yield from (entry for entry in entries if not entry.is_symlink() or _ends(entry))

    def files_below(self, folder: str) -> Iterator[tuple[str, Stat]]:
        for path in Path(folder).rglob("*"):
            if path.is_file():
                yield str(path), self.stat(str(path))

    @contextmanager
    def opened(self, name: str) -> Iterator[LocalFile]:
        descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
        try:
            yield LocalFile(descriptor)
        finally:
            os.close(descriptor)

    def open_unbuffered(self, name: str) -> RawIOBase:
        return FileIO(name)

    def mapped(self, name: str) -> memoryview:
        with FileIO(name) as file:
            if not os.fstat(file.fileno()).st_size:
                return memoryview(b"")  # an empty file cannot be mapped
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))

    def read(self, wanted: Sequence[Range]) -> list[bytes]:
        return [self.read_range(each) for each in wanted]

    def read_range(self, wanted: Range) -> bytes:
        with FileIO(wanted.name) as file:
            if wanted.version and stat_of(os.fstat(file.fileno())).version != wanted.version:
                raise SourceChangedError("a file changed since it was listed", wanted.name, "run the same command again")
            return os.pread(file.fileno(), wanted.length, wanted.start)

    def whole_file(self, name: str, direct: bool = False) -> AbstractContextManager[FileIO]:
        return whole.whole_file(Path(name), direct)

    def produce_whole(self, name: str, produce: Callable[[Path], None]) -> None:
        whole.produce_whole(Path(name), produce)

    def duplicate(self, name: str, new: str) -> None:
        whole.duplicate(Path(name), Path(new))

    def delete(self, name: str) -> None:
        Path(name).unlink(missing_ok=True)

    def remove_folder(self, folder: str) -> None:
        shutil.rmtree(folder)

    @contextmanager
    def local_copy_or_path(self, name: str) -> Iterator[Path]:
        yield Path(name)

    def absolute(self, name: str) -> Path:
        return Path(name).absolute()


def _is(name: str, ask: Callable[[Path], bool]) -> bool:
    """A test of a path; False if the name is too long."""
    try:
        return ask(Path(name))
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return False
        raise


def _ends(link: os.DirEntry[str]) -> bool:
    """Whether a link can be resolved: in a loop, every query fails."""
    try:
        link.is_file()
    except OSError:
        return False
    return True


def stat_of(found: os.stat_result) -> Stat:
    """The stat of a local file."""
    return Stat(found.st_size, f"{found.st_mtime_ns}.{found.st_ctime_ns}")
