"""The same recipe in every format: the same examples with the same values and pictures, and each output checks out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rt2data.beam.pool import make_pool
from rt2data.beam.run import build_locally
from rt2data.build import Site, build_plainly
from rt2data.formats.base import FORMATS
from rt2data.look.verify import verify
from rt2data.plan.recipe import Recipe
from rt2data.render.fields import ExampleRecord
from rt2data.seal.manifest import read_manifest
from tests.formats.conftest import examples

pytestmark = pytest.mark.long

OTHERS = [name for name in FORMATS if name != "webdataset"]


def sorted_by_key(found: list[tuple[bytes, ExampleRecord]]) -> list[tuple[bytes, ExampleRecord]]:
    return sorted(found, key=lambda each: each[1].key)


@pytest.mark.parametrize("name", OTHERS)
def test_a_format_changes_no_example(mixture: Callable[[str], Path], name: str) -> None:
    """The number of shards may differ, and with it the order inside the blocks."""
    here, there = examples(mixture(name)), examples(mixture("webdataset"))
    assert sorted_by_key(here) == sorted_by_key(there)
    manifests = [read_manifest(mixture(each)) for each in (name, "webdataset")]
    assert manifests[0].totals == manifests[1].totals


@pytest.mark.parametrize("name", list(FORMATS))
def test_a_real_mixture_checks_out(mixture: Callable[[str], Path], name: str) -> None:
    found = verify(mixture(name))
    assert found.faults == ()
    assert (found.examples, found.robot_frac) == (90, 0.5)


def contents(out: Path) -> dict[str, bytes]:
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", list(FORMATS))
def test_the_same_bytes_for_any_number_of_workers(toy_recipe: Callable[..., Recipe], tmp_path: Path, name: str) -> None:
    """Shards and everything beside them."""
    recipe = toy_recipe(shards__format=name)
    build_plainly(recipe, Site(tmp_path / "plain"))
    pool = make_pool("processes", 2)
    try:
        build_locally(recipe, Site(tmp_path / "pool"), pool)
    finally:
        pool.close()
    assert contents(tmp_path / "plain") == contents(tmp_path / "pool")


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_whatever_happens_to_a_file_is_noticed(toy_recipe: Callable[..., Recipe], tmp_path: Path, name: str) -> None:
    build_plainly(toy_recipe(shards__format=name), Site(tmp_path / "out"))
    assert verify(tmp_path / "out").ok
    for file, content in contents(tmp_path / "out").items():
        for damage in (flip, cut, remove) if file != "manifest.json" else ():
            damage(tmp_path / "out" / file)
            assert verify(tmp_path / "out").ok == (file == "README.md"), f"{damage.__name__} {file}"
            (tmp_path / "out" / file).write_bytes(content)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def remove(path: Path) -> None:
    path.unlink()
