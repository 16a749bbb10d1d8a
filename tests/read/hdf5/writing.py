"""Logs as the tools of each layout write them, with h5py."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from PIL import Image

WORDS = "turn on the stove"


def numbers(seed: int, steps: int, width: int) -> Any:
    return np.random.default_rng(seed).normal(size=(steps, width))


def frames(seed: int, steps: int, height: int = 24, width: int = 32) -> Any:
    return np.random.default_rng(seed).integers(0, 256, (steps, height, width, 3), dtype=np.uint8)


def jpegs(seed: int, steps: int, side: int = 32) -> list[bytes]:
    found = []
    for pixels in frames(seed, steps, side, side):
        out = io.BytesIO()
        Image.fromarray(pixels).save(out, "JPEG", quality=50 + 5 * (len(found) % 8))
        found.append(out.getvalue())
    return found


def write_demo(data: Any, name: str, seed: int, steps: int = 6, cameras: Sequence[str] = ("agentview_image", "eye_image")) -> Any:
    """One episode of robomimic's layout: frames compressed, in chunks of four."""
    demo = data.create_group(name)
    demo.attrs["num_samples"] = steps
    demo["actions"] = numbers(seed, steps, 7)
    demo["states"] = numbers(seed + 1, steps, 9)
    demo["rewards"] = np.eye(steps)[-1] if seed % 2 else np.zeros(steps)
    demo["dones"] = np.eye(steps, dtype=np.int64)[-1]
    for group in ("obs", "next_obs"):
        seen = demo.create_group(group)
        seen["robot0_eef_pos"], seen["robot0_eef_quat"] = numbers(seed + 2, steps, 3), numbers(seed + 3, steps, 4)
        seen["robot0_gripper_qpos"] = numbers(seed + 4, steps, 2)
        for number, camera in enumerate(cameras):
            pixels = frames(seed + 5 + number, steps)
            seen.create_dataset(camera, data=pixels, compression="gzip", chunks=(min(4, steps), 12, 16, 1))
    return demo


def write_robomimic(path: Path, steps: Sequence[int] = (6, 7, 8), masks: dict[str, Sequence[str]] | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["env_args"] = json.dumps({"env_name": "Lift", "env_kwargs": {"robots": ["Panda"], "control_freq": 20}})
        data.attrs["total"] = sum(steps)
        for number, count in enumerate(steps):
            write_demo(data, f"demo_{number}", 10 * number, count)
        for name, episodes in (masks or {}).items():
            file[f"mask/{name}"] = np.array(episodes, "S")
    return path


def write_libero(path: Path, words: bool = True, convention: str = "opengl") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["bddl_file_name"] = "bddl_files/x.bddl"
        data.attrs["macros_image_convention"] = convention
        said = {"problem_name": "libero", "domain_name": "robosuite"}
        data.attrs["problem_info"] = json.dumps(said | ({"language_instruction": WORDS} if words else {}))
        for number in range(2):
            demo = data.create_group(f"demo_{number}")
            demo["actions"] = numbers(number, 5, 7)
            demo["dones"], demo["rewards"] = np.eye(5, dtype=np.uint8)[-1], np.eye(5, dtype=np.uint8)[-1]
            for name, width in (("ee_states", 6), ("ee_pos", 3), ("ee_ori", 3), ("gripper_states", 2), ("joint_states", 7)):
                demo[f"obs/{name}"] = numbers(number + width, 5, width)
            for name in ("agentview_rgb", "eye_in_hand_rgb"):
                demo[f"obs/{name}"] = frames(number, 5, 128, 128)
    return path


def write_act(path: Path, seed: int = 0, steps: int = 6, as_jpeg: bool = True) -> Path:
    """As the recording scripts of ALOHA and ACT do: rows of JPEG, padded with zeros to the longest."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file.attrs["sim"], file.attrs["compress"] = False, as_jpeg
        file["observations/qpos"], file["observations/qvel"] = numbers(seed, steps, 14), numbers(seed + 1, steps, 14)
        file["action"] = numbers(seed + 2, steps, 14)
        lengths = []
        for camera in ("cam_low", "cam_high"):
            if not as_jpeg:
                file[f"observations/images/{camera}"] = frames(seed + len(camera), steps)
                continue
            encoded = jpegs(seed + len(camera), steps)
            size = max(map(len, encoded)) + 7
            rows = np.stack([np.frombuffer(each.ljust(size, b"\0"), np.uint8) for each in encoded])
            file.create_dataset(f"observations/images/{camera}", data=rows, chunks=(1, size))
            lengths.append([len(each) for each in encoded])
        if as_jpeg:
            file["compress_len"] = np.array(lengths)
    return path


def write_droid(path: Path, seed: int = 0, steps: int = 6) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file.attrs.update({"success": True, "failure": False, "current_task": "Put the cup on the shelf"})
        for name, width in (("cartesian_position", 6), ("cartesian_velocity", 6), ("joint_velocity", 7)):
            file[f"action/{name}"] = numbers(seed + width, steps, width)
        file["action/gripper_position"] = np.linspace(0, 1, steps)
        state = file.create_group("observation/robot_state")
        state["cartesian_position"], state["gripper_position"] = numbers(seed, steps, 6), np.linspace(0, 1, steps)
        file["observation/timestamp/robot_state/read_start"] = 1_690_000_000_000 + np.arange(steps) * 66
        file["observation/controller_info/movement_enabled"] = np.ones(steps, np.bool_)
    return path
