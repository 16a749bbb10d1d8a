"""A damaged mixture can be built again in its place, and what is not a mixture is called by its name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rt2data.build import Site, build_plainly
from rt2data.cli.app import app
from rt2data.errors import UsageError
from rt2data.look.verify import verify
from rt2data.plan.recipe import Recipe
from rt2data.seal.manifest import read_manifest


def test_restart_builds_a_damaged_mixture_again(toy_recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    """Its manifest says that all is there: only reading every byte would tell."""
    recipe, out = toy_recipe(), tmp_path / "m"
    build_plainly(recipe, Site(out))
    shard = next(out.glob("*.tar"))
    whole = shard.read_bytes()
    shard.write_bytes(whole[:600] + bytes([whole[600] ^ 1]) + whole[601:])
    build_plainly(recipe, Site(out))
    assert not verify(out).ok
    build_plainly(recipe, Site(out, overwrite=True, restart=True))
    assert verify(out).ok and shard.read_bytes() == whole


def test_episodes_are_not_a_damaged_mixture(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"kind": "rlds"}')
    with pytest.raises(UsageError, match="write-rlds wrote"):
        read_manifest(tmp_path)


def test_a_file_is_no_output(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("x")
    with pytest.raises(UsageError):
        app(["verify", str(tmp_path / "x")], standalone_mode=False)
