"""Seals a store whose files of rows are written already: `python -m tests.bench.sealing FOLDER`. The folder is used up."""

from __future__ import annotations

import sys
from pathlib import Path

import pyarrow.parquet as pq

from rt2data.prepare.begin import staging_folder
from rt2data.prepare.gather import RowsSummary
from rt2data.prepare.seal import seal_store
from rt2data.prepare.unit import UnitSummary
from tests.contract.toy import ToyRobot
from tests.prepare.staging import lay_out


def seal(folder: Path) -> None:
    """What is left to do once all rows are gathered."""
    staging = staging_folder(folder)
    files = sorted(staging.glob("rows-train-*.parquet"))
    dims = pq.read_schema(files[0]) and len(pq.ParquetFile(files[0]).read_row_group(0, columns=["action"])["action"][0])
    counts = [pq.read_metadata(path).num_rows for path in files]
    unit = UnitSummary(
        name="arm",
        unit=0,
        rows={"train": sum(counts)},
        rejects=(),
        conversions={},
        action_dims=(dims,),
        state_dims=(0,),
        cameras=("image_0",),
        bytes_read=0,
        blob_bytes=0,
    )
    lay_out(staging, 1)
    rows = [
        RowsSummary(
            name="arm", split="train", number=n, rows=count, image_bytes=0, fewest=1, most=1, text_bytes=0, formats={}, digest=""
        )
        for n, count in enumerate(counts)
    ]
    seal_store("arm", ToyRobot(path="x", action_space="generic_nd"), folder, [unit], rows)


if __name__ == "__main__":
    seal(Path(sys.argv[1]))
