"""From HDF5 logs to mixtures and back."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

import rt2data
from rt2data.build import Site, build_plainly
from rt2data.cli.app import app
from rt2data.look.inspect import recognize
from rt2data.look.verify import verify
from rt2data.plan.recipe import parse_recipe
from rt2data.prepare import units as prepared_units
from tests.read.hdf5 import writing


def recipe(place: Path, path: Path, more: str = "") -> str:
    source = f"{{kind: hdf5, path: {path}, action_space: generic_nd, blank_instruction: keep{more}}}"
    return f"robot_frac: 1\nsize: {{epochs: 1}}\nstore: {place}/store\nrobot: {{arm: {source}}}\n"


@pytest.mark.parametrize("path", ["sim_metaworld_hdf5/metaworld.hdf5", "hdf5_act_xhand"])
def test_a_suggested_recipe_builds(path: str, shared_data: Path, tmp_path: Path) -> None:
    suggested = recognize(shared_data / path).suggestion()
    text = f"robot_frac: 1\nsize: {{num_examples: 40}}\nstore: store\n{suggested}"
    manifest = build_plainly(parse_recipe(text, "mix.yaml", tmp_path, check=True), Site(tmp_path / "out"))
    assert verify(tmp_path / "out").faults == () and not any(manifest.rejects.values())
    assert sum(shard.examples for shard in manifest.shards) == 40


def test_actions_and_images_are_those_of_the_log(shared_data: Path, tmp_path: Path) -> None:
    """JPEG is copied byte for byte, without what fills its row."""
    path = shared_data / "hdf5_act_xhand"
    build_plainly(parse_recipe(recipe(tmp_path, path, ", camera: cam_high"), "mix.yaml", tmp_path), Site(tmp_path / "out"))
    with h5py.File(path / "episode_0.hdf5") as file:
        actions, rows = file["action"][()], file["observations/images/cam_high"][()]
    examples = list(rt2data.load(tmp_path / "out", decode=None))
    assert sorted(example["step"] for example in examples) == list(range(70))
    with tarfile.open(tmp_path / "out" / "shard-000000.tar") as tar:
        for example in examples:
            np.testing.assert_allclose(example["action"], actions[example["step"]], rtol=1e-6)
            member = tar.extractfile(f"{example['key']}.jpg")
            assert member is not None and member.read() == rows[example["step"]].tobytes().rstrip(b"\0")


def test_jpegs_of_the_real_hand_are_right(shared_data: Path) -> None:
    """OpenCV was given BGR when it wrote them: the ladle is yellow, not blue."""
    with h5py.File(shared_data / "hdf5_act_xhand" / "episode_0.hdf5") as file:
        image = Image.open(io.BytesIO(file["observations/images/cam_high"][0].tobytes()))
    ladle = np.asarray(image.convert("RGB"))[103:118, 75:100].reshape(-1, 3).mean(axis=0)
    assert ladle[0] > ladle[2] + 60 and ladle[1] > ladle[2] + 40


def test_only_new_files_are_read(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    for number in (1, 2):
        writing.write_act(logs / f"episode_{number}.hdf5", number)
    text = recipe(tmp_path, logs, ", camera: cam_low")
    first = build_plainly(parse_recipe(text, "mix.yaml", tmp_path), Site(tmp_path / "one"))
    before = {each.name for each in (tmp_path / "store" / prepared_units.UNITS).rglob("fragment-*")}
    writing.write_act(logs / "episode_10.hdf5", 10)
    second = build_plainly(parse_recipe(text, "mix.yaml", tmp_path), Site(tmp_path / "two"))
    after = {each.name for each in (tmp_path / "store" / prepared_units.UNITS).rglob("fragment-*")}
    assert before < after and len(after) == len(before) + 1
    assert [sum(shard.examples for shard in each.shards) for each in (first, second)] == [12, 18]


def test_other_words_beside_a_log_are_read(tmp_path: Path) -> None:
    path = writing.write_act(tmp_path / "logs" / "episode_0.hdf5")
    for words in ("stack the cups", "fold the cloth"):
        path.with_suffix(".txt").write_text(words)
        text = recipe(tmp_path, path, ", camera: cam_low")
        build_plainly(parse_recipe(text, "mix.yaml", tmp_path), Site(tmp_path / words.replace(" ", "_")))
        found = rt2data.load(tmp_path / words.replace(" ", "_"), decode=None)
        assert all(words in example["prompt"] for example in found)


def test_images_that_are_none_are_rejects(tmp_path: Path) -> None:
    path = writing.write_act(tmp_path / "episode_0.hdf5", steps=200)
    with h5py.File(path, "r+") as file:
        file["observations/images/cam_low"][1] = 0
        file["observations/images/cam_low"][2, 300:] = 0
    text = recipe(tmp_path, path, ", camera: cam_low")
    manifest = build_plainly(parse_recipe(text, "mix.yaml", tmp_path), Site(tmp_path / "out"), True)
    assert {each.reason: each.count for each in manifest.rejects["arm"]} == {"empty_image": 1, "truncated_image": 1}


def test_a_log_without_images_can_be_looked_at(shared_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = shared_data / "hdf5_robosuite_raw" / "two_arm_handover_demos.hdf5"
    assert not app(["inspect", str(path)], standalone_mode=False)
    assert "has no images" in capsys.readouterr().out
    assert not app(["view", str(path), "-n", "1"], standalone_mode=False)
    assert "demo_5" in capsys.readouterr().out
