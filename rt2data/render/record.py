"""Records from rows, and back from JSON. `fields` says what a record holds."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import starmap

import msgspec

from rt2data.render.fields import FIELDS, MORE_FIELDS, Batch, ExampleRecord

decode_record = msgspec.json.Decoder(ExampleRecord).decode
encode_record = msgspec.json.Encoder().encode


def make_records(batch: Batch) -> Iterator[ExampleRecord]:
    """The record of each row, in order."""
    return starmap(ExampleRecord, zip(*(field.of(batch) for field in (*FIELDS, *MORE_FIELDS)), strict=True))
