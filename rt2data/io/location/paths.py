"""Names of files: a local path, `file:///...`, or a URI such as gs://bucket/name.

A name is text or a `Path`. `Path` leaves one slash of `gs://`, so one slash is enough for a scheme here; a `RemotePath` shows both.
"""

from __future__ import annotations

import re
from pathlib import Path, PosixPath
from urllib.parse import unquote

from rt2data.errors import UsageError

Name = str | Path
OBJECT_STORES = ("gs", "s3", "az")
"""Schemes of object stores: gs://BUCKET/NAME, s3://BUCKET/NAME, az://CONTAINER/NAME."""

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):(/.*)?", re.DOTALL)
"""At least two letters, so that `C:/x` has none."""


class RemotePath(PosixPath):
    """The name of an object, with the arithmetic of paths: `/`, `parent`, `name`. Nothing of it touches a file system."""

    __slots__ = ()

    def __str__(self) -> str:
        scheme, colon, rest = super().__str__().partition(":/")
        return f"{scheme}://{rest}" if colon and not rest.startswith("/") else f"{scheme}{colon}{rest}"

    def __fspath__(self) -> str:
        return str(self)


def path_of(name: Name) -> Path:
    """The path of a name, for functions that take names from outside: that of a file URI is the plain path.

    Raises UsageError for a scheme of which no files are read: hdfs:// or any other.
    """
    text = str(name)
    if ":" not in text:  # this is called for each of many images
        return Path(name)
    found = _SCHEME.fullmatch(text)
    if found is None:
        return Path(name)
    scheme, rest = found[1].lower(), found[2] or ""
    if scheme in OBJECT_STORES:
        return RemotePath(f"{scheme}:/{rest.lstrip('/')}")
    if scheme != "file":
        raise refused(scheme, rest.lstrip("/"))
    return _local(rest)


def _local(rest: str) -> Path:
    host, slash, path = rest[2:].partition("/") if rest.startswith("//") else ("", rest[:1], rest[1:])
    if host not in ("", "localhost") or not slash:
        raise UsageError("a file URI names an absolute local path", f"file:{rest}", "write file:///folder/name, or the path itself")
    return Path("/" + unquote(path.lstrip("/")))


def is_remote(name: Name) -> bool:
    """Whether this names an object in an object store."""
    return isinstance(name, RemotePath) or parted(str(name)) is not None


def parted(text: str) -> tuple[str, str, str] | None:
    """Scheme, bucket and key of the name of an object; None for a local path."""
    scheme, colon, rest = text.partition(":/")
    if not colon or scheme.lower() not in OBJECT_STORES:
        return None
    bucket, _, key = rest.lstrip("/").partition("/")
    return scheme.lower(), bucket, key


_ADVICE = {
    "hf": "download it with `hf download`, and give a local path",
    "http": "download it, and give a local path",
    "https": "download it, and give a local path",
    "abfs": "write az://CONTAINER/NAME, and name the account in AZURE_STORAGE_ACCOUNT_NAME",
    "abfss": "write az://CONTAINER/NAME, and name the account in AZURE_STORAGE_ACCOUNT_NAME",
    "hdfs": "copy it with `hdfs dfs -get`, or mount it, and give a local path",
}


def refused(scheme: str, rest: str) -> UsageError:
    """The error for `scheme://rest`."""
    do = _ADVICE.get(scheme, "copy or mount it, and give a local path")
    known = ", ".join(f"{each}://" for each in OBJECT_STORES)
    return UsageError(f"{scheme}:// is not supported: only local files, {known}", f"{scheme}://{rest}", do)
