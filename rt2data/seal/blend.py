"""Extra files of a `materialize: once` output: the weights of its parts, and how a reader mixes them.

Everything follows from the plan, so that it can be checked against it.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from rt2data.formats.base import Blended, BlendFormat, Dataset, Format, Reading, ShardEntry
from rt2data.plan.model import Plan
from rt2data.seal.manifest import Manifest

WEIGHTS = "weights.json"


class Alone(NamedTuple):
    """A part of an output, described as an output of its own."""

    folder: str
    first: int  # number of its first shard in the whole output
    dataset: Dataset


def alone(manifest: Manifest) -> Iterator[Alone]:
    """Every part; none if all shards belong to one mixture."""
    plan, first = manifest.plan, 0
    for part, source in zip(plan.parts or (), plan.sources, strict=False):
        written = manifest.shards[first : first + part.shards]
        shards = tuple(ShardEntry(Path(s.name).name, at, s.examples, s.bytes, s.xxh3_128) for at, s in enumerate(written))
        fingerprint = f"{plan.fingerprint}-{part.source}"
        yield Alone(part.source, first, Dataset(plan.split, fingerprint, plan.sizes, (source.name,), shards))
        first += part.shards


def how_to_read(form: Format, out: Path, manifest: Manifest) -> Reading:
    """How to read the output in Python: the shards, or the parts by weight."""
    if manifest.plan.parts and isinstance(form, BlendFormat):
        return form.blend(_blended(out, manifest), manifest.plan.num_examples)
    return form.reading(out, manifest.dataset)


def once_files(form: Format, manifest: Manifest) -> dict[str, bytes]:
    """File content by name; empty if all shards belong to one mixture."""
    if manifest.plan.parts and isinstance(form, BlendFormat):
        return {WEIGHTS: weights_json(manifest.plan)} | form.blend_files(_blended(Path(), manifest))
    return {}


def _blended(out: Path, manifest: Manifest) -> list[Blended]:
    parts = zip(alone(manifest), manifest.plan.parts or (), strict=True)
    return [Blended(out / each.folder, each.dataset, part.weight) for each, part in parts]


def weights_json(plan: Plan) -> bytes:
    """weights.json: how often to read each part, as a fraction of all examples and as epochs of its rows, both exact."""
    sources: dict[str, Any] = {}
    for part, source in zip(plan.parts or (), plan.sources, strict=True):
        counts = {"draws": source.draws, "examples": part.examples, "rows": source.rows}
        epochs = str(Fraction(source.draws, source.rows))
        sources[source.name] = {"kind": source.kind, "share": source.share, "weight": part.weight, **counts, "epochs": epochs}
    return msgspec.json.format(msgspec.json.encode({"num_examples": plan.num_examples, "sources": sources}), indent=2) + b"\n"
