"""Two mixtures: what was asked, decided and written, and the examples that both hold."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import xxhash

from rt2data.errors import DataError, command
from rt2data.formats.base import make_format, members_of
from rt2data.loading.shards import require_size
from rt2data.look.diff.model import Common, Difference, Shift
from rt2data.look.diff.recipes import compare_settings, plan_facts
from rt2data.look.diff.values import changes, largest_first, shifts
from rt2data.look.verify.manifest_bounds import sound_manifest
from rt2data.order import I64, U64
from rt2data.seal.manifest import Manifest

PARTS = ("target", "prompt", "ids", "picture")


def compare_mixtures(before: Path, after: Path, quick: bool) -> Difference:
    """What changed from one to the other; with `quick` no shard is read. Raises DataError where one cannot be read."""
    old, new = whole_mixture(before), whole_mixture(after)
    hashes = [[shard.xxh3_128 for shard in manifest.shards] for manifest in (old, new)]
    same = hashes[0] == hashes[1]
    settings, added, removed = compare_settings(old.recipe, new.recipe)
    return Difference(
        what="mixtures",
        before=str(before),
        after=str(after),
        equal=same and old.plan.fingerprint == new.plan.fingerprint,
        same_bytes=same,
        settings=settings,
        sources_added=added,
        sources_removed=removed,
        plan=tuple(changes(plan_facts(old.plan), plan_facts(new.plan))),
        figures=tuple(changes(_figures(old), _figures(new))),
        rejects=tuple(changes(_lost(old), _lost(new))),
        shifts=largest_first(_shifts(old, new)),
        shards_equal=len(set(hashes[0]) & set(hashes[1])),
        shards=(len(old.shards), len(new.shards)),
        examples=None if same or quick else common(before, old, after, new),
        notes=("examples were not compared: --quick",) if quick and not same else (),
    )


def whole_mixture(out: Path) -> Manifest:
    """A sound manifest, whose shards are all there and have the size that it says: else its hashes say nothing of them."""
    manifest = sound_manifest(out)
    for shard in manifest.shards:
        require_size(out / shard.name, shard.bytes)
    return manifest


def _figures(manifest: Manifest) -> dict[str, Any]:
    """What was counted when it was written."""
    names = ("examples", "bytes", "robot_frac", "token_frac", "loss_token_frac", "epochs", "conversions")
    whole = manifest.examples
    totals = {name: {"share": each.examples / whole, **msgspec.to_builtins(each)} for name, each in manifest.totals.items()}
    return {name: getattr(manifest, name) for name in names} | {"totals": totals}


def _lost(manifest: Manifest) -> dict[str, dict[str, int]]:
    return {name: {lost.reason: lost.count for lost in entries} for name, entries in manifest.rejects.items()}


def _shifts(before: Manifest, after: Manifest) -> Iterator[Shift]:
    for source in after.plan.sources:
        names = [dim["name"] for dim in (source.codec or {}).get("dims", ())]
        old, new = (manifest.statistics.get(source.name) for manifest in (before, after))
        yield from shifts(source.name, after.plan.split, names, old, new)


# Examples


class Parts(msgspec.Struct):
    """What is compared of a record, as its bytes."""

    prompt: msgspec.Raw
    target: msgspec.Raw
    input_ids: msgspec.Raw


def common(before: Path, old: Manifest, after: Path, new: Manifest) -> Common:
    """Examples of both, matched by key. 40 bytes of memory for each example of each mixture."""
    one, other = hashed(before, old), hashed(after, new)
    _, i, j = np.intersect1d(one[0], other[0], assume_unique=True, return_indices=True)
    differ = {name: one[number][i] != other[number][j] for number, name in enumerate(PARTS, start=1)}
    first = {name: _first(i[where], j[where]) for name, where in differ.items() if where.any()}
    counts = {name: int(where.sum()) for name, where in differ.items()}
    return Common(before=len(one[0]), after=len(other[0]), both=len(i), first=first, **counts)


def _first(i: I64, j: I64) -> tuple[int, int]:
    """Numbers, before and after, of the example that comes first before."""
    at = int(i.argmin())
    return int(i[at]), int(j[at])


def hashed(folder: Path, manifest: Manifest) -> U64:
    """Of each example in order: hashes of key, target, prompt, ids, picture; uint64[5, n]. Raises DataError."""
    found = np.empty((1 + len(PARTS), manifest.examples), np.uint64)
    at = 0
    for at, hashes in enumerate(_hashes(folder, manifest), start=1):
        if at <= manifest.examples:
            found[:, at - 1] = hashes
    if at != manifest.examples:
        raise DataError(f"{at:,} examples where the manifest says {manifest.examples:,}", str(folder), command("verify", folder))
    return found


def _hashes(folder: Path, manifest: Manifest) -> Iterator[tuple[int, ...]]:
    form, decode, digest = make_format(manifest.plan.format), msgspec.json.Decoder(Parts).decode, xxhash.xxh3_64_intdigest
    for shard in manifest.shards:
        for member in members_of(form, folder / shard.name):
            try:
                parts = decode(member.record)
            except msgspec.MsgspecError as error:
                raise DataError(f"a damaged record: {error}", f"{shard.name} key {member.key}", command("verify", folder)) from None
            said = (bytes(part) for part in (parts.target, parts.prompt, parts.input_ids))
            yield digest(member.key.encode()), *map(digest, said), digest(member.image)
