"""A small mixture of toys, and its stores."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rt2data.build import Site, build_plainly
from rt2data.recipe import Recipe


@pytest.fixture
def mixture(toy_recipe: Callable[..., Recipe], tmp_path: Path) -> Path:
    """96 examples in about ten shards; its stores lie in `store` beside it."""
    out = tmp_path / "mixture"
    build_plainly(toy_recipe(), Site(out))
    return out
