"""Facts about zarr stores."""

from __future__ import annotations

ABSENT = "zarr.absent_chunks"
"""Chunks of numbers that are not in the store, which stand for its fill value."""
