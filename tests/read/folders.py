"""Logs of folders, as people write them: json.dumps of each step, and images beside it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.contract.toy import jpeg


def step(number: int, total: int, seed: int = 0, width: int = 7) -> dict[str, Any]:
    """One step of an episode; its words stand in the first only."""
    random = np.random.default_rng(1000 * seed + number)
    return {
        "action": random.normal(size=width).round(6).tolist(),
        "state": random.normal(size=4).tolist(),
        "timestamp": number / 10,
        "images": {"front": f"front/{number:06d}.jpg", "wrist": f"wrist_{number}.jpg"},
        **({"instruction": f"lift block {seed}"} if number == 0 else {}),
        **({"success": seed % 2 == 0} if number == total - 1 else {}),
    }


def write_episode(folder: Path, steps: Sequence[Any], seed: int = 0) -> Path:
    """A folder of one episode. A step that is text is a line as it is."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [each if isinstance(each, str) else json.dumps(each) for each in steps]
    (folder / "steps.jsonl").write_bytes("".join(f"{line}\n" for line in lines).encode("utf-8", "surrogatepass"))
    for number, each in enumerate(steps):
        for camera, name in each.get("images", {}).items() if isinstance(each, dict) else ():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(jpeg(100_000 * seed + 100 * number + len(camera)))
    return folder


def write(root: Path, lengths: Sequence[int] = (5, 7, 4), width: int = 7) -> Path:
    """A log of episodes of so many steps."""
    for seed, length in enumerate(lengths):
        write_episode(root / f"episode_{seed}", [step(number, length, seed, width) for number in range(length)], seed)
    return root
