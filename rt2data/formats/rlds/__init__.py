"""RLDS: one source as a TFDS dataset whose records are whole episodes, written without TensorFlow."""
