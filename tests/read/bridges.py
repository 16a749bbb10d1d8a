"""BridgeData as it was recorded, written as the robot wrote it: pickle.dump of dicts and arrays, JPEGs by number."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from tests.contract.toy import jpeg

DAY = "2022-03-04_10-20-30"
EARLY = "2021-07-22_23-59-59"


def observed(steps: int, seed: int = 0) -> dict[str, Any]:
    """What obs_dict.pkl holds."""
    random = np.random.default_rng(seed)
    return {
        "full_state": random.normal(size=(steps, 7)),
        "qpos": random.normal(size=(steps, 6)).astype(np.float32),
        "eef_transform": random.normal(size=(steps, 4, 4)),
        "time_stamp": [1e9 + number / 5 for number in range(steps)],
        "env_done": [False] * steps,
        "task": "lift",
    }


def decided(steps: int, seed: int = 0) -> list[dict[str, Any]]:
    """What policy_out.pkl holds: one fewer."""
    random = np.random.default_rng(100 + seed)
    return [
        {"actions": random.normal(size=7), "new_robot_transform": random.normal(size=(4, 4)), "policy_type": "VRTeleopPolicy"}
        for _ in range(steps - 1)
    ]


def write_trajectory(
    folder: Path, steps: int, seed: int = 0, protocol: int = 4, cameras: int = 2, words: str | None = "lift block\nconfidence: 1\n"
) -> Path:
    """One trajectory."""
    folder.mkdir(parents=True)
    (folder / "obs_dict.pkl").write_bytes(pickle.dumps(observed(steps, seed), protocol))
    (folder / "policy_out.pkl").write_bytes(pickle.dumps(decided(steps, seed), protocol))
    (folder / "agent_data.pkl").write_bytes(pickle.dumps({"traj_ok": True}, protocol))
    for camera in range(cameras):
        (folder / f"images{camera}").mkdir()
        for number in range(steps):
            (folder / f"images{camera}" / f"im_{number}.jpg").write_bytes(picture(seed, camera, number))
    (folder / "depth_images0").mkdir()
    (folder / "depth_images0" / "im_0.png").write_bytes(b"not read")
    if words is not None:
        (folder / "lang.txt").write_text(words)
    return folder


def picture(seed: int, camera: int, number: int) -> bytes:
    """An image of a trajectory."""
    return jpeg(10_000 * seed + 1000 * camera + number)


def trajectory(root: Path, number: int, day: str = DAY, group: int = 0) -> Path:
    """Where one lies."""
    return root / "toykitchen2" / "set_table" / "00" / day / "raw" / f"traj_group{group}" / f"traj{number}"


def write(root: Path, day: str = DAY, lengths: tuple[int, ...] = (6, 4, 5)) -> Path:
    """A log of trajectories; the last is number 10."""
    for seed, length in enumerate(lengths):
        write_trajectory(trajectory(root, 10 if seed == len(lengths) - 1 else seed, day), length, seed)
    (root / "toykitchen2" / "set_table" / "00" / day / "config.json").write_text("{}")
    return root
