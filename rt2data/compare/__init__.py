"""What changed between two recipes, prepared stores or mixtures."""

from rt2data.compare.model import Difference
from rt2data.compare.whole import compare

__all__ = ["Difference", "compare"]
