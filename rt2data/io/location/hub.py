"""Repositories on a hub: hf://datasets/OWNER/NAME[@REVISION]/PATH, as `huggingface_hub` names, finds and lists them.

A revision is resolved to a commit once per process; the content of a commit never changes. A file's version is the hash of its
content, equal in all processes; if a branch has moved meanwhile, changed files have a different version. Bytes are read with
obstore.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from threading import RLock
from typing import Any

from rt2data.errors import RtError, UsageError
from rt2data.io.location.base import Range, Stat
from rt2data.io.location.paths import repository
from rt2data.io.location.remote import ReadOnly, RemoteEntry
from rt2data.io.location.requests import RETRY, TIMEOUTS, changed, first_line, in_thread, obstore, refusal, tried

_Folder = dict[str, Stat | None]
"""The entries of a folder, by name; None for a subfolder."""


@lru_cache(maxsize=64)
def repository_of(place: str) -> Repository:
    """The location for one revision of a repository."""
    return Repository(place)


class Repository(ReadOnly):
    """The files of one revision of a repository."""

    def __init__(self, place: str) -> None:
        super().__init__("hf", place)
        self._kind, self._repo, self._revision = repository(place)
        self._folders: dict[str, _Folder] = {}  # by key
        self._resolved = ""
        self._time = 0.0  # of the commit, in s since 1970
        self._lock = RLock()  # so that concurrent threads send a request only once

    def _open(self) -> Any:
        obstore()
        _require_hub()
        from huggingface_hub import get_token
        from obstore.store import HTTPStore

        token = get_token()
        headers = {"Authorization": f"Bearer {token}"} if token else {}  # not sent on redirects to other hosts
        client: Any = {**TIMEOUTS, "allow_http": _endpoint().startswith("http://"), "default_headers": headers}
        return HTTPStore.from_url(_endpoint(), client_options=client, retry_config=RETRY)  # type: ignore[arg-type]

    def _commit(self) -> str:
        """The commit of the revision, requested once. Raises OSError."""
        self._store  # noqa: B018  (not after a fork)
        asked = {"revision": self._revision, "repo_type": self._kind, "expand": ["sha", "lastModified"]}
        with self._lock:
            if not self._resolved:
                found = tried(self.root, lambda: _api().repo_info(self._repo, **asked), _hub_errors)
                self._resolved, self._time = str(found.sha), found.last_modified.timestamp()
            return self._resolved

    def _path(self, name: str) -> str:
        """A file's path inside the repository."""
        return super()._key(name)

    def _key(self, name: str) -> str:
        """The same path on the server, at the commit."""
        kind = "" if self._kind == "model" else f"{self._kind}s/"
        return f"{kind}{self._repo}/resolve/{self._commit()}/{self._path(name)}"

    def _tree(self, path: str, recursive: bool) -> Sequence[Any]:
        """The entries in a folder, or below it. Raises OSError, FileNotFoundError if there is no such folder."""
        asked = {"revision": self._commit(), "repo_type": self._kind, "recursive": recursive}
        return tried(self.root + path, lambda: list(_api().list_repo_tree(self._repo, path or None, **asked)), _hub_errors)

    def _folder(self, path: str) -> _Folder:
        """The entries of a folder, requested once. Raises OSError, FileNotFoundError if there is no such folder."""
        with self._lock:
            if path not in self._folders:
                self._folders[path] = {entry.path.rpartition("/")[2]: _stat(entry) for entry in self._tree(path, recursive=False)}
            return self._folders[path]

    def _look(self, name: str) -> Stat:
        folder, _, last = self._path(name).rpartition("/")
        try:
            found = self._folder(folder).get(last)
        except FileNotFoundError:
            found = None
        if found is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        return found

    def is_folder(self, name: str) -> bool:
        folder, _, last = self._path(name).rpartition("/")
        try:
            found = in_thread(self._folder, folder).result()
        except FileNotFoundError:
            return False
        return not last or (last in found and found[last] is None)

    def children(self, folder: str) -> Iterator[RemoteEntry]:
        path = self._path(folder)
        for name, stat in in_thread(self._folder, path).result().items():
            yield RemoteEntry(name, self.root + (f"{path}/{name}" if path else name), stat is None)

    def files_below(self, folder: str) -> Iterator[tuple[str, Stat]]:
        try:
            entries = in_thread(self._tree, self._path(folder), True).result()
        except FileNotFoundError:
            return
        for entry in entries:
            if stat := _stat(entry):
                yield self.root + entry.path, stat

    def bytes_and_time(self, folder: str) -> tuple[int, float]:
        sizes = [stat.size for _, stat in self.files_below(folder)]
        if not sizes:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), folder)
        return sum(sizes), self._time

    def _pinned(self, version: str) -> dict[str, Any]:
        return {}  # the name has the commit, and redirect targets have other ETags

    def read_range(self, wanted: Range) -> memoryview:
        if wanted.version and self._look(wanted.name).version != wanted.version:
            raise changed(wanted.name)
        return super().read_range(wanted)


def _stat(entry: Any) -> Stat | None:
    """The stat of a tree entry; None for a folder. The version is the content hash of a large file, or the git hash of a small
    one.
    """
    if not hasattr(entry, "blob_id"):
        return None
    return Stat(entry.size, entry.lfs.sha256 if entry.lfs else entry.blob_id)


def _require_hub() -> None:
    try:
        import huggingface_hub  # noqa: F401
    except ImportError:
        raise UsageError("hf:// needs the package huggingface_hub", do="pip install 'rt2data[hf]'") from None


def _endpoint() -> str:
    from huggingface_hub import constants

    return os.environ.get("HF_ENDPOINT") or constants.ENDPOINT


def _api() -> Any:
    from huggingface_hub import HfApi

    return HfApi(endpoint=_endpoint(), library_name="rt2data")


@contextmanager
def _hub_errors(name: str) -> Iterator[None]:
    """Convert errors of the hub's package and of the network to built-in errors that name the file."""
    try:
        yield
    except RtError:
        raise
    except Exception as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status == 404:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name) from None
        if status in (401, 403):
            raise refusal(name, first_line(error)) from None
        raise OSError(errno.EIO, f"the hub fails: {first_line(error)}", name) from error
