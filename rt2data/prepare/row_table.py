"""The columns of a prepared row, and tables of such rows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rt2data.records import Region


def _image(file: pa.DataType) -> pa.StructType:
    return pa.struct(
        [
            ("camera", pa.string()),
            ("at", pa.int32()),  # control steps from the row's own: 0 or negative
            ("chosen", pa.bool_()),  # whether a mixture uses it
            ("file", file),
            ("offset", pa.int64()),
            ("length", pa.int32()),
            ("width", pa.int32()),
            ("height", pa.int32()),
            ("format", pa.string()),
            ("xxh3", pa.uint64()),  # of the encoded bytes: detects a changed image when it is copied
        ]
    )


IMAGE = _image(pa.int32())
"""`file` is the index in files.parquet."""


class ImageEntry(NamedTuple):
    """One image as stored in a row: the fields of `IMAGE`."""

    camera: str
    at: int
    chosen: bool
    file: int
    offset: int
    length: int
    width: int
    height: int
    format: str
    xxh3: int


TURN = pa.struct([("role", pa.string()), ("text", pa.string()), ("loss", pa.bool_())])
ROWS = pa.schema(
    [
        ("key", pa.string()),
        ("order", pa.uint64()),  # keyed hash of the key; rows are sorted by it
        ("group", pa.string()),
        ("split", pa.dictionary(pa.int8(), pa.string())),
        ("step", pa.int32()),
        ("steps", pa.int32()),
        ("text", pa.string()),
        ("answers", pa.list_(pa.string())),
        ("pick", pa.int32()),
        ("turns", pa.list_(TURN)),  # of a conversation
        ("action", pa.list_(pa.float32())),
        ("chunk", pa.list_(pa.float32())),  # H actions end to end, if the source has a horizon above 1
        ("real", pa.int32()),  # how many of them are not padding
        ("ends", pa.int32()),  # index of the action that ends the task; -1 if none does
        ("state", pa.list_(pa.float32())),
        ("terminate", pa.bool_()),
        ("marks", pa.uint8()),  # `records.End`: what the source says about the end of the episode
        ("timestamp", pa.float64()),
        ("images", pa.list_(IMAGE)),  # those a mixture uses come first, in slot order
        ("digest", pa.uint64()),  # of all a mixture takes from this row, except its chunk, which other rows determine
    ]
)
NOTE = pa.struct([("name", pa.string()), ("text", pa.string())])
REGION = pa.struct(
    [
        ("image", pa.int32()),  # index among the row's images
        *((name, pa.float32()) for name in ("x0", "y0", "x1", "y1")),  # in the stored image; a point has equal corners
        ("label", pa.string()),
    ]
)
MORE = pa.schema(
    [
        ("notes", pa.list_(NOTE)),
        ("pool", pa.list_(pa.string())),  # instructions to choose from
        ("pool_at", pa.int32()),  # index of the row among the kept rows of its episode and pool
        ("pool_of", pa.int32()),  # number of those rows
        ("regions", pa.list_(REGION)),
    ]
)
"""Columns after those of `ROWS`, present if something is joined to the source or any row has regions."""
BOXES, POINTS = "regions.boxes", "regions.points"
"""Facts: number of boxes and of points in the rows."""
_IMAGES = ROWS.get_field_index("images")
UNIT_ROWS = ROWS.set(_IMAGES, pa.field("images", pa.list_(_image(pa.uint64()))))
"""Rows of a unit: `file` is a `staged.file_id`."""
KEYED = [("order", "ascending"), ("key", "ascending")]
"""The sort order of rows."""
TAKEN = [name for name in (*ROWS.names, *MORE.names) if name not in ("order", "digest")]
"""What a mixture reads: all but the hashes, which do not compress and serve only to sort and compare rows."""


def vectors(column: pa.Array | pa.ChunkedArray, width: int) -> NDArray[np.float32] | None:
    """A list<float> column as float32[n, width]; None if there are no vectors."""
    if not width:
        return None
    flat = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return np.asarray(flat.flatten(), dtype=np.float32).reshape(-1, width)


def rows_table(columns: dict[str, list[Any]], schema: pa.Schema = ROWS) -> pa.Table:
    """Rows as a table, in keyed order; with the columns of `MORE` that are given."""
    return pa.table(arrays_of(columns, schema), schema=row_schema(columns, schema)).sort_by(KEYED)


def row_schema(columns: Iterable[str], schema: pa.Schema = ROWS) -> pa.Schema:
    """The schema with those fields of `MORE` that are given."""
    there = {*columns}
    return pa.schema([*schema, *(field for field in MORE if field.name in there)])


def arrays_of(columns: dict[str, list[Any]], schema: pa.Schema = ROWS) -> list[pa.Array]:
    """The columns of `row_schema`."""
    return [_column(columns[field.name], field.type) for field in row_schema(columns, schema)]


def _column(values: list[Any], kind: pa.DataType) -> pa.Array:
    """Vectors are joined end to end, which is much faster than Arrow's own conversion of lists of arrays."""
    if kind in (ROWS.types[_IMAGES], UNIT_ROWS.types[_IMAGES]):
        return _image_column(values, kind)
    if kind != pa.list_(pa.float32()) or all(value is None for value in values):
        return pa.array(values, type=kind)
    lengths = [0 if value is None else len(value) for value in values]
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))
    flat = np.concatenate([np.empty(0, np.float32), *(value for value in values if value is not None)])
    missing = pa.array([value is None for value in values], type=pa.bool_())
    return pa.ListArray.from_arrays(offsets, pa.array(flat, type=pa.float32()), mask=missing)


def _image_column(values: list[list[ImageEntry]], kind: pa.ListType) -> pa.Array:
    """Built field by field, which is much faster than Arrow's own conversion of lists of records."""
    offsets = pa.array(np.concatenate([[0], np.cumsum([len(entries) for entries in values])]).astype(np.int32))
    image = kind.value_type
    fields = list(zip(*(entry for entries in values for entry in entries), strict=True)) or [()] * image.num_fields
    arrays = [pa.array(column, type=image.field(number).type) for number, column in enumerate(fields)]
    return pa.ListArray.from_arrays(offsets, pa.StructArray.from_arrays(arrays, fields=list(image)), type=kind)


def concat_rows(tables: Iterable[pa.Table]) -> pa.Table:
    """Rows of several parts of a source, with every column that any part has."""
    return pa.concat_tables(tables, promote_options="default")


def region_columns(region: Region) -> dict[str, Any]:
    """A region as stored in a row: the fields of `REGION`."""
    x0, y0, x1, y1 = region.coords if region.is_box else region.coords * 2
    return {"image": region.image, "x0": x0, "y0": y0, "x1": x1, "y1": y1, "label": region.label}
