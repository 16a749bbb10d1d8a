"""Checks of a manifest: whether its values can be used in computations, and whether they agree with each other."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from rt2data.errors import DataError, RtError, command
from rt2data.formats.base import FORMATS
from rt2data.io import location
from rt2data.look.differences import differences
from rt2data.look.verify.expected import adds_up, parts_add_up
from rt2data.look.verify.findings import MANIFEST, STATISTICS, Fault
from rt2data.order import apportion
from rt2data.plan.layout import ShardLayout
from rt2data.plan.model import Plan
from rt2data.plan.plan import PLAN_VERSION, fingerprinted, group_sums
from rt2data.plan.recipe.groups import inner, walk
from rt2data.prepare.statistics import DimStats
from rt2data.records import SOURCE
from rt2data.render.codecs.table import codec_from_json
from rt2data.render.templates import TEMPLATES
from rt2data.seal.manifest import MANIFEST_VERSION, Manifest, read_manifest
from rt2data.seal.seal import robot_fractions
from rt2data.seal.trainer_statistics import dataset_statistics
from rt2data.settings import parse_fraction
from rt2data.write.shard import add_totals

MAX_DIFFERENCES = 20
"""Maximum differences reported in dataset_statistics.json."""
Expectation = tuple[str, object, object]
"""Path of a value, the value, and what it should be according to the rest of the manifest."""


def manifest_faults(manifest: Manifest) -> Iterator[Fault]:
    """Contradictions within a manifest."""
    for path, seen, wanted in (*_plan(manifest.plan), *_recipe(manifest), *_sums(manifest), *_shards(manifest)):
        for each in differences(seen, wanted, path):
            yield Fault(MANIFEST, each.path, f"is {_shown(each.before)}, should be {_shown(each.after)}")
    yield from _unknown_names(manifest.plan)
    if not parts_add_up(manifest.plan):
        yield Fault(MANIFEST, "plan.parts", "they are not those of its sources, shares and draws")
    yield from _source_faults(manifest)
    yield from _quota_faults(manifest)


def _plan(plan: Plan) -> Iterator[Expectation]:
    yield "plan.fingerprint", plan.fingerprint, fingerprinted(plan).fingerprint
    yield "plan.version", plan.version, PLAN_VERSION
    yield "plan.num_examples", plan.num_examples, sum(s.draws for s in plan.sources)
    yield "plan.robot_examples", plan.robot_examples, sum(s.draws for s in plan.sources if s.has_actions)
    shares = [_fraction(s.share) for s in plan.sources]
    robot = sum((share for share, s in zip(shares, plan.sources, strict=True) if share and s.has_actions), Fraction(0))
    yield "plan.robot_frac", _fraction(plan.robot_frac), robot
    known = [share for share in shares if share is not None and share >= 0]
    if len(known) == len(plan.sources) and any(known):
        for source, wanted in zip(plan.sources, apportion(plan.num_examples, known), strict=True):
            yield f"plan.sources.{source.name}.draws", source.draws, wanted
    for group in plan.groups or ():
        for name, total in group_sums(group, plan.sources).items():
            yield f"plan.groups.{group.place}.{name}", getattr(group, name), total


def _recipe(manifest: Manifest) -> Iterator[Expectation]:
    """Settings that both recipe and plan contain."""
    recipe, plan = manifest.recipe, manifest.plan
    yield "recipe.shards.materialize", (recipe.get("shards") or {}).get("materialize", "repeats"), plan.materialize or "repeats"
    yield "recipe.robot_frac", _fraction(recipe.get("robot_frac")), _fraction(plan.robot_frac)
    for name in ("seed", "split", "template", "codec", "max_tokens"):
        yield f"recipe.{name}", recipe.get(name), getattr(plan, name)


def _sums(manifest: Manifest) -> Iterator[Expectation]:
    totals = add_totals(manifest.shards)
    yield "version", manifest.version, MANIFEST_VERSION
    yield "examples", manifest.examples, sum(total.examples for total in totals.values())
    yield "bytes", manifest.bytes, sum(s.bytes for s in manifest.shards)
    for name, wanted in zip(("robot_frac", "token_frac", "loss_token_frac"), robot_fractions(manifest.plan, totals), strict=True):
        yield name, getattr(manifest, name), wanted
    yield "epochs", manifest.epochs, {s.name: s.epochs for s in manifest.plan.sources}
    yield "totals", msgspec.to_builtins(manifest.totals), msgspec.to_builtins(totals)


def _shards(manifest: Manifest) -> Iterator[Expectation]:
    yield "shards", len(manifest.shards), manifest.plan.shards
    for at, shard in enumerate(manifest.shards):
        yield f"shards[{at}].index", shard.index, at
        yield f"shards[{at}].examples", shard.examples, sum(part.examples for part in shard.sources.values())


def _unknown_names(plan: Plan) -> Iterator[Fault]:
    """A format or template that this release lacks: everything that depends on it is not checked."""
    for where, name, known in (("plan.format", plan.format, FORMATS), ("plan.template", plan.template, TEMPLATES)):
        if name not in known:
            yield Fault(MANIFEST, where, f"{name!r} is not known here: {', '.join(known)}")


def _source_faults(manifest: Manifest) -> Iterator[Fault]:
    """Check the codecs and statistics of each source."""
    for source in manifest.plan.sources:
        path = f"plan.sources.{source.name}.epochs"
        if abs(source.draws - source.epochs * source.rows) > 0.5:
            yield Fault(MANIFEST, path, f"is {source.epochs}, {source.draws} draws of {source.rows} rows")
        if not source.has_actions:
            continue
        try:
            codec_from_json(source.codec)
            count = DimStats.from_json(manifest.statistics.get(source.name, {}).get("action")).count
        except DataError as error:
            yield Fault(MANIFEST, f"source {source.name}", str(error))
            continue
        if count != source.rows:
            yield Fault(MANIFEST, f"statistics.{source.name}.action.count", f"is {count}, the source has {source.rows} rows")


def _quota_faults(manifest: Manifest) -> Iterator[Fault]:
    """Check each source's examples per shard against the plan's quotas."""
    if not adds_up(manifest):
        yield Fault(MANIFEST, "plan", "its sources, draws and shards do not add up: the order of examples was not compared")
        return
    layout = ShardLayout(manifest.plan)
    for at, shard in enumerate(manifest.shards):
        quotas = zip((s.name for s in manifest.plan.sources), layout.counts(at).tolist(), strict=True)
        planned = {name: quota for name, quota in quotas if quota}
        held = {name: part.examples for name, part in shard.sources.items() if part.examples}
        for each in differences(held, planned):
            what = f"is {each.before or 0}, the plan's quota is {each.after or 0}"
            yield Fault(MANIFEST, f"shards[{at}].sources.{each.path}.examples", what)


def _fraction(text: Any) -> Fraction | None:
    try:
        return parse_fraction(text)
    except ValueError:
        return None


# Statistics


def statistics_faults(out: Path, manifest: Manifest) -> Iterator[Fault]:
    """Check dataset_statistics.json against the manifest's statistics and codecs."""
    try:
        wanted = msgspec.to_builtins(dataset_statistics(manifest.plan, manifest.statistics))
    except (RtError, KeyError, TypeError, ValueError):
        return  # the manifest's own statistics are damaged, as its check reports
    try:
        found = msgspec.json.decode(location.read_bytes(out / STATISTICS))
    except FileNotFoundError:
        yield Fault(STATISTICS, "", "is missing")
        return
    except (OSError, msgspec.MsgspecError) as error:
        yield Fault(STATISTICS, "", f"cannot be read: {error}")
        return
    differing = differences(found, wanted, into_lists=True)
    for each in islice(differing, MAX_DIFFERENCES):
        what = f"is {_shown(each.before)}, the manifest's statistics and codec give {_shown(each.after)}"
        yield Fault(STATISTICS, each.path, what)
    if next(differing, None):
        yield Fault(STATISTICS, "", "and more differences")


def _shown(value: Any) -> str:
    text = "absent" if value is None else str(value)
    return text if len(text) <= 60 else text[:57] + "..."


# Bounds

_NAME = re.compile(SOURCE)
_SHARE = re.compile("[0-9]{1,400}(/[1-9][0-9]{0,399})?")
_LARGEST = float(np.finfo(np.float32).max)
"""Actions and states are float32, so no mean or quantile can be larger."""
_WRONG = (RtError, ValueError, TypeError, KeyError, AttributeError, IndexError, ArithmeticError)


def checked_manifest(out: Path) -> Manifest:
    """The manifest of a complete output, with values checked to be within bounds that types do not enforce, so that they are safe
    to compute with. `verify` checks whether they agree with each other.

    Raises DataError if there is none, or naming the first value out of bounds.
    """
    manifest = read_manifest(out)
    try:
        _require_bounds(manifest)
    except DataError as error:
        what = f"a damaged manifest: {error.where}: {error.what}"
        do = f"look at it: {command('verify', out)}; build it again, or copy it again"
        raise DataError(what, str(out / MANIFEST), do) from None
    return manifest


def _require_bounds(manifest: Manifest) -> None:
    with _within("examples"):
        _require(min(manifest.examples, manifest.plan.num_examples) > 0, "there are none")
    for name in ("examples", "bytes", "totals", "rejects", "conversions", "plan", "recipe", "statistics"):
        with _within(name):
            _require_counts(msgspec.to_builtins(getattr(manifest, name)))
    with _within("recipe"):
        _require_recipe(manifest.recipe)
    with _within("plan.robot_frac"):
        _require_share(manifest.plan.robot_frac)
    for name, found in manifest.statistics.items():
        with _within(f"statistics.{name}"):
            _require_statistics(found)
    for source in manifest.plan.sources:
        with _within("plan.sources"):
            _require(_NAME.fullmatch(source.name) is not None, "a name that no source has")
        with _within(f"plan.sources.{source.name}.share"):
            _require_share(source.share)
        with _within(f"plan.sources.{source.name}.codec"):
            _ = source.codec is not None and codec_from_json(source.codec)


@contextmanager
def _within(where: str) -> Iterator[None]:
    """Context: any error becomes a DataError that names this place."""
    try:
        yield
    except _WRONG as error:
        raise DataError(error.what if isinstance(error, RtError) else str(error) or type(error).__name__, where) from None


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ValueError(otherwise)


def _require_counts(tree: Any) -> None:
    """Check that no integer exceeds 64 bits."""
    if isinstance(tree, dict | list | tuple):
        for each in tree.values() if isinstance(tree, dict) else tree:
            _require_counts(each)
    _require(not isinstance(tree, int) or abs(tree) < 1 << 64, "a number that is too large")


def _require_recipe(recipe: Mapping[str, Any]) -> None:
    for side in ("robot", "web"):
        written = recipe.get(side, {})
        valid = isinstance(inner(written), dict) and all(isinstance(each.settings, dict) for each in walk(written, ()))
        _require(valid, f"{side} is not a mapping of sources")


def _require_share(text: str) -> None:
    _require(_SHARE.fullmatch(text) is not None and 0 <= Fraction(text) <= 1, "is not a share between 0 and 1")


def _require_statistics(found: Any) -> None:
    _require(isinstance(found, dict), "is not a mapping of statistics")
    for each in (DimStats.from_json(found[of]) for of in ("action", "state") if found.get(of) is not None):
        values = (*each.mean, *each.std, *each.min, *each.max, *each.q01, *each.q99)
        _require(all(abs(value) <= _LARGEST for value in values), "they are larger than float32 can be")
