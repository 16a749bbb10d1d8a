"""Encoded images: what they are, and making them ready for a mixture."""
