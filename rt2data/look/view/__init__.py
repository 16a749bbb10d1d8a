"""Examples shown one by one: on a terminal, in a browser on the same machine, or plainly."""
