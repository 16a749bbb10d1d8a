"""Sums over rows that add exactly or in a fixed order: the basis of statistics of any size."""
