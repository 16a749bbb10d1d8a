"""Step six: one shard of the mixture."""
