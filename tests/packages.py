"""Packages that not every environment has."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

import pytest


def need(name: str) -> Any:
    """The module. Where it is not installed the test is skipped, but fails under `make test-trainers`, which installs them all."""
    if os.environ.get("RT2DATA_TRAINERS"):
        return import_module(name)
    return pytest.importorskip(name, reason=f"{name} is not installed: `make trainers` brings it", exc_type=ImportError)
