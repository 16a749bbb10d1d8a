"""One way of feeding a trainer, on one core, in a process of its own: pictures at 224 x 224 with their records; prints examples
per second.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

SIDE = 224
BATCH = 32
BUFFER = 10_000


def load(out: str) -> Iterable[Any]:
    """rt2data alone: numpy batches."""
    import rt2data

    return rt2data.load(out, epochs=None, resize=(SIDE, SIDE)).batches(BATCH)


def load_small(out: str) -> Iterable[Any]:
    """rt2data alone, where the build has resized the pictures."""
    import rt2data

    return rt2data.load(out, epochs=None).batches(BATCH)


def load_records(out: str) -> Iterable[Any]:
    """rt2data without decoding: JPEG bytes and records."""
    import rt2data

    return rt2data.load(out, epochs=None, decode="jpeg").batches(BATCH)


def torch(out: str) -> Iterable[Any]:
    """rt2data under a DataLoader with one worker."""
    from torch.utils.data import DataLoader

    import rt2data
    from rt2data.loading.torch import TorchMixture

    mixture = rt2data.load(out, epochs=None, resize=(SIDE, SIDE))
    return DataLoader(TorchMixture(mixture, BATCH), batch_size=None, num_workers=1)


def webdataset(out: str) -> Iterable[Any]:
    """The same shards through webdataset, the same decode, a list for a batch."""
    import webdataset as wds

    from rt2data.formats.base import MemberImage
    from rt2data.loading.examples import pixels_of

    def ready(example: dict[str, Any]) -> tuple[Any, Any]:
        image = MemberImage(0, "jpg", memoryview(example["jpg"]))
        return json.loads(example["json"]), pixels_of(image, (SIDE, SIDE), "")

    urls = sorted(map(str, Path(out).glob("shard-*.tar")))
    return wds.WebDataset(urls, shardshuffle=False, empty_check=False).repeat().map(ready).batched(BATCH)


def tfds(log: str) -> Iterable[Any]:
    """The log itself as VLA trainers read it: steps flattened, shuffled while still encoded, decoded and resized, in batches."""
    return _tfds(log, "bilinear")


def tfds_lanczos(log: str) -> Iterable[Any]:
    """The same with the filter of OpenVLA's and Octo's loaders."""
    return _tfds(log, "lanczos3")


def _tfds(log: str, method: str) -> Iterable[Any]:
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import tensorflow as tf
    import tensorflow_datasets

    decoders = {"steps": {"observation": {"image_0": tensorflow_datasets.decode.SkipDecoding()}}}
    episodes = tensorflow_datasets.builder_from_directory(log).as_dataset("train", decoders=decoders, shuffle_files=True)

    def ready(step: Any) -> Any:
        picture = tf.io.decode_jpeg(step["observation"]["image_0"], channels=3)
        picture = tf.image.resize(picture, (SIDE, SIDE), method, antialias=True)
        kept = {name: step[name] for name in ("action", "language_instruction", "is_first", "is_last", "is_terminal")}
        return kept | {
            "picture": tf.cast(tf.clip_by_value(tf.round(picture), 0, 255), tf.uint8),
            "state": step["observation"]["state"],
        }

    steps = episodes.repeat().flat_map(lambda episode: episode["steps"]).shuffle(BUFFER)
    return steps.map(ready, num_parallel_calls=1).batch(BATCH).prefetch(1).as_numpy_iterator()


WAYS = {way.__name__: way for way in (load, load_small, load_records, torch, webdataset, tfds, tfds_lanczos)}


def main() -> None:
    """`loading.py WAY PATH SECONDS`."""
    way, path, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    count, started = 0, 0.0
    for count, _ in enumerate(WAYS[way](path)):  # noqa: B007
        started = started or time.monotonic()  # from the first batch on: imports and filling of buffers do not count
        if time.monotonic() - started > seconds:
            break
    Path(sys.argv[4]).write_text(json.dumps(BATCH * count / (time.monotonic() - started)))


if __name__ == "__main__":
    main()
