"""Action statistics published by others, used as bounds: those a checkpoint was trained with, not those of our rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

from rt2data.errors import DataError, UsageError
from rt2data.io import location
from rt2data.io.words import choose
from rt2data.prepare.statistics import VECTORS, DimStats

_MOST = 64 << 20
_NAMES = {"p01": "q01", "p99": "q99", "quantile_01": "q01", "quantile_99": "q99"}
"""Names that Octo and others use for quantiles."""
_ACTIONS = ("action", "actions")


def published_statistics(where: str) -> DimStats:
    """Action statistics from a file of OpenVLA, Octo, openpi or LeRobot; FILE#NAME picks one of several datasets.

    Missing figures are filled in with values that bound nothing: mean 0 and std 1; quantiles from min and max, or min and max from
    quantiles. Raises UsageError if the file holds no statistics, or several datasets and none is named.
    """
    path, _, name = where.partition("#")
    found = _dataset(_read(path), name, path)
    action = next((found[key] for key in _ACTIONS if key in found), None)
    if not isinstance(action, Mapping):
        raise UsageError("these statistics have no actions", path, "name a file of OpenVLA, Octo, openpi or LeRobot")
    try:
        return _stats(action, found)
    except DataError as error:
        raise UsageError(f"not statistics of actions: {error.what}", path) from None


def _read(path: str) -> Mapping[str, Any]:
    try:
        found = msgspec.json.decode(location.read_head(path, _MOST))
    except OSError as error:
        raise UsageError(f"statistics cannot be read: {error.strerror}", path) from None
    except msgspec.DecodeError as error:
        raise UsageError(f"not JSON: {error}", path) from None
    if not isinstance(found, Mapping):
        raise UsageError("not statistics: it is no JSON object", path)
    inner = found.get("norm_stats", found)  # openpi
    return inner if isinstance(inner, Mapping) else found


def _dataset(found: Mapping[str, Any], name: str, path: str) -> Mapping[str, Any]:
    """The entry of a dataset; the whole file if it describes only one."""
    if any(key in found for key in _ACTIONS):
        return found
    entries = {key: each for key, each in found.items() if isinstance(each, Mapping) and any(part in each for part in _ACTIONS)}
    if name in entries:
        return entries[name]
    if name or len(entries) != 1:
        what = f"no dataset is called {name!r}" if name else f"{len(entries)} datasets are here"
        raise UsageError(what, path, f"write {path}#NAME: {choose(name, list(entries))}" if entries else "")
    return next(iter(entries.values()))


def _stats(action: Mapping[str, Any], dataset: Mapping[str, Any]) -> DimStats:
    vectors = {_NAMES.get(key, key): value for key, value in action.items()}
    known = {key: vectors[key] for key in VECTORS if key in vectors}
    for quantile, end in (("q01", "min"), ("q99", "max")):
        if not known.keys() & {quantile, end}:
            raise DataError(f"they have neither {quantile} nor {end}")
        known.setdefault(quantile, known.get(end))
        known.setdefault(end, known[quantile])
    size = len(known["q01"]) if isinstance(known["q01"], list) else 0
    known = {"mean": [0.0] * size, "std": [1.0] * size} | known
    count = action.get("count", dataset.get("num_transitions", 0))
    count = count[0] if isinstance(count, list) and count else count
    return DimStats.from_json(
        {"count": count if isinstance(count, int) else 0} | {key: np.ravel(known[key]).tolist() for key in VECTORS}
    )
