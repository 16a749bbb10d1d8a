"""Annotations for the episodes of the real Bridge sample, made by tests in the layouts that people have."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rt2data.read.rlds.source import RLDS
from rt2data.records import Step

Episodes = Mapping[tuple[str, str], Sequence[Step]]
"""Steps by file and number in the file."""


def bridge(data: Path, **settings: Any) -> RLDS:
    """The sample with something joined to it."""
    path = str(data / "rlds_bridge" / "bridge_dataset" / "1.0.0")
    return RLDS.model_validate({"path": path, "action_space": "widowx_bridge"} | settings)


def episodes(data: Path) -> Episodes:
    """All steps of the sample as the log has them."""
    found: dict[tuple[str, str], list[Step]] = {}
    source = bridge(data)
    for unit in source.units():
        for step in source.read(unit):
            assert isinstance(step, Step)
            found.setdefault((step.origin, step.number), []).append(step)
    return found


def read(source: RLDS) -> list[Any]:
    """All that the source gives, with what is joined to it."""
    return [each for unit in source.units() for each in source.annotated(source.read(unit), unit.shared)]


def thought(step: Step) -> dict[str, str]:
    """What somebody could have thought before a step."""
    return {
        "task": f"Task: {step.instruction}",
        "plan": "1. reach it 2. grasp it",
        "subtask_reason": "It is still away.",
        "subtask": f"Reach it, {step.step}",
        "move_reason": "It is to the left.",
        "move": "move left",
    }


def ecot(episodes: Episodes) -> dict[str, dict[str, Any]]:
    """The layout of ECoT's file of Bridge."""
    tree: dict[str, dict[str, Any]] = {}
    for (file, number), steps in episodes.items():
        features = {
            "state_3d": [[0.0, 0.0, 0.0]] * len(steps),
            "move_primitive": ["stop"] * len(steps),
            "gripper_position": [[at, 2 * at] for at in range(len(steps))],
            "bboxes": [[[0.9, "a cup", [1, 2, 3, 4]], [0.5, "a pot", [5, 6, 7, 8]]]] * len(steps),
        }
        metadata = {"episode_id": number, "file_path": file, "n_steps": len(steps), "language_instruction": steps[0].instruction}
        reasoning = {str(step.step): thought(step) for step in steps}
        tree.setdefault(file, {})[number] = {"metadata": metadata, "features": features, "reasoning": reasoning}
    return tree


def write(path: Path, tree: Any) -> str:
    path.write_text(json.dumps(tree))
    return str(path)
