"""Facts about BridgeData as it was recorded."""

from __future__ import annotations

LATE, MORE_WORDS = "bridge_raw.camera_latency", "bridge_raw.more_annotations"
"""Episodes whose observations came one step late; episodes that were described more than once, of which the first counts."""
