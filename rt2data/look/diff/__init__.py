"""Finds what changed between two recipes, prepared stores, mixtures or files of statistics."""

from rt2data.look.diff.compare import compare
from rt2data.look.diff.comparison import Comparison

__all__ = ["Comparison", "compare"]
