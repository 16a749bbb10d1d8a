"""Records as columns of fixed types, encode and decode side by side: shared by formats that have columns.

Columnar formats with nulls hold null where the record does. The others hold a column's fill value instead; `kind` tells in which
rows: web rows have none of a robot's columns, and in robot rows only `state` and `timestamp` may be missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from rt2data.formats.base import Sizes
from rt2data.render.fields import FIELDS, MORE_FIELDS, ExampleRecord, Field, fields_of


def flatten(record: ExampleRecord) -> dict[str, Any]:
    """Columns of one record, None for null. Structs become plain mappings."""
    found = msgspec.structs.asdict(record)
    return found | {name: [msgspec.structs.asdict(each) for each in found[name]] for name in _STRUCTS if found[name] is not None}


def unflatten(columns: Mapping[str, Any]) -> ExampleRecord:
    """The record. Inverse of `flatten`. Raises ValueError if the values are not those of a record."""
    return msgspec.convert(dict(columns), ExampleRecord)


_STRUCTS = tuple(field.name for field in (*FIELDS, *MORE_FIELDS) if field.parts)


def filled(record: ExampleRecord, sizes: Sizes) -> dict[str, Any]:
    """Columns of one record without null. `sizes` gives the number of values in a missing vector."""
    found = flatten(record)
    for field in fields_of(sizes.more):
        if field.nullable and found[field.name] is None:
            found[field.name] = fill_of(field, sizes)
    return found


def fill_of(field: Field, sizes: Sizes) -> Any:
    """The value that replaces null."""
    match field.shape:
        case "vector":
            return (field.fill,) * sizes.action_dim
        case "pads":
            return (field.fill,) * sizes.horizon
        case "chunk":
            return ((field.fill,) * sizes.action_dim,) * sizes.horizon
        case _:
            return field.fill


def unfilled(columns: Mapping[str, Any]) -> ExampleRecord:
    """The record. Inverse of `filled`. Raises ValueError if the values are not those of a record."""
    values = dict(columns)
    if values["kind"] == "web":
        values |= {field.name: None for field in FIELDS if field.nullable}
    values["state"] = values["state"] or None
    values |= {field.name: values[field.name] or None for field in MORE_FIELDS if field.name in values}
    if values["timestamp"] is not None and values["timestamp"] < 0:
        values["timestamp"] = None
    return unflatten(values)


def shape_of(field: Field, sizes: Sizes) -> tuple[int, ...] | None:
    """The fixed shape of a field's values; None if rows differ, () for a single value."""
    shapes = {"one": (), "vector": (sizes.action_dim,), "pads": (sizes.horizon,), "chunk": (sizes.horizon, sizes.action_dim)}
    found = shapes.get(field.shape)
    return None if found is None or (found and not sizes.action_dim) else found


def no_null(sizes: Sizes) -> str:
    """A sentence for formats without null: the value that replaces null, by column."""
    fills = ", ".join(f"{field.name} {_fill_in_words(field, sizes)}" for field in FIELDS if field.nullable)
    return (
        f"This format has no null: rows of kind web have {fills}; a robot row without a state has state [], one without a time has "
        "timestamp -1."
    )


def _fill_in_words(field: Field, sizes: Sizes) -> str:
    shape, value = shape_of(field, sizes), msgspec.json.encode(field.fill).decode()
    return f"{' x '.join(map(str, shape))} x {value}" if shape else value
