"""`filters.limit` in every kind of log: exactly so many episodes, known without reading them, and kept right as the log grows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from rt2data.build import Site, build_plainly
from rt2data.plan.recipe import parse_recipe
from rt2data.read import units as read_units
from rt2data.read.filters import Filters
from rt2data.read.log import LogSource
from rt2data.read.source import source_class
from tests.conftest import sha256_of
from tests.read import bridges, folders, lerobot_writing, zarrs
from tests.read.hdf5 import writing as hdf5s
from tests.read.reading import steps
from tests.read.ros.writing import Robot, write_mcap

LENGTH = 4
Write = Callable[[Path, int], object]
LOGS: dict[str, Write] = {
    "folder": lambda root, count: folders.write(root, [LENGTH] * count),
    "bridge_raw": lambda root, count: [
        bridges.write_trajectory(bridges.trajectory(root, seed), LENGTH + 1, seed) for seed in range(count)
    ],
    "zarr": lambda root, count: zarrs.write(root, [LENGTH] * count),
    "hdf5": lambda root, count: [hdf5s.write_robomimic(root / f"{at}.hdf5", (LENGTH,)) for at in range(count)],
    "lerobot": lambda root, count: lerobot_writing.write_v21(
        root, [lerobot_writing.made(seed, LENGTH, ("eye",)) for seed in range(count)], stills=["eye"]
    ),
    "ros": lambda root, count: [write_mcap(root / f"r{at}.mcap", Robot(LENGTH, seed=at).sent()) for at in range(count)],
}
GROWING = ["folder", *(pytest.param(kind, marks=pytest.mark.slow) for kind in LOGS if kind != "folder")]
LOADERS = {"folder": "rt2data.read.folder.source.read_episode", "bridge_raw": "rt2data.read.bridge_raw.source.read_trajectory"}


@pytest.fixture(params=LOGS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def grow(root: Path, kind: str, count: int) -> None:
    """Make a log as long as this; files that stay the same are not touched."""
    made = root.parent / f"{kind}-of-{count}"
    LOGS[kind](made, count)
    for file in (path for path in made.rglob("*") if path.is_file()):
        there = root / file.relative_to(made)
        if not there.exists() or there.read_bytes() != file.read_bytes():
            there.parent.mkdir(parents=True, exist_ok=True)
            there.write_bytes(file.read_bytes())


def settings(root: Path, kind: str, limit: int | None) -> dict[str, object]:
    words = {"text": "lift"} if kind == "hdf5" else {}
    return {"kind": kind, "path": str(root), "action_space": "generic_nd", "filters": {"limit": limit, "drop_last": 0}, **words}


def episodes(root: Path, kind: str, limit: int | None) -> set[str]:
    """Names of the episodes that are read."""
    source = source_class(kind).model_validate({**settings(root, kind, limit), "filters": Filters(limit=limit)})
    assert isinstance(source, LogSource) and not list(source.invalid_settings())
    read = {step.episode for step in steps(source)}
    assert read == {name for split, name in source.episode_names() if source.limits.keep(split, name)}
    return read


def test_so_many_are_kept_and_only_new_ones_push_them_out(tmp_path: Path, kind: str) -> None:
    root = tmp_path / "log"
    grow(root, kind, 6)
    every, before = episodes(root, kind, None), episodes(root, kind, 3)
    assert len(every) == 6
    assert len(before) == 3 and before <= every and episodes(root, kind, 7) == every
    grow(root, kind, 12)
    after = episodes(root, kind, 3)
    new = episodes(root, kind, None) - every
    assert len(after) == 3 and len(new) == 6 and after - before <= new


@pytest.mark.parametrize("unit_bytes", [1, 1 << 26])
@pytest.mark.parametrize("kind", GROWING, indirect=True)
def test_a_sample_of_a_log_that_grows_is_that_of_the_grown_log(
    tmp_path: Path, kind: str, unit_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Units that were read before hold other episodes than those that are kept now."""
    monkeypatch.setattr(read_units, "UNIT_BYTES", unit_bytes)
    root = tmp_path / "log"

    def built(store: str, out: str) -> str:
        recipe = {"robot_frac": 1, "store": store, "robot": {"arm": settings(root, kind, 4)}}
        build_plainly(parse_recipe(json.dumps(recipe), "mixture.yaml", tmp_path), Site(tmp_path / out))
        return sha256_of(tmp_path / out)

    grow(root, kind, 6)
    small = built("store", "small")
    grow(root, kind, 14)
    assert built("store", "grown") == built("another", "fresh") != small


@pytest.mark.parametrize("kind", LOADERS, indirect=True)
def test_names_and_parts_need_no_episode(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    LOGS[kind](tmp_path / "log", 6)
    source = source_class(kind).model_validate({**settings(tmp_path / "log", kind, 2)})
    assert isinstance(source, LogSource)
    monkeypatch.setattr(LOADERS[kind], lambda *_: pytest.fail("an episode was read"))
    assert len({*source.episode_names()}) == 6
    assert len(source.parts({})) == 2 and source.limits.left_out == 4
