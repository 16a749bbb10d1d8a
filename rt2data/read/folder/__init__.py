"""Your own logs: a folder for each episode, with a line of JSON for each step."""
