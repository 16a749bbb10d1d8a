"""Every real log and corpus at once, as a new user mixes them: two commands, and nothing is edited."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import pytest

import rt2data
from rt2data.cli.app import app
from rt2data.look.verify import verify
from rt2data.seal.manifest import read_manifest

pytestmark = pytest.mark.slow
DIMS = {
    "rlds_bridge": 7,
    "lerobot_v21_g1": 26,
    "lerobot_v30_g1": 26,
    "hdf5_robomimic": 7,
    "hdf5_robosuite_raw/lift": 7,
    "hdf5_act_xhand": 19,
    "ros_bridge": 7,
    "sim_metaworld_mcap": 4,
    "sim_metaworld_hdf5": 4,
    "sim_quadrotor_rlds": 4,
    "sim_quadrotor_lerobot_v30_images": 4,
    "sim_language_table_zarr": 2,
    "sim_language_table_mcap": 2,
    "sim_aloha_lerobot_v21": 14,
}
"""The logs, and how many numbers their actions have. Robosuite's own has no images."""
WEB = ("coco_web", "vqa_allennlp", "llava_json_llamafactory")


def test_every_log_in_one_mixture(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    app(["init", *(str(shared_data / name) for name in (*DIMS, *WEB)), "--json"], standalone_mode=False)
    listed = json.loads(capsys.readouterr().out)["found"]
    found = {str(Path(each["path"]).relative_to(shared_data)): each for each in listed}
    assert not any(each["not_read"] for each in listed)
    options = ["--set", "size.num_examples=1500", "--set", "store=store", "-o", "mix", "--workers", "0"]
    app(["build-mixture", *options, "-q"], standalone_mode=False)
    assert verify(tmp_path / "mix").ok
    sizes = defaultdict[str, set[tuple[int, int]]](set)
    for example in rt2data.load("mix"):
        mask = example["action_mask"]
        assert (mask is None) == (example["kind"] == "web")
        if mask is not None:
            sizes[example["source"]].add((len(mask), int(sum(mask))))
            assert not any(value for value, real in zip(example["action"], mask, strict=True) if not real)
    assert {found[name]["name"]: {(26, size)} for name, size in DIMS.items()} == sizes
    statistics = read_manifest(tmp_path / "mix").statistics
    assert {name: len(each["action"]["mean"]) for name, each in statistics.items()} == {
        found[name]["name"]: size for name, size in DIMS.items()
    }
