"""Object stores that this very process uses: by its environment, as any other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest

FAILING = {"unavailable": 0.02, "reset": 0.015, "cut": 0.015}
"""Of a hundred requests five go wrong: refused, without an answer, or read short."""


@contextmanager
def used_here(env: Mapping[str, str]) -> Iterator[None]:
    """Have this process find the server of this environment, and no earlier one."""
    from rt2data.io.location.objects import objects_of

    with pytest.MonkeyPatch.context() as patch:
        find_here(env, patch)
        yield
    objects_of.cache_clear()


def find_here(env: Mapping[str, str], patch: pytest.MonkeyPatch) -> None:
    """The same until the patch ends."""
    from rt2data.io.location.objects import objects_of

    for name, value in env.items():
        patch.setenv(name, value)
    objects_of.cache_clear()
