"""A record as columns of fixed types, encode beside decode: for formats that have columns and no null.

A web row has no action: `kind` says so, and its columns hold zeros, false, -1 or nothing. So both sides have the same columns,
of the same shapes, and the record comes back as it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import msgspec

from rt2data.formats.record import ExampleRecord, decode_record

Type = Literal["string", "int64", "int32", "uint8", "float32", "bool"]


class Column(NamedTuple):
    """A column of records. `list` has any number of values in each row, `vector` as many as actions have dimensions."""

    name: str
    type: Type
    shape: Literal["one", "list", "vector"] = "one"


COLUMNS = (
    Column("key", "string"),
    Column("kind", "string"),
    Column("source", "string"),
    Column("split", "string"),
    Column("group", "string"),
    Column("episode", "string"),
    Column("step", "int64"),
    Column("epoch", "int64"),
    Column("text", "string"),
    Column("answers", "string", "list"),
    Column("prompt", "string"),
    Column("target", "string"),
    Column("input_ids", "int32", "list"),
    Column("loss_mask", "uint8", "list"),
    Column("action", "float32", "vector"),
    Column("action_mask", "bool", "vector"),
    Column("action_bins", "int32", "list"),
    Column("terminate", "bool"),
    Column("state", "float32", "list"),
    Column("action_space", "string"),
    Column("codec", "string"),
)
"""Those of ExampleRecord, in its order."""

_ABSENT: dict[str, Any] = {"episode": "", "step": -1, "action_bins": (), "terminate": False, "action_space": "", "codec": ""}
"""What stands for null in web rows, beside zeros for `action` and `action_mask`."""

_encode = msgspec.json.Encoder().encode


def flatten(record: bytes, action_dim: int) -> dict[str, Any]:
    """Columns of one record. `action_dim` is that of robot rows, and says how many zeros a web row has."""
    found = msgspec.structs.asdict(decode_record(record))
    found["state"] = found["state"] or ()
    if found["kind"] == "web":
        found |= _ABSENT | {"action": (0.0,) * action_dim, "action_mask": (False,) * action_dim}
    return found


def unflatten(columns: Mapping[str, Any]) -> bytes:
    """The record's JSON bytes. Inverse of `flatten`. Raises ValueError where the values are no record's."""
    values = dict(columns)
    if values["kind"] == "web":
        values |= dict.fromkeys((*_ABSENT, "action", "action_mask"))
    values["state"] = values["state"] or None
    return _encode(msgspec.convert(values, ExampleRecord))
