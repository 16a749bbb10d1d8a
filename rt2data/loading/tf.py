"""The mixture as a tf.data.Dataset. Importing this file imports TensorFlow; nothing else of rt2data does."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

import numpy as np

from rt2data.errors import UsageError
from rt2data.loading.decode import ARRAYS, PICTURE
from rt2data.loading.mixture import Mixture

tf: Any = import_module("tensorflow")

WHOLE = {"step": np.int64, "epoch": np.int64}
LISTS = ("answers",)
MASKS = {"input_ids": "attention_mask", "state": "state_mask"}


def tf_dataset(mixture: Mixture, batch_size: int, *, drop_last: bool = False, length: int | None = None) -> Any:
    """One pass of a mixture as a tf.data.Dataset of batches: the arrays of `Collate`; text as tf.string, the step of web rows as
    -1.

    Decoding is done by the mixture, in Python; add `.prefetch(1)` to have it run beside the training. Where tf.data reads ahead,
    the mixture's own cursor runs ahead with it: take states by counting batches, with `state_at`. Pictures must have one size.
    """
    signature = _signature(mixture, batch_size if drop_last else None, length)

    def batches() -> Iterator[dict[str, Any]]:
        for batch in mixture.batches(batch_size, drop_last=drop_last, length=length):
            if isinstance(batch.get(PICTURE), list) and mixture.view.decode == "rgb":
                raise UsageError("pictures of several sizes in a batch", do="give load a resize")
            yield {name: _plain(name, value) for name, value in batch.items() if name in signature}

    return tf.data.Dataset.from_generator(batches, output_signature=signature)


def _signature(mixture: Mixture, rows: int | None, length: int | None) -> dict[str, Any]:
    view, widths = mixture.view, mixture.contents.widths
    found: dict[str, Any] = {}
    for name in view.columns:
        if name in ARRAYS:
            width = widths.get(name, length)
            found[name] = tf.TensorSpec((rows, width), ARRAYS[name])
            if name in MASKS:
                found[MASKS[name]] = tf.TensorSpec((rows, width), np.bool_)
        elif name not in LISTS:
            found[name] = tf.TensorSpec((rows,), np.bool_ if name == "terminate" else WHOLE.get(name, tf.string))
    if view.decode == "rgb":
        found[PICTURE] = tf.TensorSpec((rows, *(view.resize or (None, None)), 3), np.uint8)
    elif view.decode:
        found[PICTURE] = tf.TensorSpec((rows,), tf.string)
    return found


def _plain(name: str, value: Any) -> Any:
    """Values TensorFlow takes: no None."""
    if not isinstance(value, list):
        return value
    empty = -1 if name in WHOLE else ""
    return [empty if row is None else row for row in value]
