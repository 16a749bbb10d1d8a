"""Step five: rows become prompts, targets and token ids."""
