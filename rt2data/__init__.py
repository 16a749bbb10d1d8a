"""Co-training mixtures for vision-language-action models."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from rt2data.io import installation

__all__ = ["__version__", "decode", "load"]

__version__ = installation.VERSION

if TYPE_CHECKING:
    from rt2data.loading import load as load
    from rt2data.loading.actions import decode as decode

_LATE = {"load": "rt2data.loading", "decode": "rt2data.loading.actions"}


def __getattr__(name: str) -> Any:
    """`rt2data.load` and `rt2data.decode`, imported at first use: the command and Beam's workers need neither."""
    if name in _LATE:
        return getattr(import_module(_LATE[name]), name)
    raise AttributeError(f"module 'rt2data' has no attribute {name!r}")
