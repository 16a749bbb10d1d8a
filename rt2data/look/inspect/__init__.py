"""What is at a path: a raw dataset, an output, a prepared store or a recipe, recognized and described."""

from rt2data.look.inspect.recognize import KINDS, Inspected, recognize

__all__ = ["KINDS", "Inspected", "recognize"]
