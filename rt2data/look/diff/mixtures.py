"""Compares two recipes, two mixtures, or one of each: settings, plan, figures, and the examples common to two mixtures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import xxhash

from rt2data.errors import DataError, RtError, command
from rt2data.formats.base import Member, make_format, members_of
from rt2data.loading.shards import require_size
from rt2data.look.diff.comparison import Comparison, shifts
from rt2data.look.diff.merge import KeyCounts, count_keys, in_order
from rt2data.look.differences import Difference, differences, largest_first
from rt2data.look.verify.manifest import checked_manifest
from rt2data.plan.decide import decide
from rt2data.plan.model import Plan
from rt2data.plan.plan import needed_sources
from rt2data.plan.recipe import Recipe, RecipeError, canonical, read_recipe
from rt2data.plan.recipe.groups import inner, is_ruled
from rt2data.prepare.begin import ready_store, store_folder
from rt2data.prepare.store import Store
from rt2data.seal.manifest import Manifest

SIDES = ("robot", "web")
COMPARED = ("target", "prompt", "ids", "image")
"""The parts of each example that are compared."""


# Recipes


def compare_recipes(before: Path, after: Path) -> Comparison:
    """Settings that differ. Raises UsageError, or RecipeError if one is not a recipe."""
    (old, absent), (new, missing) = _read(before), _read(after)
    asked = compare_settings(_settings(old), _settings(new))
    return Comparison(
        what="recipes",
        before=str(before),
        after=str(after),
        equal=asked.equal,
        settings=asked.settings,
        sources_added=asked.added,
        sources_removed=asked.removed,
        notes=(*absent, *missing),
    )


def _read(path: Path) -> tuple[Recipe, tuple[str, ...]]:
    """A recipe, and the missing things it names: settings can be compared without the data."""
    try:
        return read_recipe(path, check=True), ()
    except RecipeError as error:
        return read_recipe(path), tuple(map(str, error.mistakes))


class SettingsDifference(NamedTuple):
    """How two recipes differ."""

    settings: tuple[Difference, ...]
    added: tuple[str, ...]  # sources
    removed: tuple[str, ...]

    @property
    def equal(self) -> bool:
        return not any(self)


def compare_settings(before: Mapping[str, Any], after: Mapping[str, Any]) -> SettingsDifference:
    """Settings of two canonical recipes that differ, and sources found only in the second and only in the first."""
    old, new = ({f"{side}.{name}" for side in SIDES for name in inner(tree.get(side, {}))} for tree in (before, after))
    in_one = old ^ new
    settings = tuple(differences(_without(before, in_one), _without(after, in_one)))
    return SettingsDifference(settings, added=tuple(sorted(new - old)), removed=tuple(sorted(old - new)))


def _without(tree: Mapping[str, Any], sources: set[str]) -> dict[str, Any]:
    """A recipe without some of its sources."""
    return {**tree, **{side: _side_without(side, tree.get(side, {}), sources) for side in SIDES}}


def _side_without(side: str, written: dict[str, Any], sources: set[str]) -> dict[str, Any]:
    kept = {name: each for name, each in inner(written).items() if f"{side}.{name}" not in sources}
    return {**written, "sources": kept} if is_ruled(written) else kept


def _settings(recipe: Recipe) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(canonical(recipe))
    return found


def compare_with_mixture(recipe_path: Path, mixture: Path, recipe_first: bool) -> Comparison:
    """What building the recipe would change in the mixture, or vice versa.

    If all its sources are prepared, the plan is made too, which shows whether a build would write the same bytes.
    """
    (recipe, absent), manifest = _read(recipe_path), checked_manifest(mixture)
    plan, note = _planned(recipe)
    step = 1 if recipe_first else -1
    asked = compare_settings(*[_settings(recipe), manifest.recipe][::step])
    old, new = [plan and plan_facts(plan), plan_facts(manifest.plan)][::step]
    before, after = [str(recipe_path), str(mixture)][::step]
    same = None if plan is None else plan.fingerprint == manifest.plan.fingerprint
    return Comparison(
        what="recipe and mixture",
        before=before,
        after=after,
        equal=asked.equal and same is not False,
        same_bytes=same,
        settings=asked.settings,
        sources_added=asked.added,
        sources_removed=asked.removed,
        plan=tuple(differences(old, new)) if plan else (),
        notes=(*((note,) if note else ()), *absent),
    )


def _planned(recipe: Recipe) -> tuple[Plan | None, str]:
    """The plan, if all stores are ready; otherwise why there is none."""
    try:
        folders = {name: store_folder(recipe.store_folder, name, source) for name, source in needed_sources(recipe).items()}
        missing = [name for name, folder in folders.items() if ready_store(folder) is None]
        if missing:
            return None, f"not yet prepared, so the plan was not compared: {', '.join(missing)}"
        return decide(recipe, {name: Store(folder) for name, folder in folders.items()}, allow_bad=True).plan, ""
    except RtError as error:
        return None, f"no plan can be made: {error}"


def plan_facts(plan: Plan) -> dict[str, Any]:
    """The decisions in a plan, with sources by name, without derived values."""
    found: dict[str, Any] = msgspec.to_builtins(plan)
    found["sources"] = {source["name"]: source for source in found["sources"]}
    return {name: value for name, value in found.items() if name not in ("fingerprint", "warnings")}


# Mixtures


def compare_mixtures(before: Path, after: Path, quick: bool) -> Comparison:
    """What changed from one to the other; with `quick` no shard is read. Raises DataError if one cannot be read."""
    old, new = complete_mixture(before), complete_mixture(after)
    hashes = [[shard.xxh3_128 for shard in manifest.shards] for manifest in (old, new)]
    same = hashes[0] == hashes[1]
    asked = compare_settings(old.recipe, new.recipe)
    return Comparison(
        what="mixtures",
        before=str(before),
        after=str(after),
        equal=same and old.plan.fingerprint == new.plan.fingerprint,
        same_bytes=same,
        settings=asked.settings,
        sources_added=asked.added,
        sources_removed=asked.removed,
        plan=tuple(differences(plan_facts(old.plan), plan_facts(new.plan))),
        figures=tuple(differences(_figures(old), _figures(new))),
        rejects=tuple(differences(_rejects(old), _rejects(new))),
        shifts=largest_first(_shifts(old, new)),
        shards_equal=len(set(hashes[0]) & set(hashes[1])),
        shards=(len(old.shards), len(new.shards)),
        examples=None if same or quick else compare_examples(before, old, after, new),
        notes=("examples were not compared: --quick",) if quick and not same else (),
    )


def complete_mixture(out: Path) -> Manifest:
    """A checked manifest whose shards all exist, with the size it states. Raises DataError."""
    manifest = checked_manifest(out)
    for shard in manifest.shards:
        require_size(out / shard.name, shard.bytes)
    return manifest


def _figures(manifest: Manifest) -> dict[str, Any]:
    """The counts recorded when it was written."""
    names = ("examples", "bytes", "robot_frac", "token_frac", "loss_token_frac", "epochs", "conversions")
    whole = manifest.examples
    totals = {name: {"share": each.examples / whole, **msgspec.to_builtins(each)} for name, each in manifest.totals.items()}
    return {name: getattr(manifest, name) for name in names} | {"totals": totals}


def _rejects(manifest: Manifest) -> dict[str, dict[str, int]]:
    return {name: {lost.reason: lost.count for lost in entries} for name, entries in manifest.rejects.items()}


def _shifts(before: Manifest, after: Manifest) -> Iterator[Difference]:
    for source in after.plan.sources:
        names = [dim["name"] for dim in (source.codec or {}).get("dims", ())]
        old, new = (manifest.statistics.get(source.name) for manifest in (before, after))
        yield from shifts(source.name, after.plan.split, names, old, new)


# Examples


class ComparedRecord(msgspec.Struct):
    """The compared parts of a record, as raw bytes."""

    target: msgspec.Raw
    prompt: msgspec.Raw
    input_ids: msgspec.Raw


def compare_examples(before: Path, old: Manifest, after: Path, new: Manifest) -> KeyCounts:
    """Examples of both mixtures, matched by the hash of their key; memory does not grow with them. Raises DataError."""
    one, other = (in_order(_hashes(folder, manifest), len(COMPARED)) for folder, manifest in ((before, old), (after, new)))
    return count_keys(one, other, COMPARED)


def _hashes(folder: Path, manifest: Manifest) -> Iterator[tuple[int, ...]]:
    """For each example in order: hash of its key, its number, hashes of the compared parts. Raises DataError."""
    form, digest = make_format(manifest.plan.format), xxhash.xxh3_64_intdigest
    number = -1
    members = ((shard, member) for shard in manifest.shards for member in members_of(form, folder / shard.name))
    for number, (shard, member) in enumerate(members):
        yield digest(member.key.encode()), number, *map(digest, _content(member, folder, shard.name))
    if number + 1 != manifest.examples:
        what = f"{number + 1:,} examples where the manifest says {manifest.examples:,}"
        raise DataError(what, str(folder), command("verify", folder))


_decode = msgspec.json.Decoder(ComparedRecord).decode


def _image_bytes(member: Member) -> bytes | memoryview:
    """All images, concatenated."""
    return member.image if len(member.images) == 1 else b"".join(image.data for image in member.images)


def _content(member: Member, folder: Path, shard: str) -> tuple[bytes | memoryview, ...]:
    """Bytes of the compared parts, in the order of `COMPARED`."""
    try:
        record = _decode(member.record)
    except msgspec.MsgspecError as error:
        raise DataError(f"a damaged record: {error}", f"{shard} key {member.key}", command("verify", folder)) from None
    return bytes(record.target), bytes(record.prompt), bytes(record.input_ids), _image_bytes(member)
