"""Whether a manifest can be reckoned with: what its types leave open is what this release writes there."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from rt2data.errors import DataError, RtError, command
from rt2data.look.verify.findings import MANIFEST
from rt2data.prepare.statistics import DimStats
from rt2data.records import SOURCE
from rt2data.render.codecs.table import codec_from_json
from rt2data.seal.manifest import Manifest, read_manifest

_NAME = re.compile(SOURCE)
_SHARE = re.compile("[0-9]{1,400}(/[1-9][0-9]{0,399})?")
_LARGEST = float(np.finfo(np.float32).max)
"""Actions and states are float32: no mean or quantile of them is larger."""
_WRONG = (RtError, ValueError, TypeError, KeyError, AttributeError, IndexError, ArithmeticError)


def sound_manifest(out: Path) -> Manifest:
    """The manifest of a complete output, fit to be reckoned with; that it adds up is for `verify` to say.

    Raises DataError where there is none, or naming the first of its values that is not what it should be.
    """
    manifest = read_manifest(out)
    try:
        _require_sound(manifest)
    except DataError as error:
        what = f"a damaged manifest: {error.where}: {error.what}"
        raise DataError(
            what, str(out / MANIFEST), f"look at it: {command('verify', out)}; build it again, or copy it anew"
        ) from None
    return manifest


def _require_sound(manifest: Manifest) -> None:
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
    """Whatever is wrong inside is wrong there."""
    try:
        yield
    except _WRONG as error:
        raise DataError(error.what if isinstance(error, RtError) else str(error) or type(error).__name__, where) from None


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ValueError(otherwise)


def _require_counts(tree: Any) -> None:
    """No integer is longer than 64 bits."""
    if isinstance(tree, dict | list | tuple):
        for each in tree.values() if isinstance(tree, dict) else tree:
            _require_counts(each)
    _require(not isinstance(tree, int) or abs(tree) < 1 << 64, "a number that is too large")


def _require_recipe(recipe: Mapping[str, Any]) -> None:
    for side in ("robot", "web"):
        sources = recipe.get(side, {})
        _require(isinstance(sources, dict) and all(isinstance(each, dict) for each in sources.values()), f"{side} is no sources")


def _require_share(text: str) -> None:
    _require(_SHARE.fullmatch(text) is not None and 0 <= Fraction(text) <= 1, "is no share between 0 and 1")


def _require_statistics(found: Any) -> None:
    _require(isinstance(found, dict), "is no statistics")
    for each in (DimStats.from_json(found[of]) for of in ("action", "state") if found.get(of) is not None):
        values = (*each.mean, *each.std, *each.min, *each.max, *each.q01, *each.q99)
        _require(all(abs(value) <= _LARGEST for value in values), "they are larger than float32 can be")
