"""Hand-written TOML files: action spaces, standards of datasets."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from rt2data.errors import UsageError
from rt2data.io import location

MAX_BYTES = 1 << 20


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """The values of a file, which should be `what`. Raises UsageError if it is not TOML, too long, or unreadable."""
    try:
        text = location.read_head(path, MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{what} cannot be read: {error.strerror}", str(path)) from None
    if len(text) > MAX_BYTES:
        raise UsageError(f"{what} is longer than {MAX_BYTES} bytes", str(path))
    try:
        return tomllib.loads(text.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"not TOML: {error}", str(path)) from None
