"""Read a mixture with webdataset, or its log with tensorflow-datasets; print examples per second. A process of its own."""

from __future__ import annotations

import io
import json
import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def shards(out: str, decode: bool) -> Iterable[Any]:
    """Records and pictures through webdataset."""
    import simplejpeg
    import webdataset

    urls = sorted(map(str, Path(out).glob("shard-*.tar")))
    for example in webdataset.WebDataset(urls, shardshuffle=False, empty_check=False):
        record, picture = json.loads(example["json"]), example["jpg"]
        yield record, simplejpeg.decode_jpeg(picture) if decode else io.BytesIO(picture)


def steps(log: str, decode: bool) -> Iterable[Any]:
    """Steps through tensorflow-datasets and tf.data, episodes flattened into steps."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import tensorflow as tf
    import tensorflow_datasets as tfds

    decoders = None if decode else {"steps": {"observation": {"image_0": tfds.decode.SkipDecoding()}}}
    episodes = tfds.builder_from_directory(log).as_dataset("train", decoders=decoders)
    flat = episodes.flat_map(lambda episode: episode["steps"]).prefetch(tf.data.AUTOTUNE)
    return flat.as_numpy_iterator()


def main() -> None:
    """`reading.py shards|steps PATH decode|raw SECONDS`."""
    kind, path, mode, seconds = sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4])
    examples = {"shards": shards, "steps": steps}[kind](path, mode == "decode")
    count, started = 0, 0.0
    for count, _ in enumerate(examples):  # noqa: B007
        started = started or time.monotonic()  # from the first example on: imports and warm-up do not count
        if time.monotonic() - started > seconds:
            break
    print(json.dumps({"examples_per_s": count / (time.monotonic() - started)}))


if __name__ == "__main__":
    main()
