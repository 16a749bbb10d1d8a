"""A store that grows, with units that a test writes itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rt2data.io.stamps import Stamp
from rt2data.prepare.staged import StagedFiles, staged_files
from rt2data.prepare.store import FILES_PARQUET, write_stamps
from rt2data.prepare.units import UNITS, blob_name


def lay_out(folder: Path, units: int, sources: Sequence[str] = ()) -> StagedFiles:
    """The files of a store of so many units, in its staging folder; the units' own files are still to be written."""
    home = folder / UNITS / "arm-0123456789abcdef"
    home.mkdir(parents=True, exist_ok=True)
    blobs = [Stamp(str(home / blob_name(f"{number:032x}")), 0, "") for number in range(units)]
    write_stamps(folder / FILES_PARQUET, [*(Stamp(path, 1, "1") for path in sources), *blobs])
    return staged_files(folder)
