"""Step four: what was asked and what the stores hold become exact draws."""
