"""TFDS and the RLDS package as oracles: what is written back is what a real log held, and it keeps the laws of RLDS."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest

from rt2data.build import Site, build_plainly, rlds_output
from rt2data.plan.episodes import RldsOptions
from rt2data.plan.recipe import Recipe, read_recipe
from rt2data.render.tokenizer import load_tokenizer
from rt2data.seal.episodes import RldsManifest
from tests.formats.rlds.test_loaded import absolute_by_loop, bridge_by_loop
from tests.formats.rlds.test_registration import GOOGLE, text_of
from tests.packages import later

pytestmark = pytest.mark.long

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
tf, tfds = later("tensorflow"), later("tensorflow_datasets")
logging.getLogger("absl").setLevel(logging.ERROR)

CAMERAS = ("image_0", "image_1", "image_2", "image_3")


def write(recipe: Recipe, out: Path, **wishes: Any) -> RldsManifest:
    return build_plainly(recipe, Site(out), output=rlds_output(RldsOptions(**wishes)))


def bridge(shared_data: Path, folder: Path) -> Recipe:
    """Nothing dropped, so that all can be compared."""
    (folder / "mixture.yaml").write_text(
        f"""
robot_frac: 1
store: store
shards: {{bytes: 600kB}}
robot:
  bridge:
    {{kind: rlds, path: {shared_data}/rlds_bridge/bridge_dataset/1.0.0, action_space: widowx_bridge, filters: {{drop_last: 0}}}}
"""
    )
    return read_recipe(folder / "mixture.yaml")


def episodes(builder: Any, split: str) -> list[list[dict[str, Any]]]:
    raw = {"steps": {"observation": {camera: tfds.decode.SkipDecoding() for camera in CAMERAS}}}
    found = builder.as_dataset(split=split, decoders=raw)
    return [list(tfds.as_numpy(episode["steps"])) for episode in found]


def names(builder: Any, split: str) -> list[str]:
    skip = {"steps": tfds.decode.SkipDecoding()}
    found = tfds.as_numpy(builder.as_dataset(split=split, decoders=skip))
    return [episode["episode_metadata"]["episode_id"].decode() for episode in found]


def test_a_real_log_written_back_is_the_same_log(shared_data: Path, tmp_path: Path) -> None:
    write(bridge(shared_data, tmp_path), tmp_path / "out", layout="bridge")
    theirs = tfds.builder_from_directory(str(shared_data / "rlds_bridge/bridge_dataset/1.0.0"))
    ours = tfds.builder("bridge_dataset", data_dir=str(tmp_path / "out"))
    for split in ("train", "val"):
        originals = episodes(theirs, split)
        copies = dict(zip(names(ours, split), episodes(ours, split), strict=True))
        assert len(copies) == len(originals) == ours.info.splits[split].num_examples
        for number, original in enumerate(originals):
            _compare(copies[f"{split}-00000-{number:06d}"], original)
    assert len(ours.info.splits["train"].shard_lengths) > 1
    _compare_statistics(tmp_path / "out/bridge_dataset/1.0.0/dataset_statistics.json", episodes(theirs, "train"))


def _compare(copy: list[dict[str, Any]], original: list[dict[str, Any]]) -> None:
    assert len(copy) == len(original)
    for at, (one, other) in enumerate(zip(copy, original, strict=True)):
        assert one["action"].tobytes() == other["action"].tobytes()
        assert one["observation"]["state"].tobytes() == other["observation"]["state"].tobytes()
        assert one["language_instruction"] == other["language_instruction"]
        assert all(one["observation"][camera] == other["observation"][camera] for camera in CAMERAS)
        assert (one["is_first"], one["is_last"]) == (at == 0, at == len(copy) - 1)


def _compare_statistics(path: Path, originals: list[list[dict[str, Any]]]) -> None:
    """They are of what OpenVLA trains on under this name: actions between states, without the first and the last step."""
    found = json.loads(path.read_text())["bridge_dataset"]
    loaded = [
        bridge_by_loop(np.stack([s["action"] for s in e]), np.stack([s["observation"]["state"] for s in e])) for e in originals
    ]
    for part, rows in zip(("action", "proprio"), zip(*loaded, strict=True), strict=True):
        exact = np.concatenate(rows).astype(np.float64)
        for name, values in {"mean": exact.mean(0), "std": exact.std(0), "max": exact.max(0)}.items():
            np.testing.assert_allclose(found[part][name], values, rtol=1e-9, atol=1e-12)
        for name, share in (("q01", 0.01), ("q99", 0.99)):
            np.testing.assert_allclose(found[part][name], np.quantile(exact, share, axis=0), rtol=1e-9, atol=1e-12)
    assert found["action"]["mask"] == [True] * 6 + [False]
    assert (found["num_transitions"], found["num_trajectories"]) == (sum(len(e) - 2 for e in originals), 10)
    raw = np.quantile(np.stack([step["action"] for episode in originals for step in episode]), 0.99, axis=0)
    assert np.abs(np.array(found["action"]["q99"]) - raw).max() > 0.02, "what was written is not what is loaded"


def test_everything_loads_tokens_too(toy_recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    write(toy_recipe(), tmp_path / "out", tokens=True)
    robot = tfds.load("arm_rlds:1.0.0", data_dir=str(tmp_path / "out"), split="train[:50%]")
    steps = [step for episode in robot for step in tfds.as_numpy(episode["steps"])]
    assert len(steps) == 24
    tokenizer = load_tokenizer("byte", None)
    for step in steps:
        assert step["observation"]["image_front"].shape == (32, 32, 3)
        assert len(step["loss_mask"]) == len(step["input_ids"]) > step["loss_mask"].sum() > 0
        assert step["target"].decode().split() == [str(number) for number in step["action_bins"]]
        whole = f"{step['prompt'].decode()} {step['target'].decode()}"
        assert step["input_ids"].tolist() == [*tokenizer.encode_batch([whole])[0], tokenizer.eos_id]
    web = list(tfds.builder_from_directory(str(tmp_path / "out/qa_rlds/1.0.0")).as_dataset(split="train"))
    assert len(web) == 9
    for example in web:
        (step,) = tfds.as_numpy(example["steps"])
        assert (step["is_first"], step["is_last"], step["is_terminal"]) == (True, True, True)
        assert (step["answer"], step["answers"].tolist()) == (b"two", [b"two", b"two", b"2"])
        assert step["language_instruction"].startswith(b"How many? ")
        assert not step["action"].any()
        assert not step["action_mask"].any()
        assert step["observation"]["image"].shape == (32, 32, 3)


def test_the_laws_of_rlds(toy_recipe: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its package needs reverb for patterns alone, which are not used here."""
    monkeypatch.setitem(sys.modules, "reverb", MagicMock())
    rlds = pytest.importorskip("rlds")
    write(toy_recipe(), tmp_path / "out")
    episodes = tfds.load("arm_rlds:1.0.0", data_dir=str(tmp_path / "out"), split="train")
    assert {rlds.OBSERVATION, rlds.ACTION, rlds.REWARD, rlds.DISCOUNT, rlds.IS_FIRST, rlds.IS_LAST, rlds.IS_TERMINAL} <= set(
        episodes.element_spec["steps"].element_spec
    )
    for episode in episodes:
        steps = episode[rlds.STEPS]
        assert int(rlds.transformations.episode_length(steps)) == 8
        assert float(rlds.transformations.sum_dataset(steps, lambda step: step[rlds.REWARD])) == 1
        cut = list(rlds.transformations.truncate_after_condition(steps, lambda step: step[rlds.IS_TERMINAL]))
        assert len(cut) == 8
        shifted = rlds.transformations.shift_keys(steps, [rlds.REWARD], 1)
        assert sum(1 for _ in shifted) == 7
        batched = list(rlds.transformations.batch(steps, size=2, shift=1, drop_remainder=True))
        assert len(batched) == 7


@pytest.mark.parametrize("changes", [[0, 0, 1, 0, -1, 0], [0, 0, 0], [-1, 0, 0.05, 1], [0.2], [-0.0, -0.3, 0, 0.09]])
def test_a_relative_gripper_is_registered_as_an_absolute_one(changes: list[float]) -> None:
    """The transform of Google's robot: terminate is gone, the six deltas are the same, the gripper is 1 open and 0 closed."""
    names: dict[str, Any] = {}
    exec(text_of(GOOGLE) or "", names)
    actions = np.random.default_rng(0).normal(size=(len(changes), 8)).astype(np.float32)
    actions[:, 7] = changes
    found = names["arm_rlds_transform"]({"action": tf.constant(actions), "observation": {"state": tf.zeros((len(changes), 3))}})
    np.testing.assert_array_equal(found["action"][:, :6], actions[:, 1:7])
    assert found["action"][:, 6].numpy().tolist() == absolute_by_loop(changes)
    assert found["action"].dtype == tf.float32
