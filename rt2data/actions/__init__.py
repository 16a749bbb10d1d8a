"""Action spaces, codecs and their checks."""
