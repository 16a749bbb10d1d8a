"""Facts about zarr stores."""

from __future__ import annotations

ABSENT = "zarr.absent_chunks"
"""Number chunks missing from the store, which stand for its fill value."""
