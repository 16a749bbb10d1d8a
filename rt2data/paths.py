"""Paths as a recipe writes them: relative to its own file, `~` for home, `${...}` for a few named variables."""

from __future__ import annotations

import os
import pwd
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
        return home()
    except (KeyError, OSError):
        raise ValueError("~ is unknown here: set HOME") from None


def home() -> str:
    """$HOME; where that is empty or not set, the home of this process's user. Raises KeyError or OSError where there is none."""
    return os.environ.get("HOME") or pwd.getpwuid(os.getuid()).pw_dir


PathStr = Annotated[str, Field(min_length=1), AfterValidator(_resolve)]
"""A path of a local file or folder, absolute once the recipe is read."""
NameOrPath = Annotated[str, Field(min_length=1), AfterValidator(_resolve_file)]
"""A bare name of something we ship, left as it is, or the path of a .toml file."""


def default_store_root() -> Path:
    """Where prepared stores lie unless a recipe says otherwise: $RT2DATA_STORE, else rt2data/store in the user's cache.

    The cache is $XDG_CACHE_HOME where that is an absolute path, as its specification asks, else ~/.cache. Raises UsageError where
    nobody's home is known, and where $RT2DATA_STORE is no local path.
    """
    chosen, cache = os.environ.get("RT2DATA_STORE"), os.environ.get("XDG_CACHE_HOME", "")
    try:
        if chosen:
            return local_path(home() + chosen[1:] if chosen == "~" or chosen.startswith("~/") else chosen).absolute()
        return (Path(cache) if Path(cache).is_absolute() else Path(home(), ".cache")) / "rt2data" / "store"
    except (KeyError, OSError):
        raise UsageError("no home folder is known for prepared stores", do="set RT2DATA_STORE, or `store` in the recipe") from None
