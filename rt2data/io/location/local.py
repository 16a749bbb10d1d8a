"""The local file system."""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from io import FileIO, RawIOBase
from pathlib import Path

from rt2data.errors import SourceChangedError
from rt2data.io.location import whole
from rt2data.io.location.base import Entry, Range, Stat


class Local:
    """Files of this machine, and of what is mounted on it. A name is a path."""

    def stat(self, name: str) -> Stat:
        return _stat(os.stat(name))  # noqa: PTH116 (hot for folders of images)

    def exists(self, name: str) -> bool:
        return Path(name).exists()

    def identity(self, name: str) -> str:
        found = os.stat(name)  # noqa: PTH116
        return f"{found.st_dev}:{found.st_ino}"

    def is_file(self, name: str) -> bool:
        return Path(name).is_file()

    def is_folder(self, name: str) -> bool:
        return Path(name).is_dir()

    def children(self, folder: str) -> Iterator[Entry]:
        with os.scandir(folder) as entries:
            yield from entries

    def files_below(self, folder: str) -> Iterator[tuple[str, Stat]]:
        for path in Path(folder).rglob("*"):
            if path.is_file():
                yield str(path), self.stat(str(path))

    def open_unbuffered(self, name: str) -> RawIOBase:
        return FileIO(name)

    def mapped(self, name: str) -> memoryview:
        with FileIO(name) as file:
            if not os.fstat(file.fileno()).st_size:
                return memoryview(b"")  # an empty file cannot be mapped
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))

    def read(self, wanted: Sequence[Range]) -> list[bytes]:
        return [self._read(each) for each in wanted]

    def _read(self, wanted: Range) -> bytes:
        with FileIO(wanted.name) as file:
            if wanted.version and _stat(os.fstat(file.fileno())).version != wanted.version:
                raise SourceChangedError("a file changed since it was listed", wanted.name, "run the same command again")
            return os.pread(file.fileno(), wanted.length, wanted.start)

    def whole_file(self, name: str, direct: bool = False) -> AbstractContextManager[FileIO]:
        return whole.whole_file(Path(name), direct)

    def produce_whole(self, name: str, produce: Callable[[Path], None]) -> None:
        whole.produce_whole(Path(name), produce)

    def delete(self, name: str) -> None:
        Path(name).unlink(missing_ok=True)

    @contextmanager
    def local_copy_or_path(self, name: str) -> Iterator[Path]:
        yield Path(name)

    def absolute(self, name: str) -> Path:
        return Path(name).absolute()


def _stat(found: os.stat_result) -> Stat:
    return Stat(found.st_size, str(found.st_mtime_ns))
