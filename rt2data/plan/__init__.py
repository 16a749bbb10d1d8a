"""Step four: the recipe and the contents of the stores become exact draws."""
