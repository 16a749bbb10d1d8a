"""Outputs read by our own readers, for others to be held against."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from rt2data.formats.base import make_format
from rt2data.render.fields import ExampleRecord
from rt2data.render.record import decode_record
from rt2data.seal.manifest import read_manifest


def examples(out: Path) -> list[tuple[bytes, ExampleRecord]]:
    """Picture and record of each example of an output, in order, as our own reader gives them."""
    manifest = read_manifest(out)
    form = make_format(manifest.plan.format)
    return [(bytes(m.image), decode_record(m.record)) for shard in manifest.shards for m in form.read(out / shard.name)]


def all_images(out: Path) -> dict[str, dict[int, bytes]]:
    """All images of each example of an output, by key and place."""
    manifest = read_manifest(out)
    form = make_format(manifest.plan.format)
    members = (member for shard in manifest.shards for member in form.read(out / shard.name))
    return {member.key: {image.slot: bytes(image.data) for image in member.images} for member in members}


def as_record(record: ExampleRecord) -> dict[str, Any]:
    """What a trainer should get of an example where there is null."""
    found: dict[str, Any] = msgspec.to_builtins(record)
    return found


def as_columns(record: ExampleRecord, dim: int = 7, horizon: int = 1) -> dict[str, Any]:
    """What a trainer should get of an example where there is no null: actions padded, zeros and no mask for web."""
    web: dict[str, Any] = {"action": [0.0] * dim, "action_mask": [False] * dim, "action_bins": [], "terminate": False, "step": -1}
    web |= {"actions": [[0.0] * dim] * horizon, "action_is_pad": [True] * horizon, "state": []}
    web |= {"episode": "", "camera": "", "action_space": "", "codec": "", "episode_length": -1, "timestamp": -1.0}
    return {name: web[name] if value is None else value for name, value in as_record(record).items()}
