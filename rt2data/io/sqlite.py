"""SQLite databases as output files."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from rt2data.errors import OutputError


@contextmanager
def new_database(path: Path) -> Iterator[sqlite3.Connection]:
    """A database to fill, closed at the end. Raises OutputError where it cannot be written."""
    try:
        with closing(sqlite3.connect(path)) as database:
            yield database
    except sqlite3.OperationalError as error:
        raise OutputError(f"cannot write: {error}", str(path), "free some space and run the same command again") from error
