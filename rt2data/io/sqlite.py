"""SQLite database files: our own and those of others."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from rt2data.errors import OutputError
from rt2data.io import location
from rt2data.io.inflate import LARGEST


@contextmanager
def new_database(path: Path) -> Iterator[sqlite3.Connection]:
    """A new database to fill, closed at the end. Raises OutputError if it cannot be written."""
    try:
        with closing(sqlite3.connect(path)) as database:
            yield database
    except sqlite3.OperationalError as error:
        raise OutputError(f"cannot write: {error}", str(path), "free some space and run the same command again") from error


@contextmanager
def read_database(name: location.Name) -> Iterator[sqlite3.Connection]:
    """An untrusted database, read-only: nothing is written next to it, and no code in it is run.

    Values have the same size limit as a block of other logs. A remote database is copied first. Raises sqlite3.Error if it is not a
    database.
    """
    with location.local_copy_or_path(name) as path:
        database = sqlite3.connect(f"{path.absolute().as_uri()}?immutable=1", uri=True, check_same_thread=False)
        with closing(database):
            database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LARGEST)
            database.text_factory = lambda text: text.decode("utf-8", "replace")
            database.execute("PRAGMA trusted_schema = OFF")
            yield database
