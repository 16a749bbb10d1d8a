"""The mixture as a tf.data.Dataset: the same batches, with no None in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rt2data
from rt2data.errors import UsageError
from tests.packages import later

tensorflow, loading = later("tensorflow"), later("rt2data.loading.tf")
pytestmark = pytest.mark.long


def test_the_same_batches(mixture: Path) -> None:
    options: dict[str, Any] = {"resize": (16, 16), "start": 500}
    theirs = list(loading.tf_dataset(rt2data.load(mixture, **options), 32).prefetch(1).as_numpy_iterator())
    ours = list(rt2data.load(mixture, **options).batches(32))
    assert len(theirs) == len(ours) == 16
    for one, other in zip(theirs, ours, strict=True):
        for name in ("image", "input_ids", "attention_mask", "loss_mask", "action", "action_mask", "action_bins", "terminate"):
            assert one[name].dtype == other[name].dtype and np.array_equal(one[name], other[name]), name
        assert [text.decode() for text in one["target"].tolist()] == other["target"]
        assert one["step"].tolist() == [-1 if step is None else step for step in other["step"]]


def test_fixed_shapes(mixture: Path) -> None:
    opened = rt2data.load(mixture, resize=(16, 16), columns=("key", "input_ids"))
    spec = loading.tf_dataset(opened, 32, drop_last=True, length=opened.contents.longest).element_spec
    assert spec["input_ids"].shape == (32, opened.contents.longest) and spec["image"].shape == (32, 16, 16, 3)
    assert set(spec) == {"key", "input_ids", "attention_mask", "image"}


def test_encoded_images(mixture: Path) -> None:
    batch = next(iter(loading.tf_dataset(rt2data.load(mixture, decode="jpeg"), 4).as_numpy_iterator()))
    assert batch["image"].shape == (4,) and batch["image"][0].startswith(b"\xff\xd8")


def test_images_of_several_sizes(mixture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = rt2data.load(mixture)
    monkeypatch.setattr("rt2data.loading.mixture.Mixture.batches", lambda *_, **__: iter([{"image": [np.zeros((2, 2, 3))]}]))
    with pytest.raises((UsageError, tensorflow.errors.OpError), match="several sizes"):
        list(loading.tf_dataset(opened, 4).as_numpy_iterator())
