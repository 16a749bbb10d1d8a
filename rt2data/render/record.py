"""Records of rows, and the way back from JSON. What a record holds is in `fields`."""

from __future__ import annotations

import msgspec

from rt2data.render.fields import FIELDS, Batch, ExampleRecord

decode_record = msgspec.json.Decoder(ExampleRecord).decode
encode_record = msgspec.json.Encoder().encode


def make_records(batch: Batch) -> list[ExampleRecord]:
    """The record of each row, in their order."""
    columns = [field.of(batch) for field in FIELDS]
    names = [field.name for field in FIELDS]
    return [ExampleRecord(**dict(zip(names, values, strict=True))) for values in zip(*columns, strict=True)]
