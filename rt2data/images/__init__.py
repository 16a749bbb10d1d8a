"""Encoded images: recognizing them, and preparing them for a mixture."""
