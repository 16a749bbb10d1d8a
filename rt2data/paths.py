"""Paths as a recipe writes them: relative to its own file, `~` for home, `${...}` for a few named variables."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationInfo

from rt2data.errors import UsageError
from rt2data.local import local_path

_VARIABLE = re.compile(r"\$\{([^}]*)\}")
_ALLOWED = re.compile(r"HOME|RT2DATA_[A-Z0-9_]+")


def _resolve(text: str, info: ValidationInfo) -> str:
    """Absolute path. Without a `folder` in the validation context (a recipe read back) the text is left as it is."""
    if "\0" in text:
        raise ValueError("must not hold a NUL character")
    folder: Path | None = (info.context or {}).get("folder")
    if folder is None:
        return text
    found = _VARIABLE.sub(_variable, text)
    try:
        local_path(found)
    except UsageError as error:
        raise ValueError(f"{error.where}: {error.what} -> {error.do}") from None
    return str(folder / (_home() + found[1:] if found == "~" or found.startswith("~/") else found))


def _resolve_file(text: str, info: ValidationInfo) -> str:
    return _resolve(text, info) if "/" in text or text.endswith(".toml") else text


def _variable(found: re.Match[str]) -> str:
    name = found[1]
    if not _ALLOWED.fullmatch(name):
        raise ValueError(f"{found[0]} is not allowed: only ${{HOME}} and ${{RT2DATA_...}} are")
    if name not in os.environ:
        raise ValueError(f"{found[0]} is not set")
    return os.environ[name]


def _home() -> str:
    try:
        return str(Path.home())
    except RuntimeError:
        raise ValueError("~ is unknown here: set HOME") from None


PathStr = Annotated[str, Field(min_length=1), AfterValidator(_resolve)]
"""A path of a local file or folder, absolute once the recipe is read."""
NameOrPath = Annotated[str, Field(min_length=1), AfterValidator(_resolve_file)]
"""A bare name of something we ship, left as it is, or the path of a .toml file."""


def default_store_root() -> Path:
    """Where prepared stores lie unless a recipe says otherwise: $RT2DATA_STORE, or the user's cache.

    Raises UsageError where $RT2DATA_STORE is no local path.
    """
    return local_path(os.environ.get("RT2DATA_STORE") or "~/.cache/rt2data/store").expanduser().absolute()
