"""What was built, for eyes."""
