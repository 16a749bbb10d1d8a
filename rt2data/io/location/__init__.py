"""Files by name: a local path, `file:///...`, or another URI whose scheme has a body. Nothing else opens, lists or removes a file.

A name is text or a `Path`, which is taken as text: `Path` leaves one slash of `gs://`, so one slash is enough for a scheme here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import wraps
from io import BufferedReader
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar
from urllib.parse import unquote

from rt2data.errors import UsageError
from rt2data.io.location.base import Location, Range, refused
from rt2data.io.location.local import Local
from rt2data.io.location.whole import write_all

P = ParamSpec("P")
R = TypeVar("R")
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


def _by_name(method: Callable[Concatenate[Location, str, P], R]) -> Callable[Concatenate[Name, P], R]:
    """The same for a name: by the body that holds it."""

    @wraps(method)
    def call(name: Name, /, *arguments: P.args, **options: P.kwargs) -> R:
        body, inside = resolve(name)
        found: R = getattr(body, method.__name__)(inside, *arguments, **options)
        return found

    return call


absolute = _by_name(Location.absolute)
stat = _by_name(Location.stat)
exists = _by_name(Location.exists)
is_file = _by_name(Location.is_file)
is_folder = _by_name(Location.is_folder)
identity = _by_name(Location.identity)
children = _by_name(Location.children)
files_below = _by_name(Location.files_below)
mapped = _by_name(Location.mapped)
open_unbuffered = _by_name(Location.open_unbuffered)
local_copy_or_path = _by_name(Location.local_copy_or_path)
whole_file = _by_name(Location.whole_file)
produce_whole = _by_name(Location.produce_whole)
delete = _by_name(Location.delete)


def open_file(name: Name) -> BufferedReader:
    """A seekable file, opened for reading. Raises OSError."""
    return BufferedReader(open_unbuffered(name))


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


def write_whole(name: Name, content: bytes) -> None:
    """`whole_file` for content in memory."""
    with whole_file(name) as file:
        write_all(file, content)
