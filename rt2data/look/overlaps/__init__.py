"""Finds what the sources of a recipe have in common: the same pictures, pictures that look alike, the same episodes."""
