"""With how many examples a law is tried: a quarter of what it asks for, and all of them where RT2DATA_LAWS is set.

`make test-slow` sets it. The quarter is drawn anew each time, so that many runs try as much as one that is thorough.
"""

from __future__ import annotations

import os
from typing import Any

from hypothesis import HealthCheck, settings

THOROUGH = bool(os.environ.get("RT2DATA_LAWS"))
LEAST = 5


def tries(count: int, **more: Any) -> settings:
    """Settings of a law that asks for so many examples."""
    return settings(max_examples=count if THOROUGH else max(count // 4, min(count, LEAST)), **more)


def register() -> None:
    """For laws that ask for nothing. Time says nothing about a law: a loaded machine is slow, and so is the first import."""
    settings.register_profile("laws", tries(100, deadline=None, suppress_health_check=[HealthCheck.too_slow]), print_blob=True)
    settings.load_profile("laws")
