"""Sums over rows that are merged exactly or by a fixed order: what statistics are made of, at any size."""
