"""Step three: the prepared store of a source."""
