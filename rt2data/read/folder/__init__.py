"""Your own logs: a folder per episode, with a line of JSON per step."""
