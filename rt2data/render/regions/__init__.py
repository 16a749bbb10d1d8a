"""Boxes and points as text: one file per model family, with render and parse side by side."""
