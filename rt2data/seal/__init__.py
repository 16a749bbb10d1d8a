"""Step seven: the manifest and the files beside the shards."""
