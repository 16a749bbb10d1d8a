"""Action codecs: actions to bins and back."""
