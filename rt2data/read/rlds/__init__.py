"""Robot logs as RLDS: TFDS folders of TFRecord files."""
