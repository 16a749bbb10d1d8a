"""Step eight: what was built, for people."""
