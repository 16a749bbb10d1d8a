"""The mixture as a tf.data.Dataset. Only this file of rt2data imports TensorFlow."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

import numpy as np

from rt2data.errors import UsageError
from rt2data.loading.examples import BATCHED, IMAGE, IMAGES, MASKS, TOKENS
from rt2data.loading.mixture import Mixture
from rt2data.render.fields import FIELDS

tf: Any = import_module("tensorflow")

WHOLE = {field.name for field in FIELDS if field.shape == "one" and field.type == "int64"}
TEXTS = {field.name for field in FIELDS if field.shape == "one" and field.type == "string"}


def tf_dataset(mixture: Mixture, batch_size: int, *, drop_last: bool = False, length: int | None = None) -> Any:
    """One pass of a mixture as a tf.data.Dataset of batches: the arrays of `Collate`.

    Text is tf.string, empty if a row has none; whole numbers are int64, -1 if a row has none. `answers` and `messages`, of which
    rows have any number, are dropped.

    The mixture decodes in Python; add `.prefetch(1)` to decode while the model trains. If tf.data reads ahead, the cursor of the
    mixture moves ahead with it: count batches and get states from `state_at`. Images must have one size.
    """
    signature = _signature(mixture, batch_size if drop_last else None, length)

    def batches() -> Iterator[dict[str, Any]]:
        for batch in mixture.batches(batch_size, drop_last=drop_last, length=length):
            if isinstance(batch.get(IMAGE), list) and mixture.view.decode == "rgb":
                raise UsageError("images of several sizes in a batch", do="give load a resize")
            yield {name: _plain(name, value) for name, value in batch.items() if name in signature}

    return tf.data.Dataset.from_generator(batches, output_signature=signature)


def _signature(mixture: Mixture, rows: int | None, length: int | None) -> dict[str, Any]:
    shapes = dict(mixture.shapes) | dict.fromkeys(TOKENS, (length,))
    types = BATCHED | dict.fromkeys(WHOLE, np.int64) | dict.fromkeys((*TEXTS, "image_names"), tf.string)
    names = [name for name in mixture.view.columns if name in types and name in shapes]
    found = {name: tf.TensorSpec((rows, *shapes[name]), types[name]) for name in names}
    found |= {mask: tf.TensorSpec((rows, *shapes[name]), np.bool_) for name, mask in MASKS.items() if name in found}
    return found | _images(mixture, rows)


def _images(mixture: Mixture, rows: int | None) -> dict[str, Any]:
    view = mixture.view
    if view.decode is None:
        return {}
    name, places = (IMAGE, ()) if view.slots is None else (IMAGES, (len(view.slots),))
    size = (*(view.resize or (None, None)), 3)
    spec = tf.TensorSpec((rows, *places, *size), np.uint8) if view.decode == "rgb" else tf.TensorSpec((rows, *places), tf.string)
    return {name: spec} | ({"image_mask": tf.TensorSpec((rows, *places), np.bool_)} if places else {})


def _plain(name: str, value: Any) -> Any:
    """Values that TensorFlow accepts: no None."""
    if not isinstance(value, list):
        return value
    empty = -1 if name in WHOLE else ""
    return [empty if row is None else row for row in value]
