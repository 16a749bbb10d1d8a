"""What a source reads, kind by kind."""

from __future__ import annotations

from typing import Any

from rt2data.read.source import Source
from rt2data.records import Reject, Step


def records(source: Source) -> list[Any]:
    """All records, in the order of units."""
    return [record for unit in source.units() for record in source.read(unit)]


def steps(source: Source) -> list[Step]:
    return [record for record in records(source) if isinstance(record, Step)]


def rejects(source: Source) -> list[Reject]:
    return [record for record in records(source) if isinstance(record, Reject)]
