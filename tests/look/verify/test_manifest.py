"""Values of a manifest that are out of bounds are an error for all who compute with them; so is a missing shard."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rt2data.build import Site, build_plainly
from rt2data.errors import DataError
from rt2data.formats.base import FORMATS, make_format, members_of
from rt2data.look.diff import compare
from rt2data.look.inspect import recognize
from rt2data.look.stats.subject import mixture_subject
from rt2data.look.verify.manifest import checked_manifest
from rt2data.plan.recipe import Recipe, read_recipe
from tests.look.view.conftest import toys_in

DAMAGE: dict[str, tuple[str, Any]] = {
    "a mean that is a number": ("statistics.arm.action.mean", 1.5),
    "a mean of text": ("statistics.arm.action.mean.0", "x"),
    "a mean that no float32 has": ("statistics.arm.action.mean.0", 1e308),
    "a mean that no float has": ("statistics.arm.action.mean.0", 10**400),
    "a state without a mean": ("statistics.arm.state", {"std": []}),
    "statistics that are a list": ("statistics.arm", []),
    "sources that are text": ("recipe.robot", "x"),
    "sources that are a number": ("recipe.robot", 1.5),
    "sources that are nothing": ("recipe.robot", None),
    "a source that is a number": ("recipe.web.qa", 1),
    "a dimension that is a list": ("plan.sources.0.codec.dims.1", []),
    "a share in words": ("plan.sources.1.share", "x"),
    "a share of many digits": ("plan.sources.1.share", "9" * 400),
    "a share of very many digits": ("plan.sources.1.share", "9" * 9000),
    "a share whose exponent would never end": ("plan.sources.1.share", "1e999999999"),
    "a count that no float has": ("totals.arm.examples", 10**400),
    "a name that leads out of its folder": ("plan.sources.0.name", "../out"),
    "a robot share above 1": ("plan.robot_frac", "3/2"),
}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("built")
    with toys_in(folder) as recipe:
        build_plainly(read_recipe(recipe), Site(folder / "out"))
    yield folder / "out"


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_values_are_named_wherever_they_are_used(built: Path, tmp_path: Path, damage: str) -> None:
    where, value = DAMAGE[damage]
    out = Path(shutil.copytree(built, tmp_path / "out"))
    manifest = json.loads((out / "manifest.json").read_text())
    _put(manifest, where.split("."), value)
    (out / "manifest.json").write_text(json.dumps(manifest))
    for use in (lambda: compare(out, built, quick=True), lambda: mixture_subject(out, tmp_path / "scratch")):
        with pytest.raises(DataError, match=r"a damaged manifest: .*manifest\.json.*rt2data verify"):
            use()


def _put(tree: Any, path: list[str], value: Any) -> None:
    *above, last = (int(step) if step.isdigit() else step for step in path)
    for step in above:
        tree = tree[step]
    assert last in tree or isinstance(last, int)
    tree[last] = value


def test_a_built_manifest_is_within_bounds(built: Path) -> None:
    assert checked_manifest(built).examples > 0


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_reports_a_missing_shard(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=r"a shard is missing .*gone"):
        next(members_of(make_format(name), tmp_path / "gone"))
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match="folder"):
        next(members_of(make_format(name), tmp_path / "folder"))


@pytest.mark.parametrize("name", ["webdataset", "mds"])
def test_looking_at_a_mixture_without_a_shard(toy_recipe: Callable[..., Recipe], tmp_path: Path, name: str) -> None:
    manifest = build_plainly(toy_recipe(shards__format=name), Site(tmp_path / "out"))
    (tmp_path / "out" / manifest.shards[0].name).unlink()
    seen = recognize(tmp_path / "out")
    with pytest.raises(DataError, match="a shard is missing"):
        seen.tiles(4)
    examples = seen.examples()
    assert examples is not None
    with pytest.raises(DataError, match="a shard is missing"):
        examples.at(0)
