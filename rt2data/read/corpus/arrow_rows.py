"""Rows of Arrow's record batches. Binary values, such as images, are not copied."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rt2data.errors import DataError
from rt2data.read.corpus.draft import Embedded
from rt2data.records import Place

PlaceOf = Callable[[pa.Buffer], Place | None]
"""Where the bytes of a buffer are in the file; None if the file does not hold them unchanged."""


def rows_of(batch: pa.RecordBatch, place_of: PlaceOf = lambda _: None) -> Iterator[dict[str, Any]]:
    """A dict for each row. Binary values become `Embedded`, also in structs and lists."""
    names = batch.schema.names
    columns = [_values(column, place_of) for column in batch.columns]
    for number in range(batch.num_rows):
        yield {name: column(number) for name, column in zip(names, columns, strict=True)}


def present(asked: tuple[str, ...], names: list[str], path: str) -> list[str]:
    """The columns to read: the requested ones that exist, or all if none are requested. DataError if two have the same name."""
    found = [name for name in names if not asked or name in asked]
    if len(set(found)) < len(found):
        twice = next(name for name in found if found.count(name) > 1)
        raise DataError(f"two columns are called {twice[:40]!r}", path, "write the file again with another name for one of them")
    return found


@contextmanager
def sound(where: str, what: str) -> Iterator[None]:
    """Context: raises DataError if pyarrow finds damage; an OSError of the file itself passes through."""
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise DataError(f"{what}: {str(error).partition(chr(10))[0][:200]}", where, "fetch it again") from None


def _values(array: pa.Array, place_of: PlaceOf) -> Callable[[int], Any]:
    """The value of each row. Only types with binary values are unpacked here, because a pyarrow scalar is a copy."""
    type_ = array.type
    if not _holds_binary(type_):
        return _plain(array).__getitem__
    valid = array.is_valid().to_numpy(zero_copy_only=False)
    if pa.types.is_struct(type_):
        found = _structs(array, place_of)
    elif pa.types.is_fixed_size_list(type_):
        found = _lists(array.values, np.arange(array.offset, array.offset + len(array) + 1) * type_.list_size, place_of)
    elif pa.types.is_list(type_) or pa.types.is_large_list(type_):
        found = _lists(array.values, array.offsets.to_numpy(), place_of)
    else:
        found = _binaries(array, place_of)
    return lambda row: found(row) if valid[row] else None


def _plain(array: pa.Array) -> list[Any]:
    """Python values. Raises ArrowInvalid if a value has no Python equivalent, such as a time out of range."""
    try:
        return list(array.to_pylist())
    except (ValueError, OverflowError, LookupError) as error:
        raise pa.ArrowInvalid(f"a value of type {str(array.type)[:80]} cannot be read: {error}") from None


def _structs(array: pa.StructArray, place_of: PlaceOf) -> Callable[[int], Any]:
    fields = {array.type.field(number).name: _values(array.field(number), place_of) for number in range(array.type.num_fields)}
    return lambda row: {name: value(row) for name, value in fields.items()}


def _lists(values: pa.Array, offsets: NDArray[np.integer[Any]], place_of: PlaceOf) -> Callable[[int], Any]:
    inner = _values(values, place_of)
    return lambda row: [inner(each) for each in range(offsets[row], offsets[row + 1])]


def _binaries(array: pa.Array, place_of: PlaceOf) -> Callable[[int], Any]:
    _, offsets, data = array.buffers()
    width = np.int64 if pa.types.is_large_binary(array.type) else np.int32
    count = array.offset + len(array) + 1 if len(array) else 0  # the buffer may be longer, and of any length
    bounds = np.frombuffer(offsets, width, count)[array.offset :]
    held = data if data is not None else pa.py_buffer(b"")

    def value(row: int) -> Embedded:
        piece = held.slice(int(bounds[row]), int(bounds[row + 1] - bounds[row]))
        return Embedded(memoryview(piece).cast("B"), place_of(piece))

    return value


def _holds_binary(type_: pa.DataType) -> bool:
    if pa.types.is_struct(type_):
        return any(_holds_binary(type_.field(number).type) for number in range(type_.num_fields))
    if pa.types.is_list(type_) or pa.types.is_large_list(type_) or pa.types.is_fixed_size_list(type_):
        return _holds_binary(type_.value_type)
    return bool(pa.types.is_binary(type_) or pa.types.is_large_binary(type_))
