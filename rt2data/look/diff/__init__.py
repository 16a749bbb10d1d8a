"""What changed between two recipes, prepared stores or mixtures."""

from rt2data.look.diff.model import Difference
from rt2data.look.diff.whole import compare

__all__ = ["Difference", "compare"]
