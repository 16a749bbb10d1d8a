"""Robot logs in RLDS format: TFDS folders of TFRecord files."""
