"""Bounds from statistics that others published, in the shapes of each trainer's file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rt2data.errors import UsageError
from rt2data.plan.published import published_statistics
from rt2data.read.action_space import Dim, load_space
from rt2data.render.codecs.table import make_codec

LOW, HIGH = [-0.028727, -0.041703], [0.028310, 0.040855]
ACTION = {"mean": [0.0, 0.0], "std": [1.0, 1.0], "min": [-1.0, -1.0], "max": [1.0, 2.0], "q01": LOW, "q99": HIGH}
FILES: dict[str, Any] = {
    "openvla": {"bridge_orig": {"action": {**ACTION, "mask": [True, False]}, "num_transitions": 2135463}},
    "octo": {"bridge": {"action": {"p01": LOW, "p99": HIGH, "mean": [0.0, 0.0], "std": [1.0, 1.0]}, "num_transitions": 7}},
    "octo_alone": {"action": {"p01": LOW, "p99": HIGH, "min": [-1.0, -1.0], "max": [1.0, 2.0]}},
    "openpi": {"norm_stats": {"actions": {"mean": [0.0, 0.0], "std": [1.0, 1.0], "q01": LOW, "q99": HIGH}, "state": {}}},
    "lerobot": {"action": {**ACTION, "count": [498]}, "observation.images.top": {"mean": [[[0.5]]]}},
}


def write(folder: Path, found: Any) -> str:
    path = folder / "statistics.json"
    path.write_text(json.dumps(found))
    return str(path)


@pytest.mark.parametrize("form", FILES)
def test_each_trainers_file_is_read(form: str, tmp_path: Path) -> None:
    stats = published_statistics(write(tmp_path, FILES[form]))
    assert (stats.q01, stats.q99, stats.size) == (tuple(LOW), tuple(HIGH), 2)
    assert stats.count == {"openvla": 2135463, "octo": 7, "lerobot": 498}.get(form, 0)


def test_of_several_datasets_one_is_named(tmp_path: Path) -> None:
    both = {"bridge_orig": {"action": ACTION}, "fractal": {"action": ACTION | {"q01": [-1.0, -1.0]}}}
    path = write(tmp_path, both)
    assert published_statistics(f"{path}#fractal").q01 == (-1.0, -1.0)
    for name, said in (("", "2 datasets"), ("#fractl", "no dataset is called 'fractl'")):
        with pytest.raises(UsageError, match=said) as caught:
            published_statistics(path + name)
        assert "fractal" in caught.value.do


@pytest.mark.parametrize(
    "found",
    [
        [],
        {},
        {"a": {"b": 1}},
        {"action": {"mean": [0]}},
        {"action": {"q01": [0.0], "q99": ["x"]}},
        {"action": {"q01": [0.0], "q99": [1.0, 2.0]}},
    ],
)
def test_other_files_are_refused(found: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        published_statistics(write(tmp_path, found))


def test_least_and_greatest_value_as_bounds() -> None:
    rows = np.linspace([-3, -1], [5, 1], 1001).astype(np.float32)
    from rt2data.prepare.statistics import summarize

    space = load_space("generic_nd").sized(2)
    space = type(space)("pair", (Dim("a", bounds="minmax"), Dim("b")))
    codec = make_codec("openvla", space, summarize(rows))
    assert (codec.lo[0], codec.hi[0]) == (-3, 5) and codec.lo[1] == pytest.approx(-0.98)
    assert codec.to_json() == type(codec).from_json(codec.to_json()).to_json()
    assert [dim["source"] for dim in codec.to_json()["dims"]] == ["minmax", "q01q99"]
