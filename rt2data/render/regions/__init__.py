"""Boxes and points as text: one file for each family of models, render beside parse."""
