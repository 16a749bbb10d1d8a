"""Step seven: the manifest and the files next to the shards."""
