"""A record as columns of fixed types, encode beside decode.

Columnar formats with nulls hold null where the record does. The others hold a column's fill value there; which rows those are,
`kind` says: web rows have none of a robot's columns, and only `state` may also be missing in a robot row.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import msgspec

from rt2data.render.record import ExampleRecord, decode_record

Type = Literal["string", "int64", "int32", "uint8", "float32", "bool"]


class Column(NamedTuple):
    """A column of records. `list` has any number of values in each row, `vector` as many as actions have dimensions.

    `fill` stands for null in formats that have no null (for a vector, in each dimension); columns without one are never null.
    """

    name: str
    type: Type
    shape: Literal["one", "list", "vector"] = "one"
    fill: Any = None

    @property
    def nullable(self) -> bool:
        """Whether a row may have no value: those of web have none, and `state` where the source has none."""
        return self.fill is not None


COLUMNS = (
    Column("key", "string"),
    Column("kind", "string"),
    Column("source", "string"),
    Column("split", "string"),
    Column("group", "string"),
    Column("episode", "string", fill=""),
    Column("step", "int64", fill=-1),
    Column("camera", "string", fill=""),
    Column("epoch", "int64"),
    Column("text", "string"),
    Column("answers", "string", "list"),
    Column("prompt", "string"),
    Column("target", "string"),
    Column("input_ids", "int32", "list"),
    Column("loss_mask", "uint8", "list"),
    Column("action", "float32", "vector", fill=0.0),
    Column("action_mask", "bool", "vector", fill=False),
    Column("action_bins", "int32", "list", fill=()),
    Column("terminate", "bool", fill=False),
    Column("state", "float32", "list", fill=()),
    Column("action_space", "string", fill=""),
    Column("codec", "string", fill=""),
)
"""Those of ExampleRecord, in its order."""

_encode = msgspec.json.Encoder().encode


def flatten(record: bytes) -> dict[str, Any]:
    """Columns of one record, None where it has null."""
    return msgspec.structs.asdict(decode_record(record))


def unflatten(columns: Mapping[str, Any]) -> bytes:
    """The record's JSON bytes. Inverse of `flatten`. Raises ValueError where the values are no record's."""
    return _encode(msgspec.convert(dict(columns), ExampleRecord))


def filled(record: bytes, action_dim: int) -> dict[str, Any]:
    """Columns of one record without null. `action_dim` says how many values a missing vector has."""
    found = flatten(record)
    for column in COLUMNS:
        if column.nullable and found[column.name] is None:
            found[column.name] = (column.fill,) * action_dim if column.shape == "vector" else column.fill
    return found


def unfilled(columns: Mapping[str, Any]) -> bytes:
    """The record's JSON bytes. Inverse of `filled`. Raises ValueError where the values are no record's."""
    values = dict(columns)
    if values["kind"] == "web":
        values |= {column.name: None for column in COLUMNS if column.nullable}
    values["state"] = values["state"] or None
    return unflatten(values)


def no_null(action_dim: int) -> str:
    """A sentence on formats that have no null: what stands for it, column by column."""
    fills = ", ".join(f"{column.name} {_fill_in_words(column, action_dim)}" for column in COLUMNS if column.nullable)
    return f"This format has no null: rows of kind web have {fills}, and a robot row without a state has state []."


def _fill_in_words(column: Column, action_dim: int) -> str:
    value = msgspec.json.encode(column.fill).decode()
    return f"{action_dim} x {value}" if column.shape == "vector" else value
