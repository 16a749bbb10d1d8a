"""Packages that not every environment has."""

from __future__ import annotations

import os
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import pytest


def need(name: str) -> Any:
    """The module. Where it is not installed the test is skipped, but fails under `make test-trainers`, which installs them all."""
    if os.environ.get("RT2DATA_TRAINERS"):
        return import_module(name)
    return pytest.importorskip(name, reason=f"{name} is not installed: `make trainers` brings it", exc_type=ImportError)


class later:  # noqa: N801 (used as a function)
    """A module that takes seconds to import: at its first use, so that runs which leave its tests out do not pay for it.

    Where it is not installed the whole test module is skipped.
    """

    def __init__(self, name: str) -> None:
        if find_spec(name) is None:
            pytest.skip(f"{name} is not installed", allow_module_level=True)
        self._name = name

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # pytest asks each global of a test module for its own marks
            raise AttributeError(name)
        return getattr(import_module(self._name), name)
