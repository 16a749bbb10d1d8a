"""Files by name: a local path, `file:///...`, or a URI with a supported scheme. Only this package opens, lists or removes files.

The implementations of remote locations are imported on first use.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from io import BufferedReader
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from rt2data.io.location.base import Location, Range, Stat
from rt2data.io.location.local import Local
from rt2data.io.location.look import one_look
from rt2data.io.location.paths import Name, is_remote, parted, path_of, writable
from rt2data.io.location.whole import write_all

__all__ = ["HeadsAhead", "Name", "is_remote", "one_look", "path_of", "writable"]

P = ParamSpec("P")
R = TypeVar("R")

_LOCAL: Location = Local()


def resolve(name: Name) -> tuple[Location, str]:
    """The location that holds a file, and the file's name in it. Raises UsageError as `path_of` does."""
    text = str(name)
    if ":" not in text:  # fast path: called for every image
        return _LOCAL, text
    found = parted(text)
    if found is None:
        return _LOCAL, str(path_of(text))
    from rt2data.io.location.bodies import remote_of

    scheme, place, key = found
    return remote_of(scheme, place), f"{scheme}://{place}/{key}"


def _by_name(method: Callable[Concatenate[Location, str, P], R]) -> Callable[Concatenate[Name, P], R]:
    """Make a method a function of a name, by calling it on the location that holds the name."""

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
opened = _by_name(Location.opened)
remove_folder = _by_name(Location.remove_folder)
local_copy_or_path = _by_name(Location.local_copy_or_path)
whole_file = _by_name(Location.whole_file)
produce_whole = _by_name(Location.produce_whole)
duplicate = _by_name(Location.duplicate)
delete = _by_name(Location.delete)


def stats(names: Sequence[Name]) -> list[Stat | None]:
    """The stats of many files, with as few requests as possible; None for a missing one. Raises OSError."""
    found: dict[str, Stat | None] = {}
    by_body: dict[int, tuple[Location, list[str]]] = {}
    inside = [resolve(name) for name in names]
    for body, each in inside:
        by_body.setdefault(id(body), (body, []))[1].append(each)
    for body, here in by_body.values():
        found |= dict(zip(here, body.stats(here), strict=True))
    return [found[each] for _, each in inside]


class HeadsAhead(Protocol):
    """Prefetched first bytes of files."""

    def read(self, name: str) -> bytes:
        """The first bytes of the next file with this name. Raises OSError."""


def heads_ahead(names: Sequence[str], length: int) -> HeadsAhead:
    """Prefetch the first bytes of many objects, which are then read in this order, possibly skipping some."""
    from rt2data.io.location.ahead import Heads

    return Heads(names, length)


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
    """Bytes of a file; fewer if it ends earlier. Raises OSError."""
    body, inside = resolve(name)
    return body.read([Range(inside, start, length)])[0]


def read_ranges(wanted: Sequence[Range]) -> list[bytes]:
    """The bytes of many ranges of files in one location, read concurrently; fewer if a file ends earlier. Raises OSError."""
    if not wanted:
        return []
    body = resolve(wanted[0].name)[0]
    return body.read([each._replace(name=resolve(each.name)[1]) for each in wanted])


def write_whole(name: Name, content: bytes) -> None:
    """`whole_file` for content in memory."""
    with whole_file(name) as file:
        write_all(file, content)
