"""Co-training mixtures for vision-language-action models."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rt2data.reading import load as load

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """`rt2data.load`, imported when first asked for: the command and Beam's workers never read a mixture."""
    if name == "load":
        return import_module("rt2data.reading").load
    raise AttributeError(f"module 'rt2data' has no attribute {name!r}")
