"""Opens untrusted HDF5 files: only the content of the file itself is read.

HDF5 can point out of a file in three ways: external links, external storage of a dataset, and virtual datasets. The library follows
all of them automatically, so every step of a path is checked before it is followed. Sizes are checked before memory is allocated.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader, RawIOBase
from math import prod
from typing import Any
from weakref import finalize

from rt2data.errors import DataError, RtError
from rt2data.io import location
from rt2data.io.location import Name

MAGIC = b"\x89HDF\r\n\x1a\n"
SUFFIXES = (".hdf5", ".h5", ".hdf")
LARGEST = 1 << 30
"""Maximum bytes of a column of numbers in one episode; for texts, and for one frame, a sixteenth of this."""
_HOPS = 8  # maximum chained soft links
_DEPTH, _OBJECTS = 8, 4096  # limits of a walk: hard links can form cycles
_FAULTS = (OSError, KeyError, RuntimeError, ValueError, TypeError, ArithmeticError, MemoryError)
"""What h5py raises if a file is damaged, or contains a type that numpy lacks."""


class Hdf5Fault(Exception):  # noqa: N818 (a finding about data, not an error of ours)
    """A part of a file that cannot be used. `reason` is a short snake_case word for the Reject."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail


class _Body(BufferedReader):
    """The bytes of the file. Remembers a read error, because HDF5 may report a different one."""

    failure: Exception | None = None

    def __init__(self, raw: RawIOBase) -> None:
        super().__init__(raw, 1 << 16)

    def readinto(self, into: Any, /) -> int:
        """Fill the whole buffer, with zeros after the end of the file."""
        view = memoryview(into).cast("B")
        try:
            got = super().readinto(view)
        except (OSError, RtError) as error:
            self.failure = error
            raise
        view[got:] = bytes(len(view) - got)
        return len(view)


class Hdf5File:
    """A file that is opened on demand, and reopened after closing. Objects are named by their paths in it."""

    def __init__(self, path: Name) -> None:
        self.path = str(path)
        self._body: _Body | None = None
        self._file: Any = None
        self._closing: finalize[..., Any] | None = None

    def __enter__(self) -> Hdf5File:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file. It reopens on demand."""
        if self._closing is not None:
            self._closing()
        self._file = self._closing = None

    @property
    def root(self) -> Any:
        """The h5py.File. Raises DataError if it is truncated or not HDF5, OSError if it cannot be read."""
        if self._file is None:
            self._open()
        return self._file

    def _open(self) -> None:
        import h5py

        body = self._body = _Body(location.open_unbuffered(self.path))
        try:
            self._file = h5py.File(body, "r")
        except _FAULTS as error:
            body.close()
            if body.failure is not None:
                raise body.failure from error
            raise DataError(_not_opened(str(error)), self.path, "fetch it again") from None
        # Closed at process exit at the latest: h5py must not call back into a finalized interpreter.
        self._closing = finalize(self, _close, self._file, body)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Context: raises Hdf5Fault for damaged or unsupported content, OSError for read failures."""
        try:
            yield
        except _FAULTS as error:
            if self._body is not None and self._body.failure is not None:
                failure, self._body.failure = self._body.failure, None
                raise failure from error
            raise Hdf5Fault("damaged_data", _first_line(error)) from None

    # Objects by their paths

    def find(self, path: str, start: Any = None) -> Any:
        """The group or dataset at a path relative to a group; None if there is none. Raises Hdf5Fault for links out of the file."""
        root = self.root
        with self.reading():
            return self._find(root if start is None else start, path, _HOPS)

    def _find(self, start: Any, path: str, hops: int) -> Any:
        found = self.root if path.startswith("/") else start
        for name in path.split("/"):
            if name in ("", "."):
                continue
            found = self._child(found, name, hops)
            if found is None:
                return None
        return found

    def _child(self, group: Any, name: str, hops: int) -> Any:
        """Follow one step of a path, according to the kind of link."""
        from h5py import Dataset, Group, h5d, h5g, h5l, h5o

        key = _key(name)
        if not isinstance(group, Group) or not group.id.links.exists(key):
            return None
        kind = group.id.links.get_info(key).type
        if kind == h5l.TYPE_HARD:
            found = h5o.open(group.id, key)
            wrap = {h5g.GroupID: Group, h5d.DatasetID: Dataset}.get(type(found))
            return wrap(found) if wrap else None  # a named type is neither group nor dataset
        if kind != h5l.TYPE_SOFT:
            raise Hdf5Fault("external_link", f"{name} is a link to another file: only what is in the file itself is read")
        if not hops:
            raise Hdf5Fault("link_loop", f"{name} is a link to links that never end")
        return self._find(group, group.id.links.get_val(key).decode("utf-8", "surrogateescape"), hops - 1)

    def names(self, group: Any) -> list[str]:
        """Names in a group, in natural order: demo_10 after demo_9. Links are not followed; names that are not UTF-8 are left
        out.
        """
        with self.reading():
            return sorted((name for name in group if isinstance(name, str)), key=natural)

    def may_be_group(self, group: Any, name: str) -> bool:
        """Whether an entry is a group, or a link to anything."""
        from h5py import h5l, h5o

        with self.reading():
            key = _key(name)
            if group.id.links.get_info(key).type != h5l.TYPE_HARD:
                return True
            return bool(h5o.get_info(group.id, key).type == h5o.TYPE_GROUP)

    def datasets(self, group: Any, skip: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
        """Datasets below a group, with their relative paths, in natural order. Links out of the file are skipped."""
        left = [_OBJECTS]
        yield from self._below(group, "", skip, _DEPTH, left)

    def _below(self, group: Any, inside: str, skip: tuple[str, ...], depth: int, left: list[int]) -> Iterator[tuple[str, Any]]:
        from h5py import Dataset

        for name in self.names(group):
            path = f"{inside}{name}"
            left[0] -= 1
            if left[0] < 0 or path in skip:
                continue
            try:
                found = self.find(name, group)
            except Hdf5Fault:
                continue  # reported when it is requested
            if isinstance(found, Dataset):
                yield path, found
            elif found is not None and depth:
                yield from self._below(found, f"{path}/", skip, depth - 1, left)

    def attributes(self, owner: Any) -> dict[str, str | bytes | float]:
        """An object's plain attributes: numbers, and texts as str or bytes. Others are left out."""
        found = {}
        with self.reading():
            for name in sorted(name for name in owner.attrs if isinstance(name, str)):
                value = _attribute(owner, name)
                if value is not None:
                    found[name] = value
        return found

    def attribute(self, owner: Any, name: str) -> str | bytes | float | None:
        """A plain attribute; None if it is missing or not plain."""
        with self.reading():
            return _attribute(owner, name) if name in owner.attrs else None


def natural(name: str) -> tuple[tuple[int, str], ...]:
    """A sort key that orders numbers in names by value."""
    parts = enumerate(re.split(r"([0-9]+)", name))
    return tuple((len(part.lstrip("0")), part.lstrip("0")) if number % 2 else (0, part) for number, part in parts)


def require_inside(dataset: Any) -> None:
    """Raises Hdf5Fault for a dataset whose content is, or may be, in other files."""
    from h5py import h5d

    plan = dataset.id.get_create_plist()
    if plan.get_layout() == h5d.VIRTUAL:
        raise Hdf5Fault("virtual_dataset", f"{dataset.name} is virtual: it is put together from datasets of other files")
    if plan.get_external_count():
        raise Hdf5Fault("external_storage", f"the content of {dataset.name} is in other files")


def require_size(dataset: Any, limit: int, size: int | None = None) -> None:
    """Raises Hdf5Fault if `size` (by default the bytes of the whole dataset) exceeds `limit`, or a chunk exceeds LARGEST."""
    item = int(dataset.dtype.itemsize)
    if (dataset.size * item if size is None else size) > limit or prod(dataset.chunks or ()) * item > LARGEST:
        raise Hdf5Fault("too_large", f"{dataset.name} is {dataset.dtype}{list(dataset.shape)}, more than {limit >> 20} MiB")


def is_words(kind: Any) -> bool:
    """Whether a numpy dtype of h5py holds text."""
    from h5py import check_string_dtype

    return check_string_dtype(kind) is not None


def text_of(value: str | bytes) -> str:
    """A value as text. Raises Hdf5Fault if it is not UTF-8."""
    try:
        return (value if isinstance(value, bytes) else value.encode("utf-8", "surrogateescape")).decode("utf-8")
    except UnicodeError as error:
        raise Hdf5Fault("bad_text", str(error)) from None


def _attribute(owner: Any, name: str) -> str | bytes | float | None:
    """An attribute's value: a number, a text as str or bytes, or None for anything else."""
    from h5py import h5a

    found = h5a.open(owner.id, _key(name))
    if found.shape not in ((), (1,)):
        return None
    try:
        kind = found.dtype
    except TypeError:
        return None
    if not is_words(kind) and kind.kind not in "iufb":
        return None
    value = owner.attrs[name]
    value = value[0] if found.shape == (1,) else value
    plain: str | bytes | float = value.item() if hasattr(value, "item") else value
    return plain


def _key(name: str) -> bytes:
    """A name as bytes in the file."""
    return name.encode("utf-8", "surrogateescape")


def _close(file: Any, body: _Body) -> None:
    file.close()
    body.close()


def _not_opened(said: str) -> str:
    """A description of why a file cannot be opened."""
    cut = re.search(r"truncated file: eof = (\d+).*stored_eof = (\d+)", said)
    if cut:
        return f"the file is cut: {int(cut[1]):,} bytes of {int(cut[2]):,} are there"
    return f"no HDF5 file, or a damaged one: {said[:200]}"


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:200]
