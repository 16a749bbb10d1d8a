"""The rows of a unit under construction: finished ones are kept as Arrow arrays, in a tenth of the memory of Python objects."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rt2data.prepare.row_builder import RowBuilder
from rt2data.prepare.row_table import KEYED, UNIT_ROWS, arrays_of, row_schema

AT_ONCE = 2048
"""Rows held as Python objects, about 4 kB each."""
GROUP = 1024
"""Rows per row group of a fragment."""


@dataclass
class UnitRows(RowBuilder):
    """Rows that are written at the end, in keyed order."""

    splits: Counter[str] = field(default_factory=Counter)
    _arrays: dict[str, list[pa.Array]] = field(init=False)
    _dims: dict[str, set[int]] = field(default_factory=lambda: {"action": set(), "state": set()})

    def __post_init__(self) -> None:
        super().__post_init__()
        self._arrays = {name: [] for name in self.columns}

    def dims(self, column: str) -> tuple[int, ...]:
        """All distinct lengths of the vectors in a column."""
        return tuple(sorted(self._dims[column].union(super().dims(column))))

    def write_fragment(self, path: Path) -> None:
        """Write all rows, in keyed order, to a file, and release them."""
        rows = self._table()
        order = pc.sort_indices(rows, sort_keys=KEYED)
        with pq.ParquetWriter(
            path, rows.schema, compression="lz4", use_dictionary=["split"], write_statistics=["order"], write_page_checksum=True
        ) as file:
            for start in range(0, max(len(order), 1), GROUP):
                file.write_table(rows.take(order.slice(start, GROUP)))

    def _write(self, *given: Any) -> None:
        super()._write(*given)
        if "pool" not in self.columns:  # `pool` needs all rows of an episode
            self._lay_by_if_many()

    def _number_rows(self) -> None:
        super()._number_rows()
        self._lay_by_if_many()

    def _lay_by_if_many(self) -> None:
        if len(self.columns["key"]) >= AT_ONCE:
            self._lay_by()

    def _lay_by(self) -> None:
        """Convert pending rows to arrays."""
        self.splits.update(self.columns["split"])
        for name, seen in self._dims.items():
            seen.update(super().dims(name))
        for name, array in zip(self.columns, arrays_of(self.columns, UNIT_ROWS), strict=True):
            self._arrays[name].append(array)
            self.columns[name].clear()

    def _table(self) -> pa.Table:
        """All rows, column by column, so that only one column at a time is in memory twice."""
        self._lay_by()
        if not any(len(values) > values.null_count for values in self._arrays.get("regions", ())):
            self._arrays.pop("regions", None)
        schema = row_schema(self._arrays, UNIT_ROWS)
        return pa.table([_joined(self._arrays.pop(name)) for name in schema.names], schema=schema)


def _joined(parts: list[pa.Array]) -> pa.Array:
    """One array; dictionaries are unified in order of first use."""
    return pa.chunked_array(parts).unify_dictionaries().combine_chunks()
