"""TFRecord, tf.train.Example and TFDS metadata without TensorFlow: encoding and decoding."""
