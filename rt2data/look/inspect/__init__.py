"""What lies at a path: a raw dataset, an output, a prepared store or a recipe, recognised and described."""

from rt2data.look.inspect.recognize import KINDS, Sight, recognise

__all__ = ["KINDS", "Sight", "recognise"]
