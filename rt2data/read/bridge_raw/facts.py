"""Facts about raw BridgeData."""

from __future__ import annotations

LATE, MORE_WORDS = "bridge_raw.camera_latency", "bridge_raw.more_annotations"
"""Episodes whose observations came one step late; episodes with several descriptions, of which the first is used."""
