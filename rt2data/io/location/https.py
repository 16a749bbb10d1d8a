"""Files on web servers, via obstore: https://, and http:// on this machine. They are read by name, since a web server cannot list
files.

A file's version is its strong ETag, or else its modification time. Each response must state the expected version, because not every
server respects If-Match.
"""

from __future__ import annotations

import errno
from collections import OrderedDict
from collections.abc import Iterator
from datetime import datetime
from functools import lru_cache
from threading import Lock
from typing import Any
from urllib.parse import unquote

from rt2data.errors import DataError, UsageError
from rt2data.io.location.base import Range, Stat
from rt2data.io.location.paths import OBJECT_STORES
from rt2data.io.location.remote import ReadOnly, RemoteEntry
from rt2data.io.location.requests import RETRY, TIMEOUTS, changed, obstore, tried

WHOLE = 16 << 20
"""Maximum bytes of a file that is read whole, if a server does not support ranges."""
_WHOLES = 4
"""Number of such files to cache in memory."""


@lru_cache(maxsize=64)
def web_of(scheme: str, host: str) -> Web:
    """The location for one host."""
    return Web(scheme, host)


class Web(ReadOnly):
    """The files of one host."""

    def __init__(self, scheme: str, host: str) -> None:
        super().__init__(scheme, host)
        self._wholes: OrderedDict[tuple[str, str], memoryview] = OrderedDict()  # least recently used first
        self._one_at_a_time = Lock()

    def _open(self) -> Any:
        obstore()
        from obstore.store import HTTPStore

        client: Any = {**TIMEOUTS, "allow_http": self._scheme == "http"}  # so https:// is never redirected to http://
        return HTTPStore.from_url(self.root, client_options=client, retry_config=RETRY)  # type: ignore[arg-type]

    def _key(self, name: str) -> str:
        return unquote(super()._key(name))

    def _look(self, name: str) -> Stat:
        return self._stat(name, self._head(name))

    def _stat(self, name: str, meta: Any) -> Stat:
        """The stat from a response. Raises DataError if it lacks size or version."""
        tag, modified = meta["e_tag"] or "", meta["last_modified"]
        if tag and not tag.startswith("W/"):
            return Stat(meta["size"], tag)
        if not modified.timestamp():
            what = "the server tells neither an ETag nor when the file was modified, so a change would not be noticed"
            raise DataError(what, name, "download it, and give a local path")
        return Stat(meta["size"], modified.isoformat())

    def _pinned(self, version: str) -> dict[str, Any]:
        if not version or version.startswith('"'):
            return super()._pinned(version)
        return {"if_unmodified_since": datetime.fromisoformat(version)}

    def _content(self, wanted: Range, answer: Any) -> memoryview:
        if wanted.version and self._stat(wanted.name, answer.meta).version != wanted.version:
            raise changed(wanted.name)
        return super()._content(wanted, answer)

    def read_range(self, wanted: Range) -> memoryview:
        if (wanted.name, wanted.version) not in self._wholes:
            try:
                return super().read_range(wanted)
            except OSError as error:
                if error.errno != errno.ENOTSUP:
                    raise
        with self._one_at_a_time:
            return self._whole(wanted)[wanted.start : wanted.start + wanted.length]

    def _whole(self, wanted: Range) -> memoryview:
        """The whole content of a small file. Raises DataError, and the same errors as `read`."""
        name, version = wanted.name, wanted.version
        if (name, version) not in self._wholes:
            self._wholes[name, version] = tried(name, lambda: self._bounded(wanted))
            if len(self._wholes) > _WHOLES:
                self._wholes.popitem(last=False)
        self._wholes.move_to_end((name, version))
        return self._wholes[name, version]

    def _bounded(self, wanted: Range) -> memoryview:
        answer = obstore().get(self._store, self._key(wanted.name), options=self._pinned(wanted.version))
        if answer.meta["size"] > WHOLE:
            what = f"the server does not give parts of a file, and this one has {answer.meta['size']:,} bytes"
            raise DataError(what, wanted.name, f"download it, or choose a server that does: above {WHOLE:,} bytes they are needed")
        return self._content(wanted, answer)

    def is_folder(self, name: str) -> bool:
        if self.is_file(name):
            return False
        raise self._unlisted("no file is there", name)

    def exists(self, name: str) -> bool:
        return self.is_file(name)

    def children(self, folder: str) -> Iterator[RemoteEntry]:
        raise self._unlisted("this names a folder", folder)

    def files_below(self, folder: str) -> Iterator[tuple[str, Stat]]:
        raise self._unlisted("this names a folder", folder)

    def bytes_and_time(self, folder: str) -> tuple[int, float]:
        raise self._unlisted("this names a folder", folder)

    def _unlisted(self, what: str, where: str) -> UsageError:
        others = ", ".join(f"{scheme}://" for scheme in ("hf", *OBJECT_STORES))
        do = f"name a file that is there, or put the folder where it can be listed: {others}"
        return UsageError(f"{what}, and folders of {self._scheme}:// cannot be listed", where, do)
