"""Object stores: gs://, s3://, az://, by obstore. An object appears whole or not at all, and has no folder but its name.

Credentials come from the environment, as the stores' own tools find them. Blocking calls run in threads of this process, so that
Ctrl-C is heard and many requests are under way at once.
"""

from __future__ import annotations

import errno
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import lru_cache, partial
from io import FileIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, TypeVar

from rt2data.errors import OutputError, SourceChangedError, UsageError
from rt2data.io.location.base import Range, Stat
from rt2data.io.location.object_file import ObjectFile
from rt2data.io.location.paths import Name, RemotePath, parted

R = TypeVar("R")

AT_ONCE = 128
"""Requests under way at once, in one process."""
_ENDPOINTS = {"gs": "GOOGLE_BASE_URL", "s3": "AWS_ENDPOINT_URL", "az": "AZURE_STORAGE_ENDPOINT"}
_RETRY = {
    "max_retries": 10,
    "retry_timeout": timedelta(minutes=3),
    "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=15), "base": 2},
}
TRIES, _PAUSE_S = 5, 0.1
"""Of a request whose answer breaks off, and s between them, which grow."""
_FEW = 4
"""Up to so many objects of one folder are asked for one by one; of more, the folder is listed."""
_ENTRIES = 100
"""Entries of a folder that are listed for each object that is asked for: a page of 1,000 takes about as long as ten requests."""
_EXTRA = "pip install 'rt2data[cloud]'"


class ObjectEntry(NamedTuple):
    """An object, or what stands for a folder: a part of names that ends in a slash."""

    name: str
    path: str
    folder: bool

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        return not self.folder

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        return self.folder


@lru_cache(maxsize=1)
def _threads(process: int) -> ThreadPoolExecutor:
    """The threads of this process."""
    return ThreadPoolExecutor(AT_ONCE, thread_name_prefix="objects")


def in_thread(call: Callable[..., R], *arguments: Any) -> Future[R]:
    """Call it in a thread of its own."""
    return _threads(os.getpid()).submit(call, *arguments)


_used_in: list[int] = []
"""The process that used a store first: obstore's threads do not live on in a forked one, which would wait for ever."""


@lru_cache(maxsize=64)
def objects_of(scheme: str, bucket: str) -> Objects:
    """The body of one bucket."""
    return Objects(scheme, bucket)


def object_store(name: Name) -> Objects:
    """The body that holds an object."""
    found = parted(str(name))
    assert found is not None
    return objects_of(*found[:2])


class Objects:
    """The objects of one bucket. A name is its whole URI."""

    def __init__(self, scheme: str, bucket: str) -> None:
        self.root = f"{scheme}://{bucket}/"
        self._scheme = scheme
        self._opened: Any = None

    @property
    def _store(self) -> Any:
        """Opened once in this process. Raises UsageError where it cannot be."""
        if _used_in and _used_in[0] != os.getpid():
            do = "start workers with multiprocessing_context='forkserver' (or spawn)"
            raise UsageError("an object store was used before this process was forked", self.root, do)
        if self._opened is None:
            self._opened = _open_store(self._scheme, self.root)
            _used_in[:] = [os.getpid()]
        return self._opened

    def _key(self, name: str) -> str:
        found = parted(name)
        return found[2].strip("/") if found else name

    def _call(self, call: Callable[..., Any], name: str, *arguments: Any, **options: Any) -> Any:
        store = self._store
        return in_thread(_tried, name, lambda: call(store, *arguments, **options)).result()

    def stat(self, name: str) -> Stat:
        return _stat(self._call(_obstore().head, name, self._key(name)))

    def stats(self, names: Sequence[str]) -> list[Stat | None]:
        folders: dict[str, list[str]] = defaultdict(list)
        for name in names:
            folders[name.rpartition("/")[0]].append(name)
        found: dict[str, Stat] = {}
        for folder, here in folders.items():
            found |= self._listed(folder, here) if len(here) > _FEW else self._heads(here)
        return [found.get(name) for name in names]

    def _heads(self, names: Iterable[str]) -> dict[str, Stat]:
        """Of those that are there; asked for one by one, many at once."""
        store, head = self._store, _obstore().head
        asked = [(name, in_thread(_tried, name, partial(head, store, self._key(name)))) for name in names]
        found = {}
        for name, answer in asked:
            with suppress(FileNotFoundError):
                found[name] = _stat(answer.result())
        return found

    def _listed(self, folder: str, names: Sequence[str]) -> dict[str, Stat]:
        """The same by listing the folder; in a large one only its beginning, so that the cost grows with the names."""
        wanted, found = set(names), dict[str, Stat]()
        for number, (name, stat) in enumerate(self.files_below(folder)):
            if number >= _ENTRIES * len(names):
                return found | self._heads(wanted - found.keys())
            if name in wanted:
                found[name] = stat
                if len(found) == len(wanted):
                    break
        return found

    def exists(self, name: str) -> bool:
        return self.is_file(name) or self.is_folder(name)

    def identity(self, name: str) -> str:
        return str(RemotePath(name))

    def is_file(self, name: str) -> bool:
        try:
            return bool(self._key(name)) and self.stat(name).size >= 0
        except FileNotFoundError:
            return False

    def is_folder(self, name: str) -> bool:
        try:
            return bool(self._call(_any_below, name, _prefix(self._key(name))))
        except FileNotFoundError:  # there is no such bucket
            return False

    def children(self, folder: str) -> Iterator[ObjectEntry]:
        found = self._children(folder)
        for prefix in found["common_prefixes"]:
            yield ObjectEntry(prefix.rstrip("/").rpartition("/")[2], self.root + prefix.rstrip("/"), True)
        for meta in found["objects"]:
            if not meta["path"].endswith("/"):  # consoles make such objects to show a folder
                yield ObjectEntry(meta["path"].rpartition("/")[2], self.root + meta["path"], False)

    def _children(self, folder: str) -> Any:
        found = self._call(_obstore().list_with_delimiter, folder, _prefix(self._key(folder)))
        if not found["objects"] and not found["common_prefixes"] and self._key(folder):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), folder)
        return found

    def files_below(self, folder: str) -> Iterator[tuple[str, Stat]]:
        for meta in self._below(folder):
            if not meta["path"].endswith("/"):
                yield self.root + meta["path"], _stat(meta)

    def _below(self, folder: str) -> Iterator[Any]:
        """All objects below; where the answer breaks off, the listing goes on behind the last of it."""
        last, left, prefix = None, TRIES, _prefix(self._key(folder))
        while True:
            try:
                with object_errors(folder):
                    for metas in _obstore().list(self._store, prefix, offset=last):
                        for meta in metas:
                            last = meta["path"]
                            yield meta
                return
            except OSError as error:
                left -= 1
                if error.errno != errno.EIO or not left:
                    raise

    def opened(self, name: str) -> ObjectFile:
        return ObjectFile(name, self.stat(name), self.read_range, in_thread)

    def open_unbuffered(self, name: str) -> ObjectFile:
        return self.opened(name)

    def mapped(self, name: str) -> memoryview:
        with self.opened(name) as file:
            return memoryview(file.readall())

    def read(self, wanted: Sequence[Range]) -> list[bytes]:
        futures = [in_thread(self.read_range, each) for each in wanted]
        return [bytes(future.result()) for future in futures]

    def read_range(self, wanted: Range) -> memoryview:
        """Bytes of an object, in this thread; fewer where it ends before. Raises what `read` raises."""
        if wanted.length <= 0:
            return memoryview(b"")
        options: dict[str, Any] = {"range": (wanted.start, wanted.start + wanted.length)}
        if wanted.version:
            options["if_match"] = wanted.version
        store, key = self._store, self._key(wanted.name)
        try:
            return _tried(wanted.name, lambda: memoryview(_obstore().get(store, key, options=options).bytes()))
        except EOFError:
            return memoryview(b"")

    @contextmanager
    def whole_file(self, name: str, direct: bool = False) -> Iterator[FileIO]:
        """It is written to a temporary file of this machine, then sent: nothing of it is in the store before that."""
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
        """Large files in parts. Raises OutputError, and SourceChangedError where `mode` asks for another version."""
        options = {} if mode is None else {"mode": mode}  # with which all goes in one part
        try:
            self._call(_obstore().put, name, self._key(name), content, **options)
        except FileNotFoundError:
            if self._has_size(name, content):
                return  # the parts were joined, but the answer was lost, and the second try found none
            raise OutputError("there is no such bucket", name, "make it first, or name another") from None
        except OSError as error:
            do = "look at the bucket, your credentials and the network, and run the same command again: a build resumes"
            raise OutputError(f"cannot write: {error.strerror}", name, do) from error

    def put_new(self, name: str, content: bytes) -> bool:
        """Write an object unless there is one of this name; whether it was written. Raises OutputError, OSError."""
        try:
            self._send(name, content, "create")
        except SourceChangedError:
            return self._holds(name, content)  # it may be ours: the answer of the first try was lost, the second found it
        return True

    def replace(self, name: str, content: bytes, before: bytes) -> bool:
        """Write an object over the one that holds `before`; whether it was written. Raises OutputError, OSError."""
        try:
            head = self._call(_obstore().head, name, self._key(name))
            if not self._holds(name, before):
                return False
            self._send(name, content, {key: head[key] for key in ("e_tag", "version") if head.get(key)})
        except FileNotFoundError:
            return False
        except SourceChangedError:
            return self._holds(name, content)
        return True

    def _has_size(self, name: str, content: Path | bytes) -> bool:
        try:
            return self.stat(name).size == (content.stat().st_size if isinstance(content, Path) else len(content))
        except FileNotFoundError:
            return False

    def _holds(self, name: str, content: bytes) -> bool:
        try:
            return bytes(self.mapped(name)) == content
        except FileNotFoundError:
            return False

    def delete(self, name: str) -> None:
        with suppress(FileNotFoundError):
            self._call(_obstore().delete, name, self._key(name))

    def remove_folder(self, folder: str) -> None:
        keys = [self._key(name) for name, _ in self.files_below(folder)]
        if keys:
            with suppress(FileNotFoundError):
                self._call(_obstore().delete, folder, keys)

    def bytes_and_time(self, folder: str) -> tuple[int, float]:
        """Bytes of all objects below, and when the last was written, in s since 1970. Raises FileNotFoundError for none."""
        size, changed = 0, 0.0
        for meta in self._below(folder):
            size, changed = size + meta["size"], max(changed, meta["last_modified"].timestamp())
        if not changed:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), folder)
        return size, changed

    @contextmanager
    def local_copy_or_path(self, name: str) -> Iterator[Path]:
        with TemporaryDirectory(prefix="rt2data-") as folder:
            local = Path(folder, RemotePath(name).name)
            with self.opened(name) as file, FileIO(local, "wb") as copy:
                while part := file.read(1 << 23):
                    copy.write(part)
            yield local

    def absolute(self, name: str) -> Path:
        return RemotePath(name)


def _obstore() -> Any:
    try:
        import obstore
    except ImportError:
        raise UsageError("object stores need the package obstore", do=_EXTRA) from None
    return obstore


def _open_store(scheme: str, root: str) -> Any:
    _obstore()
    from obstore.exceptions import BaseError
    from obstore.store import from_url

    open_store: Any = from_url  # its types tell the stores apart by their options
    plain = os.environ.get(_ENDPOINTS[scheme], "").startswith("http://")
    client = {"timeout": "60s", "connect_timeout": "5s", "allow_http": plain}  # which replaces what the environment says
    try:
        return open_store(root, client_options=client, retry_config=_RETRY)
    except (BaseError, ValueError) as error:
        raise UsageError(f"cannot open the bucket: {_first_line(error)}", root, "write scheme://BUCKET/NAME") from None


def _prefix(key: str) -> str | None:
    return f"{key}/" if key else None


def _any_below(store: Any, prefix: str | None) -> bool:
    return any(metas for metas in _obstore().list(store, prefix, chunk_size=1))


def _stat(meta: Any) -> Stat:
    return Stat(meta["size"], meta["e_tag"] or str(meta["last_modified"]))


def _tried(name: str, call: Callable[[], R]) -> R:
    """Call it again where the store's answer breaks off, which obstore does not; other failures it tries again itself."""
    for left in reversed(range(TRIES)):
        try:
            with object_errors(name):
                return call()
        except OSError as error:
            if error.errno != errno.EIO or not left:
                raise
            time.sleep(_PAUSE_S * (TRIES - left))
    raise AssertionError


@contextmanager
def object_errors(name: str) -> Iterator[None]:
    """Raise the built-in errors, which name the object, for those of the store.

    SourceChangedError where it has another version, EOFError where it ends before the first byte that was asked for.
    """
    try:
        yield
    except FileNotFoundError:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name) from None
    except Exception as error:
        raise _translated(error, name) from error


def _translated(error: Exception, name: str) -> Exception:
    from obstore import exceptions

    if isinstance(error, exceptions.PreconditionError | exceptions.AlreadyExistsError):
        return SourceChangedError("a file changed since it was listed", name, "run the same command again")
    if isinstance(error, exceptions.PermissionDeniedError | exceptions.UnauthenticatedError):
        return PermissionError(errno.EACCES, f"the store refuses: {_first_line(error)}", name)
    if isinstance(error, exceptions.BaseError) and " 416 " in str(error):
        return EOFError(name)
    if isinstance(error, exceptions.BaseError) and " 404 " in str(error):
        return FileNotFoundError(errno.ENOENT, "there is no such bucket", name)
    if isinstance(error, exceptions.BaseError):
        return OSError(errno.EIO, f"the store fails: {_first_line(error)}", name)
    return error


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:200]
