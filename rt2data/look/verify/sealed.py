"""Checking a manifest against itself: the plan it seals, the sums over its shards, the statistics it holds."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import msgspec

from rt2data.errors import DataError, RtError
from rt2data.formats.base import FORMATS
from rt2data.look.verify.expected import adds_up, parts_add_up
from rt2data.look.verify.findings import MANIFEST, STATISTICS, Fault
from rt2data.order import apportion
from rt2data.plan.plan import PLAN_VERSION, Plan, fingerprinted
from rt2data.prepare.statistics import DimStats
from rt2data.render.codecs.table import codec_from_json
from rt2data.render.templates import TEMPLATES
from rt2data.seal.manifest import MANIFEST_VERSION, Manifest
from rt2data.seal.seal import robot_fractions
from rt2data.seal.trainer_statistics import dataset_statistics
from rt2data.settings import parse_fraction
from rt2data.write.shard import SideTotals, add_totals, shard_layout

MAX_DIFFERENCES = 20


def manifest_faults(manifest: Manifest) -> Iterator[Fault]:
    """Whatever in a manifest contradicts the rest of it."""
    for where, seen, wanted in (
        *_plan_pairs(manifest.plan),
        *_recipe_pairs(manifest),
        *_sum_pairs(manifest),
        *_shard_pairs(manifest),
    ):
        if seen != wanted:
            yield Fault(MANIFEST, where, f"is {seen}, should be {wanted}")
    yield from _unknown(manifest.plan)
    if not parts_add_up(manifest.plan):
        yield Fault(MANIFEST, "plan.parts", "they are not those of its sources, shares and draws")
    yield from _source_faults(manifest)
    yield from _layout_faults(manifest)


Pair = tuple[str, object, object]
"""Path of a value, what it is, what it should be."""


def _plan_pairs(plan: Plan) -> Iterator[Pair]:
    yield "plan.fingerprint", plan.fingerprint, fingerprinted(plan).fingerprint
    yield "plan.version", plan.version, PLAN_VERSION
    yield "plan.num_examples", plan.num_examples, sum(s.draws for s in plan.sources)
    yield "plan.robot_examples", plan.robot_examples, sum(s.draws for s in plan.sources if s.kind == "robot")
    shares = [_fraction(s.share) for s in plan.sources]
    robot = sum((share for share, s in zip(shares, plan.sources, strict=True) if share and s.kind == "robot"), Fraction(0))
    yield "plan.robot_frac", _fraction(plan.robot_frac), robot
    known = [share for share in shares if share is not None and share >= 0]
    if len(known) == len(plan.sources) and any(known):
        for source, wanted in zip(plan.sources, apportion(plan.num_examples, known), strict=True):
            yield f"plan.sources.{source.name}.draws", source.draws, wanted


def _recipe_pairs(manifest: Manifest) -> Iterator[Pair]:
    """What was asked and decided alike."""
    recipe, plan = manifest.recipe, manifest.plan
    yield "recipe.shards.materialize", (recipe.get("shards") or {}).get("materialize", "repeats"), plan.materialize or "repeats"
    yield "recipe.robot_frac", _fraction(recipe.get("robot_frac")), _fraction(plan.robot_frac)
    for name in ("seed", "split", "template", "codec", "max_tokens"):
        yield f"recipe.{name}", recipe.get(name), getattr(plan, name)


def _sum_pairs(manifest: Manifest) -> Iterator[Pair]:
    totals = add_totals(manifest.shards)
    yield "version", manifest.version, MANIFEST_VERSION
    yield "examples", manifest.examples, sum(total.examples for total in totals.values())
    yield "bytes", manifest.bytes, sum(s.bytes for s in manifest.shards)
    for name, wanted in zip(("robot_frac", "token_frac", "loss_token_frac"), robot_fractions(manifest.plan, totals), strict=True):
        yield name, getattr(manifest, name), wanted
    yield "epochs", manifest.epochs, {s.name: s.epochs for s in manifest.plan.sources}
    for name in sorted(manifest.totals.keys() | totals.keys()):
        for field in SideTotals.__struct_fields__:
            said, added = (getattr(sums.get(name, SideTotals()), field) for sums in (manifest.totals, totals))
            yield f"totals.{name}.{field}", said, added


def _shard_pairs(manifest: Manifest) -> Iterator[Pair]:
    yield "shards", len(manifest.shards), manifest.plan.shards
    for at, shard in enumerate(manifest.shards):
        yield f"shards[{at}].index", shard.index, at
        yield f"shards[{at}].examples", shard.examples, sum(part.examples for part in shard.sources.values())


def _unknown(plan: Plan) -> Iterator[Fault]:
    """Names of parts that this release does not have: what depends on them is not checked."""
    for where, name, known in (("plan.format", plan.format, FORMATS), ("plan.template", plan.template, TEMPLATES)):
        if name not in known:
            yield Fault(MANIFEST, where, f"{name!r} is not known here: {', '.join(known)}")


def _source_faults(manifest: Manifest) -> Iterator[Fault]:
    """Codecs and statistics of each source."""
    for source in manifest.plan.sources:
        if abs(source.draws - source.epochs * source.rows) > 0.5:
            yield Fault(
                MANIFEST, f"plan.sources.{source.name}.epochs", f"is {source.epochs}, {source.draws} draws of {source.rows} rows"
            )
        if source.kind != "robot":
            continue
        try:
            codec_from_json(source.codec)
            count = DimStats.from_json(manifest.statistics.get(source.name, {}).get("action")).count
        except DataError as error:
            yield Fault(MANIFEST, f"source {source.name}", str(error))
            continue
        if count != source.rows:
            yield Fault(MANIFEST, f"statistics.{source.name}.action.count", f"is {count}, the source has {source.rows} rows")


def _layout_faults(manifest: Manifest) -> Iterator[Fault]:
    """Examples of each source in each shard against the plan's quotas."""
    if not adds_up(manifest):
        yield Fault(MANIFEST, "plan", "its sources, draws and shards do not add up: the order of examples was not compared")
        return
    layout = shard_layout(manifest.plan)[0]
    for at, shard in enumerate(manifest.shards):
        quotas = dict(zip((s.name for s in manifest.plan.sources), (layout[at + 1] - layout[at]).tolist(), strict=True))
        held = {name: part.examples for name, part in shard.sources.items()}
        for name in sorted(quotas.keys() | held.keys()):
            if held.get(name, 0) != quotas.get(name, 0):
                what = f"is {held.get(name, 0)}, the plan's quota is {quotas.get(name, 0)}"
                yield Fault(MANIFEST, f"shards[{at}].sources.{name}.examples", what)


def statistics_faults(out: Path, manifest: Manifest) -> Iterator[Fault]:
    """dataset_statistics.json against the manifest's statistics and codecs."""
    try:
        wanted = msgspec.to_builtins(dataset_statistics(manifest.plan, manifest.statistics))
    except (RtError, KeyError, TypeError, ValueError):
        return  # the manifest's own statistics are damaged, which is told there
    try:
        found = msgspec.json.decode((out / STATISTICS).read_bytes())
    except FileNotFoundError:
        yield Fault(STATISTICS, "", "is missing")
        return
    except (OSError, msgspec.MsgspecError) as error:
        yield Fault(STATISTICS, "", f"cannot be read: {error}")
        return
    for count, (where, seen, should) in enumerate(differences(found, wanted)):
        if count == MAX_DIFFERENCES:
            yield Fault(STATISTICS, "", "and more differences")
            return
        yield Fault(STATISTICS, where, f"is {_short(seen)}, the manifest's statistics and codec give {_short(should)}")


def differences(seen: Any, wanted: Any, where: str = "") -> Iterator[Pair]:
    """Paths at which two JSON values differ."""
    if isinstance(seen, dict) and isinstance(wanted, dict):
        for key in sorted(seen.keys() | wanted.keys()):
            yield from differences(seen.get(key), wanted.get(key), f"{where}.{key}".lstrip("."))
    elif isinstance(seen, list) and isinstance(wanted, list) and len(seen) == len(wanted):
        for at, (one, other) in enumerate(zip(seen, wanted, strict=True)):
            yield from differences(one, other, f"{where}[{at}]")
    elif seen != wanted:
        yield where, seen, wanted


def _fraction(text: Any) -> Fraction | None:
    try:
        return parse_fraction(text)
    except ValueError:
        return None


def _short(value: Any) -> str:
    text = "absent" if value is None else str(value)
    return text if len(text) <= 60 else text[:57] + "..."
