"""Parquet files with damaged footers."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from rt2data.io.tables import column_chunks, parquet_file
from tests.damage import footer_flips


def test_column_chunks_of_a_damaged_footer_are_refused_or_read(tmp_path: Path) -> None:
    """pyarrow itself would end the process."""
    path = tmp_path / "a.parquet"
    images = [{"bytes": None, "path": f"{number}.png"} for number in range(30)]
    pq.write_table(pa.table({"images.top": images, "order": pa.array(range(30), pa.uint64())}), path, row_group_size=10)
    with parquet_file(path) as file:
        assert [each.path_in_schema for each in column_chunks(file, 1, ["order"])] == ["order"]
        assert [each.path_in_schema for each in column_chunks(file, 1, ["images.top"])] == ["images.top.bytes", "images.top.path"]
    refused = read = 0
    for damaged in footer_flips(path.read_bytes(), every=5):
        path.write_bytes(damaged)
        try:
            with parquet_file(path) as file:
                chunks = column_chunks(file, 0, ["images.top", "order"])
                known = [(each.total_compressed_size, each.statistics and each.statistics.null_count) for each in chunks]
                read += len(known) > 0
        except (OSError, pa.ArrowException, UnicodeDecodeError):
            refused += 1
    assert refused and read
