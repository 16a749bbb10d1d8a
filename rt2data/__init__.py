"""Co-training mixtures for vision-language-action models."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rt2data.reading import load as load
    from rt2data.reading.actions import decode as decode

__version__ = "0.1.0"

_LATE = {"load": "rt2data.reading", "decode": "rt2data.reading.actions"}


def __getattr__(name: str) -> Any:
    """`rt2data.load` and `rt2data.decode`, imported when first asked for: the command and Beam's workers need neither."""
    if name in _LATE:
        return getattr(import_module(_LATE[name]), name)
    raise AttributeError(f"module 'rt2data' has no attribute {name!r}")
