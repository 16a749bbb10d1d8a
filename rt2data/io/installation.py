"""The version, and the folders `schemas/` and `pipelines/`, which are inside an installed wheel, or at the top of a checkout."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from rt2data.errors import InternalError

VERSION = "0.1.0"

_PACKAGE = Path(__file__).parents[1]


def schemas() -> Path:
    """The folder of JSON Schemas, with action spaces in its subfolder `actions`."""
    return folder("schemas")


def pipelines() -> Path:
    """The folder of deployed pipelines."""
    return folder("pipelines")


def folder(name: Literal["schemas", "pipelines"], package: Path = _PACKAGE) -> Path:
    """The folder with this name. Raises InternalError if the installation lacks it."""
    checkout = package.parent
    if (package / name).is_dir():
        return package / name
    if (checkout / "pyproject.toml").is_file() and (checkout / name).is_dir():
        return checkout / name
    raise InternalError(f"this installation lacks its {name}/", str(package), "install rt2data again")
