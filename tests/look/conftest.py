"""The mixture of several images, chunks and conversations, built once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.look import several


@pytest.fixture(scope="session")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the mixture; not to be changed."""
    return several.build(tmp_path_factory.mktemp("several"))
