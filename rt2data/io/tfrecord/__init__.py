"""TFRecord, tf.train.Example and TFDS metadata without TensorFlow: encode beside decode."""
