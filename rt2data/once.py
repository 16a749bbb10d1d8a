"""What an output of `materialize: once` holds beside its parts: their weights, and how a reader mixes them.

All follows from the plan, so that it can be checked against it.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from rt2data.formats.base import Blended, BlendFormat, Format, Reading
from rt2data.plan import Plan

if TYPE_CHECKING:
    from rt2data.manifest import Manifest

WEIGHTS = "weights.json"


class Alone(NamedTuple):
    """A part of an output, as if it were one by itself."""

    folder: str
    first: int  # number of its first shard in the whole
    manifest: Manifest


def alone(manifest: Manifest) -> Iterator[Alone]:
    """Every part; none where all shards are of one mixture."""
    plan, first = manifest.plan, 0
    for part, source in zip(plan.parts or (), plan.sources, strict=False):
        shards = manifest.shards[first : first + part.shards]
        named = [msgspec.structs.replace(s, index=at, name=Path(s.name).name) for at, s in enumerate(shards)]
        own = msgspec.structs.replace(plan, sources=(source,), shards=part.shards, fingerprint=f"{plan.fingerprint}-{part.source}")
        bare = msgspec.structs.replace(own, materialize=msgspec.UNSET, parts=msgspec.UNSET)
        yield Alone(part.source, first, msgspec.structs.replace(manifest, plan=bare, shards=tuple(named), examples=part.examples))
        first += part.shards


def how_to_read(form: Format, out: Path, manifest: Manifest) -> Reading:
    """In Python: the shards, or the parts by their weights."""
    if manifest.plan.parts and isinstance(form, BlendFormat):
        return form.blend(_blended(out, manifest), manifest.plan.num_examples)
    return form.reading(out, manifest)


def once_files(form: Format, manifest: Manifest) -> dict[str, bytes]:
    """Content by name; empty where all shards are of one mixture."""
    if manifest.plan.parts and isinstance(form, BlendFormat):
        return {WEIGHTS: weights_json(manifest.plan)} | form.blend_files(_blended(Path(), manifest))
    return {}


def _blended(out: Path, manifest: Manifest) -> list[Blended]:
    parts = zip(alone(manifest), manifest.plan.parts or (), strict=True)
    return [Blended(out / each.folder, each.manifest, part.weight) for each, part in parts]


def weights_json(plan: Plan) -> bytes:
    """weights.json: how often each part is to be read, as fractions of all examples and as epochs of its rows, both exact."""
    sources: dict[str, Any] = {}
    for part, source in zip(plan.parts or (), plan.sources, strict=True):
        counts = {"draws": source.draws, "examples": part.examples, "rows": source.rows}
        epochs = str(Fraction(source.draws, source.rows))
        sources[source.name] = {"kind": source.kind, "share": source.share, "weight": part.weight, **counts, "epochs": epochs}
    return msgspec.json.format(msgspec.json.encode({"num_examples": plan.num_examples, "sources": sources}), indent=2) + b"\n"
