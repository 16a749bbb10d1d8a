"""What tests of the command share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.command import Warm


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warm]:
    """The command without the time its imports take."""
    server = Warm(tmp_path_factory.mktemp("said"))
    yield server
    server.close()
