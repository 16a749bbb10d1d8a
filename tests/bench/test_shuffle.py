"""`make bench`: how well examples are shuffled, beside tf.data with a buffer of 10,000: chi-square over windows, divided by its
degrees of freedom. 1 is as even as drawing at random; more means that neighbours belong together; less, that it is more even.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import rt2data
from tests.bench.generate import STEPS, write_corpus
from tests.bench.loading import BUFFER
from tests.bench.test_build import GIGABYTES, _keep, bench_folder, build, log_of, recipe

__all__ = ["bench_folder"]
pytestmark = pytest.mark.bench
WINDOWS = (64, 256, 1024)
PICTURES = 4000
GROUP = 10
"""Episodes counted together, so that each is expected often enough in a window: neighbours in the log."""


def evenness(labels: NDArray[np.int64], window: int) -> float:
    """Mean chi-square of the labels' counts in runs of `window`, over its degrees of freedom. `labels` int64[n] count from 0."""
    share = np.bincount(labels) / len(labels)
    runs = labels[: len(labels) // window * window].reshape(-1, window)
    counts = np.stack([np.bincount(run, minlength=len(share)) for run in runs])
    expected = window * share
    return float(((counts - expected) ** 2 / expected).sum(axis=1).mean() / (len(share) - 1))


def test_evenness() -> None:
    """Of random labels it is 1, of sorted ones many times as much, of alternating ones 0."""
    labels = np.random.default_rng(0).integers(0, 20, 50_000)
    assert 0.95 < evenness(labels, 256) < 1.05
    assert evenness(np.sort(labels), 256) > 100
    assert evenness(np.arange(50_000) % 2, 64) == 0


def test_shuffle_quality(bench_folder: Path) -> None:
    log, corpus = log_of(bench_folder, GIGABYTES, 50_000), bench_folder / "corpus"
    if not corpus.exists():
        write_corpus(corpus, PICTURES, 50_000)
    place = recipe(bench_folder / "shuffle", log, corpus)
    build(place)
    ways = {"rt2data": _ours(place / "mixture"), f"tf.data, shuffle({BUFFER:,})": _tfds(log)}
    found = {}
    for way, (source, episode) in ways.items():
        figures = {
            f"{what} {w}": evenness(labels, w) for what, labels in (("source", source), ("episode", episode)) for w in WINDOWS
        }
        print(f"\n{way}: chi-square over degrees of freedom: " + ", ".join(f"{k}: {v:.2f}" for k, v in figures.items()))
        found |= {f"{way} {k}": v for k, v in figures.items()}
    _keep(bench_folder, "shuffle", found)


def _labels(drawn: Iterable[int | None]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Source (0 robot, 1 web) of each example; group of episodes of each robot step."""
    steps = list(drawn)
    episodes = np.array([step for step in steps if step is not None], np.int64) // STEPS
    return np.array([step is None for step in steps], np.int64), np.unique(episodes // GROUP, return_inverse=True)[1]


def _ours(out: Path) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    read = rt2data.load(out, decode=None, columns=["kind", "episode", "step"], shuffle=False)
    return _labels(_number(example) if example["kind"] == "robot" else None for example in read)


def _number(example: dict[str, Any]) -> int:
    """Number of a step in the log, from its episode `train-SHARD-NUMBER`. Shards are of equal size but for rounding."""
    _, shard, episode = example["episode"].rsplit("-", 2)
    return (int(shard) * 1_000_000 + int(episode)) * STEPS + int(example["step"])


def _tfds(log: Path) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The log's steps and as many questions, mixed half and half as VLA trainers do."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import tensorflow as tf
    import tensorflow_datasets as tfds

    decoders = {"steps": {"observation": {"image_0": tfds.decode.SkipDecoding()}}}
    episodes = tfds.builder_from_directory(str(log)).as_dataset("train", decoders=decoders, shuffle_files=True)
    numbered = episodes.flat_map(lambda episode: episode["steps"].map(lambda step: step["observation"]["image_0"]))
    count = int(sum(1 for _ in numbered))
    steps = numbered.map(lambda jpeg: tf.strings.to_number(tf.strings.substr(jpeg, 6, 16), tf.int64)).shuffle(BUFFER, seed=0)
    web = tf.data.Dataset.range(count).map(lambda _: tf.constant(-1, tf.int64))
    mixed = tf.data.Dataset.sample_from_datasets([steps, web], [0.5, 0.5], seed=0, stop_on_empty_dataset=True)
    return _labels(None if number < 0 else int(number) for number in mixed.as_numpy_iterator())
