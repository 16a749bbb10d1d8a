"""Step one: one file or small folder for each raw format."""
