"""Object stores: gs://, s3://, az://, via obstore. Objects are written atomically; folders exist only as prefixes of names.

Credentials come from the environment, as for the stores' own tools.
"""

from __future__ import annotations

import errno
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from io import FileIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rt2data.errors import OutputError, SourceChangedError, UsageError
from rt2data.io.location.base import Stat
from rt2data.io.location.look import answers, seen
from rt2data.io.location.paths import Name, RemotePath, parted
from rt2data.io.location.remote import Remote, RemoteEntry
from rt2data.io.location.requests import RETRY, TIMEOUTS, TRIES, first_line, in_thread, object_errors, obstore, tried
from rt2data.io.location.traffic import count

_ENDPOINTS = {"gs": "GOOGLE_BASE_URL", "s3": "AWS_ENDPOINT_URL", "az": "AZURE_STORAGE_ENDPOINT"}
_FEW = 4
"""Up to this many objects in a folder are requested individually; for more, the folder is listed."""
_ENTRIES = 100
"""Folder entries to list per requested object: a page of 1,000 takes about as long as ten requests."""
_PAGE = 1000
"""Maximum objects in one page of a listing, in all stores."""
_LOOK = "look at the bucket, your credentials and the network, and run the same command again: a build resumes"


@lru_cache(maxsize=64)
def objects_of(scheme: str, bucket: str) -> Objects:
    """The location for one bucket."""
    return Objects(scheme, bucket)


def object_store(name: Name) -> Objects:
    """The location that holds an object, for writing."""
    found = parted(str(name))
    assert found is not None
    return objects_of(*found[:2])


class Objects(Remote):
    """The objects of one bucket."""

    def _open(self) -> Any:
        obstore()
        from obstore.exceptions import BaseError
        from obstore.store import from_url

        open_store: Any = from_url  # its type annotations distinguish stores by their options
        plain = os.environ.get(_ENDPOINTS[self._scheme], "").startswith("http://")
        client = {**TIMEOUTS, "allow_http": plain}  # overrides the environment
        try:
            return open_store(self.root, client_options=client, retry_config=RETRY)
        except (BaseError, ValueError) as error:
            raise UsageError(f"cannot open the bucket: {first_line(error)}", self.root, "write scheme://BUCKET/NAME") from None

    def _look(self, name: str) -> Stat:
        return _stat(self._head(name))

    def _found(self, names: Iterable[str]) -> dict[str, Stat]:
        folders: dict[str, list[str]] = defaultdict(list)
        for name in names:
            folders[name.rpartition("/")[0]].append(name)
        found: dict[str, Stat] = {}
        for folder, here in folders.items():
            found |= self._listed(folder, here) if len(here) > _FEW else super()._found(here)
        return found

    def _listed(self, folder: str, names: Sequence[str]) -> dict[str, Stat]:
        """The same, by listing the folder; only part of a large one, so that the cost depends on the number of names."""
        wanted, found = set(names), dict[str, Stat]()
        for number, (name, stat) in enumerate(self.files_below(folder)):
            if number >= _ENTRIES * len(names):
                return found | super()._found(wanted - found.keys())
            if name in wanted:
                found[name] = stat
                if len(found) == len(wanted):
                    break
        return found

    def is_folder(self, name: str) -> bool:
        try:
            return seen("folder", name, lambda: bool(self._call(_any_below, name, _prefix(self._key(name)))))
        except FileNotFoundError:  # the bucket does not exist
            return False

    def children(self, folder: str) -> Iterator[RemoteEntry]:
        found = self._children(folder)
        for prefix in found["common_prefixes"]:
            yield RemoteEntry(prefix.rstrip("/").rpartition("/")[2], self.root + prefix.rstrip("/"), True)
        for meta in found["objects"]:
            if not meta["path"].endswith("/"):  # consoles create such objects to show a folder
                yield RemoteEntry(meta["path"].rpartition("/")[2], self.root + meta["path"], False)

    def _children(self, folder: str) -> Any:
        found = seen("children", folder, lambda: self._call(obstore().list_with_delimiter, folder, _prefix(self._key(folder))))
        remember = answers("stat")
        for meta in found["objects"]:
            remember(self.root + meta["path"], _stat(meta))
        if not found["objects"] and not found["common_prefixes"] and self._key(folder):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), folder)
        return found

    def files_below(self, folder: str) -> Iterator[tuple[str, Stat]]:
        for meta in self._below(folder):
            if not meta["path"].endswith("/"):
                yield self.root + meta["path"], _stat(meta)

    def _below(self, folder: str) -> Iterator[Any]:
        """All objects below; if a response breaks off, the listing continues after its last object."""
        last, left, prefix = None, TRIES, _prefix(self._key(folder))
        while True:
            try:
                with object_errors(folder):
                    for metas in obstore().list(self._store, prefix, offset=last, chunk_size=_PAGE):
                        count("requests")
                        for meta in metas:
                            last = meta["path"]
                            yield meta
                return
            except OSError as error:
                left -= 1
                if error.errno != errno.EIO or not left:
                    raise

    @contextmanager
    def whole_file(self, name: str, direct: bool = False) -> Iterator[FileIO]:
        """Written to a local temporary file, then uploaded; nothing is in the store before that."""
        with TemporaryDirectory(prefix="rt2data-") as folder:
            local = Path(folder, "object")
            with FileIO(local, "wb") as file:
                yield file
            self._send(name, local)

    def produce_whole(self, name: str, produce: Callable[[Path], None]) -> None:
        with TemporaryDirectory(prefix="rt2data-") as folder:
            local = Path(folder, RemotePath(name).name)
            produce(local)
            self._send(name, local)

    def _send(self, name: str, content: Path | bytes, mode: Any = None) -> None:
        """Upload a file, a large one in parts. Raises OutputError, and SourceChangedError if `mode` requires a different
        version.
        """
        options = {} if mode is None else {"mode": mode}  # which forces a single part
        try:
            self._call(obstore().put, name, self._key(name), content, **options)
        except FileNotFoundError:
            if self._has_size(name, content):
                return  # the parts were joined, but the response was lost, and the retry found none
            raise OutputError("there is no such bucket", name, "make it first, or name another") from None
        except OSError as error:
            raise OutputError(f"cannot write: {error.strerror}", name, _LOOK) from error

    def duplicate(self, name: str, new: str) -> None:
        """A copy within the store, without downloading."""
        try:
            self._call(obstore().copy, name, self._key(name), self._key(new))
        except FileNotFoundError:
            raise
        except OSError as error:
            raise OutputError(f"cannot copy: {error.strerror}", new, _LOOK) from error

    def put_new(self, name: str, content: bytes) -> bool:
        """Write an object unless one with this name exists; returns whether it was written. Raises OutputError, OSError."""
        try:
            self._send(name, content, "create")
        except SourceChangedError:
            return self._holds(name, content)  # it may be ours: the first response was lost, the retry found the object
        return True

    def replace(self, name: str, content: bytes, before: bytes) -> bool:
        """Overwrite an object that still contains `before`; returns whether it was written. Raises OutputError, OSError."""
        try:
            found, meta = self._now(name)
            if found != before:
                return False
            self._send(name, content, {key: meta[key] for key in ("e_tag", "version") if meta.get(key)})
        except FileNotFoundError:
            return False
        except SourceChangedError:
            return self._holds(name, content)
        return True

    def read_now(self, name: str) -> bytes:
        """The same in a single request, so that the content is of one version."""
        return self._now(name)[0]

    def _now(self, name: str) -> tuple[bytes, Any]:
        def get() -> tuple[bytes, Any]:
            found = obstore().get(store, key)
            return bytes(found.bytes()), found.meta

        store, key = self._store, self._key(name)
        answer: tuple[bytes, Any] = in_thread(tried, name, get).result()
        return answer

    def _has_size(self, name: str, content: Path | bytes) -> bool:
        try:
            return self.stat(name).size == (content.stat().st_size if isinstance(content, Path) else len(content))
        except FileNotFoundError:
            return False

    def _holds(self, name: str, content: bytes) -> bool:
        try:
            return self.read_now(name) == content
        except FileNotFoundError:
            return False

    def delete(self, name: str) -> None:
        with suppress(FileNotFoundError):
            self._call(obstore().delete, name, self._key(name))

    def remove_folder(self, folder: str) -> None:
        keys = [self._key(name) for name, _ in self.files_below(folder)]
        if keys:
            with suppress(FileNotFoundError):
                self._call(obstore().delete, folder, keys)

    def bytes_and_time(self, folder: str) -> tuple[int, float]:
        """Total bytes of all objects below, and the time of the last write, in s since 1970. Raises FileNotFoundError if there are
        none.
        """
        size, changed = 0, 0.0
        for meta in self._below(folder):
            size, changed = size + meta["size"], max(changed, meta["last_modified"].timestamp())
        if not changed:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), folder)
        return size, changed


def _prefix(key: str) -> str | None:
    return f"{key}/" if key else None


def _any_below(store: Any, prefix: str | None) -> bool:
    return any(metas for metas in obstore().list(store, prefix, chunk_size=1))


def _stat(meta: Any) -> Stat:
    """The stat from metadata. The version is a quoted ETag, as stores require it; Azure's listings omit the quotes."""
    found = meta["e_tag"] or str(meta["last_modified"])
    return Stat(meta["size"], found if '"' in found else f'"{found}"')
