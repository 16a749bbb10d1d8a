"""Reads pickles of NumPy arrays without NumPy and without running their code. Run as a separate program by `pickles`.

A pickle is a program. Here it may refer only to the entries of `CALLABLE`, all defined in this file, which record an array's
content and do nothing else. Memory and CPU time are limited, and files forbidden, before a byte is read.

Input: two sizes, then two pickles. Output: one line of JSON, then the arrays' bytes end to end.
"""

from __future__ import annotations

import io
import json
import pickle
import re
import resource
import struct
import sys
from array import array
from collections.abc import Iterator
from itertools import islice
from math import prod
from typing import Any, NamedTuple

MEMORY, SECONDS = 1 << 30, 20
MAX_OUTPUT, MAX_NAMES = 1 << 28, 200
_NAME = re.compile(r"[ -~]{1,100}")
_NUMBER = re.compile(r"[<>|=]?(?:b1|[iu][1248]|f[248])")
_WORDS = re.compile(r"[<>|=]?[SU]\d{1,9}")


class Refused(Exception):  # noqa: N818 (a finding about data, not an error of ours)
    """Something that does not occur in a pickle of numbers."""


class DType:
    """The arguments of numpy.dtype."""

    def __init__(self, code: Any, align: Any = False, copy: Any = False) -> None:
        text = code.decode("latin1") if isinstance(code, bytes) else code
        if not isinstance(text, str) or not (_NUMBER.fullmatch(text) or _WORDS.fullmatch(text)):
            raise Refused(f"an array of {str(text)[:20]!r}: only numbers and words are read")
        self.code, self.order = text.lstrip("<>|="), text[0] if text[0] in "<>" else "="

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) < 5 or any(part is not None for part in state[2:5]):
            raise Refused("an array of records")
        order = state[1].decode("latin1") if isinstance(state[1], bytes) else state[1]
        if order not in ("<", ">", "|", "="):
            raise Refused("an array of an unknown order of bytes")
        self.order = order

    @property
    def text(self) -> str:
        """The dtype as NumPy writes it: <f8."""
        return f"{'<' if self.order in '|=' else self.order}{self.code}"

    @property
    def size(self) -> int:
        """Bytes of one number; 0 for text."""
        return int(self.code[1:]) if self.code[0] in "biuf" else 0


class Array:
    """The content of an array. Its bytes are checked against its shape when it is written out."""

    def __init__(self) -> None:
        self.dtype, self.shape, self.in_columns, self.data = DType("u1"), (0,), False, b""

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) not in (4, 5):
            raise Refused("an array of an unknown form")
        self.fill(*state[-4:])

    def fill(self, shape: Any, dtype: Any, in_columns: Any, data: Any) -> Array:
        """Record the array's state. Raises Refused."""
        if isinstance(data, list):
            raise Refused("an array of objects")
        if isinstance(data, str):  # bytes of Python 2
            data = data.encode("latin1")
        if type(dtype) is not DType or not isinstance(shape, tuple) or not isinstance(data, bytes | bytearray):
            raise Refused("an array of an unknown form")
        if len(shape) > 8 or not all(type(side) is int and 0 <= side < 1 << 40 for side in shape):
            raise Refused("an array of an unknown shape")
        if dtype.size and dtype.size * prod(shape) != len(data):
            raise Refused(f"an array of shape {shape} in {len(data)} bytes")
        self.dtype, self.shape, self.in_columns, self.data = dtype, shape, bool(in_columns), bytes(data)
        return self


class _Names:
    """Stands for a class that is only referenced."""

    __slots__ = ()


def _reconstruct(kind: Any, shape: Any, code: Any) -> Array:
    if type(kind) is not _Names:
        raise Refused("an array of another kind")
    return Array()


def _scalar(dtype: Any, data: Any = b"") -> Array:
    return Array().fill((), dtype, False, data)


def _frombuffer(data: Any, dtype: Any, shape: Any, order: Any) -> Array:
    return Array().fill(shape, dtype, order == "F", data)


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise Refused("text that is encoded in an unknown way")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    return b""


CALLABLE: dict[str, Any] = {
    "numpy.ndarray": _Names(),
    "numpy.dtype": DType,
    "numpy.core.multiarray._reconstruct": _reconstruct,
    "numpy._core.multiarray._reconstruct": _reconstruct,
    "numpy.core.multiarray.scalar": _scalar,
    "numpy._core.multiarray.scalar": _scalar,
    "_codecs.encode": _encode,  # bytes, in protocols below 3
    "__builtin__.bytes": _no_bytes,  # the same for empty bytes
    "numpy.core.numeric._frombuffer": _frombuffer,  # protocol 5
    "numpy._core.numeric._frombuffer": _frombuffer,
}
"""All names that a pickle may refer to."""


class Unpickler(pickle.Unpickler):
    """Resolves only the names in `CALLABLE`."""

    def find_class(self, module: str, name: str) -> Any:
        found = CALLABLE.get(f"{module}.{name}")
        if found is None:
            raise Refused(f"the name {module[:80]}.{name[:80]}")
        return found

    def persistent_load(self, pid: Any) -> Any:
        raise Refused("something that is kept elsewhere")


class Column(NamedTuple):
    """The numbers of all steps."""

    dtype: str
    shape: tuple[int, ...]
    in_columns: bool
    data: bytes


def columns(found: Any) -> Iterator[tuple[str, Column]]:
    """The per-step columns of a pickle, by name. It may be a dict of arrays, or a list with a dict or an array per step."""
    for name, values in islice(_features(found), MAX_NAMES):
        column = _column(values) if isinstance(name, str) and _NAME.fullmatch(name) else None
        if column is not None:
            yield name, column


def _features(found: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(found, dict):
        yield from found.items()
    elif isinstance(found, list) and all(isinstance(step, dict) for step in found):
        for name in found[0] if found else ():
            if all(name in step for step in found):
                yield name, [step[name] for step in found]
    else:
        yield "actions", found


def _column(values: Any) -> Column | None:
    """Numbers with one entry per step; None for anything else."""
    if type(values) is Array:
        return Column(values.dtype.text, values.shape, values.in_columns, values.data) if values.dtype.size else None
    if not isinstance(values, list | tuple) or not values:
        return None
    if all(type(value) in (int, float, bool) for value in values):
        return Column("=f8", (len(values),), False, array("d", values).tobytes())
    first = values[0]
    if type(first) is not Array or not first.dtype.size or len(first.data) * len(values) > MAX_OUTPUT:
        return None
    alike = all(
        type(each) is Array and (each.dtype.text, each.shape, each.in_columns) == (first.dtype.text, first.shape, first.in_columns)
        for each in values
    )
    if not alike or (first.in_columns and len(first.shape) > 1):
        return None
    return Column(first.dtype.text, (len(values), *first.shape), False, b"".join(each.data for each in values))


def bound() -> None:
    """Limit this process's memory and CPU time, and forbid files."""
    for what, limit in (
        (resource.RLIMIT_AS, MEMORY),
        (resource.RLIMIT_CPU, SECONDS),
        (resource.RLIMIT_NOFILE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, 0),
    ):
        hard = resource.getrlimit(what)[1]
        least = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(what, (least, least))


def answer(given: bytes) -> tuple[dict[str, Any], list[bytes]]:
    """The reply to a request: each pickle's columns by name, and the bytes of all columns."""
    first, second = struct.unpack_from(">QQ", given)
    said: list[dict[str, Any]] = []
    parts: list[bytes] = []
    for start, size in ((16, first), (16 + first, second)):
        loader = Unpickler(io.BytesIO(given[start : start + size]), encoding="latin1")
        here = dict(columns(loader.load()))
        said.append({name: (each.dtype, each.shape, each.in_columns, len(each.data)) for name, each in here.items()})
        parts += [each.data for each in here.values()]
    if sum(map(len, parts)) > MAX_OUTPUT:
        raise Refused("more bytes than a recording has")
    return {"columns": said}, parts


def main() -> None:
    bound()
    try:
        said, parts = answer(sys.stdin.buffer.read())
    except Refused as refused:
        said, parts = {"refused": str(refused)}, []
    except Exception as error:  # a damaged pickle can raise anything
        said, parts = {"damaged": f"{type(error).__name__}: {str(error)[:200]}"}, []
    out = sys.stdout.buffer
    out.write(json.dumps(said).encode() + b"\n")
    out.writelines(parts)
    out.flush()


if __name__ == "__main__":
    main()
