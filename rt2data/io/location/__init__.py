"""Files by name: a local path, `file:///...`, or another URI whose scheme has a body. Nothing else opens, lists or removes a file.

A name is text or a `Path`, which is taken as text: `Path` leaves one slash of `gs://`, so one slash is enough for a scheme here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from io import BufferedReader, FileIO, RawIOBase
from pathlib import Path
from urllib.parse import unquote

from rt2data.errors import UsageError
from rt2data.io.location.base import Entry, Location, Range, Stat
from rt2data.io.location.local import Local
from rt2data.io.location.refused import refused
from rt2data.io.location.whole import write_all

Name = str | Path

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):(/.*)?", re.DOTALL)
"""At least two letters, so that `C:/x` has none."""
_LOCAL: Location = Local()


def path_of(name: Name) -> Path:
    """The path of a name, for functions that take names from outside: that of a file URI is the plain path.

    Raises UsageError for a scheme without a body: gs://, s3://, hf://, https:// or any other.
    """
    found = _SCHEME.fullmatch(str(name))
    if found is None:
        return Path(name)
    scheme, rest = found[1].lower(), found[2] or ""
    if scheme != "file":
        raise refused(scheme, rest.lstrip("/"))
    host, slash, path = rest[2:].partition("/") if rest.startswith("//") else ("", rest[:1], rest[1:])
    if host not in ("", "localhost") or not slash:
        raise UsageError("a file URI names an absolute local path", f"file:{rest}", "write file:///folder/name, or the path itself")
    return Path("/" + unquote(path.lstrip("/")))


def resolve(name: Name) -> tuple[Location, str]:
    """The body that holds a file, and the file's name there. Raises UsageError as `path_of` does."""
    text = str(name)
    return _LOCAL, str(path_of(text)) if ":" in text else text  # this is called for each of many images


def absolute(name: Name) -> Path:
    """The full name of what a relative one stands for."""
    body, inside = resolve(name)
    return body.absolute(inside)


def stat(name: Name) -> Stat:
    """Size and version. Raises FileNotFoundError and other OSErrors."""
    body, inside = resolve(name)
    return body.stat(inside)


def exists(name: Name) -> bool:
    """Whether there is anything of that name."""
    body, inside = resolve(name)
    return body.exists(inside)


def identity(name: Name) -> str:
    """Equal for two names of one folder or file, such as links to it. Raises OSError."""
    body, inside = resolve(name)
    return body.identity(inside)


def is_file(name: Name) -> bool:
    """Whether there is a file of that name."""
    body, inside = resolve(name)
    return body.is_file(inside)


def is_folder(name: Name) -> bool:
    """Whether there is a folder of that name."""
    body, inside = resolve(name)
    return body.is_folder(inside)


def children(folder: Name) -> Iterator[Entry]:
    """What a folder holds, in no order. Raises OSError."""
    body, inside = resolve(folder)
    return body.children(inside)


def files_below(folder: Name) -> Iterator[tuple[str, Stat]]:
    """All files in a folder and below it, in no order; none where there is no such folder."""
    body, inside = resolve(folder)
    return body.files_below(inside)


def open_file(name: Name) -> BufferedReader:
    """A seekable file, opened for reading. Raises OSError."""
    return BufferedReader(open_unbuffered(name))


def open_unbuffered(name: Name) -> RawIOBase:
    """The same for reads that are large or scattered."""
    body, inside = resolve(name)
    return body.open(inside)


def read_bytes(name: Name) -> bytes:
    """A whole file. Raises OSError."""
    with open_file(name) as file:
        return file.read()


def read_text(name: Name) -> str:
    """A whole UTF-8 file. Raises OSError and UnicodeDecodeError."""
    return read_bytes(name).decode()


def read_head(name: Name, length: int) -> bytes:
    """The first bytes of a file. Raises OSError."""
    with open_file(name) as file:
        return file.read(length)


def read_range(name: Name, start: int, length: int) -> bytes:
    """Bytes of a file; fewer where it ends before. Raises OSError."""
    body, inside = resolve(name)
    return body.read([Range(inside, start, length)])[0]


def whole_file(name: Name, direct: bool = False) -> AbstractContextManager[FileIO]:
    """A file to write, that has its name only when it is complete; nothing is left on failure. Raises OutputError.

    `direct` opens it for direct I/O where that can be: only whole, aligned blocks may then be written.
    """
    body, inside = resolve(name)
    return body.whole_file(inside, direct)


def write_whole(name: Name, content: bytes) -> None:
    """`whole_file` for content in memory."""
    with whole_file(name) as file:
        write_all(file, content)


def produce_whole(name: Name, produce: Callable[[Path], None]) -> None:
    """`whole_file` for a library that writes to a local path."""
    body, inside = resolve(name)
    body.produce_whole(inside, produce)


def delete(*names: Name) -> None:
    """Remove files; those that are not there are passed over. Raises OSError."""
    for name in names:
        body, inside = resolve(name)
        body.delete([inside])


def local_copy_or_path(name: Name) -> AbstractContextManager[Path]:
    """A local path for libraries that need one. Raises OSError."""
    body, inside = resolve(name)
    return body.local_copy(inside)
