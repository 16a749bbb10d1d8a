"""Finding the image that a web record names."""
