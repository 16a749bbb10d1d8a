"""Names of files: a local path, `file:///...`, or a URI such as gs://bucket/name or https://host/name.

A name is text or a `Path`. `Path` collapses the slashes of `gs://`, so one slash is enough for a scheme here; a `RemotePath` prints
both.
"""

from __future__ import annotations

import re
from pathlib import Path, PosixPath
from urllib.parse import unquote, urlsplit

from rt2data.errors import UsageError

Name = str | Path
OBJECT_STORES = ("gs", "s3", "az")
"""Schemes of object stores: gs://BUCKET/NAME, s3://BUCKET/NAME, az://CONTAINER/NAME."""
READ_ONLY = ("https", "http", "hf")
"""Read-only schemes: https://HOST/NAME, http:// on this machine only, and files of a repository on a hub."""
REMOTE = OBJECT_STORES + READ_ONLY

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):(/.*)?", re.DOTALL)
"""At least two letters, so that `C:/x` has no scheme."""
_REPOSITORY = re.compile(
    r"(?P<place>(?:(?P<kind>datasets|models|spaces)/)?"
    r"(?P<id>(?!(?:datasets|models|spaces|buckets|kernels)/)[\w.-]+/[\w.-]+)"
    r"(?:@(?P<revision>refs/(?:convert/[\w.-]+|pr/\d+)|[^/@]+))?)"
    r"(?:/(?P<key>.*))?",
    re.DOTALL,
)
"""[datasets/|models/|spaces/]OWNER/NAME[@REVISION][/NAME], as in `huggingface_hub`; without a kind it is a model."""
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class RemotePath(PosixPath):
    """The name of a remote file, with path operations: `/`, `parent`, `name`. It never touches a file system."""

    __slots__ = ()

    def __str__(self) -> str:
        scheme, colon, rest = super().__str__().partition(":/")
        return f"{scheme}://{rest}" if colon and not rest.startswith("/") else f"{scheme}{colon}{rest}"

    def __fspath__(self) -> str:
        return str(self)


def path_of(name: Name) -> Path:
    """The path of a name, for functions that take names from users; a file URI becomes a plain path.

    Raises UsageError for an unsupported scheme, such as hdfs://, and for a URI that does not name a file.
    """
    text = str(name)
    if ":" not in text:  # this is called for each of many images
        return Path(name)
    found = _SCHEME.fullmatch(text)
    if found is None:
        return Path(name)
    scheme, rest = found[1].lower(), found[2] or ""
    if scheme in REMOTE:
        _CHECKS.get(scheme, _nothing)(scheme, rest.lstrip("/"))
        return RemotePath(f"{scheme}:/{rest.lstrip('/')}")
    if scheme != "file":
        raise refused(scheme, rest.lstrip("/"))
    return _local(rest)


def _local(rest: str) -> Path:
    host, slash, path = rest[2:].partition("/") if rest.startswith("//") else ("", rest[:1], rest[1:])
    if host not in ("", "localhost") or not slash:
        raise UsageError("a file URI names an absolute local path", f"file:{rest}", "write file:///folder/name, or the path itself")
    return Path("/" + unquote(path.lstrip("/")))


def writable(path: Path) -> Path:
    """The same path, if the location is writable. Raises UsageError."""
    found = parted(str(path))
    if found is not None and found[0] in READ_ONLY:
        raise read_only(str(path))
    return path


def read_only(name: str) -> UsageError:
    """The error for a file in a read-only location."""
    return UsageError(f"{name.partition(':')[0]}:// is read only", name, f"write to a local path or {_listed(OBJECT_STORES)}")


def is_remote(name: Name) -> bool:
    """Whether this names a file outside the local file system."""
    return isinstance(name, RemotePath) or parted(str(name)) is not None


def parted(text: str) -> tuple[str, str, str] | None:
    """Scheme, bucket (or host, or repository with revision) and key of a remote name. None for any other name."""
    scheme, colon, rest = text.partition(":/")
    if not colon or scheme.lower() not in REMOTE:
        return None
    rest = rest.lstrip("/")
    if scheme.lower() == "hf":
        found = _REPOSITORY.fullmatch(rest)
        return found and ("hf", found["place"], found["key"] or "")
    place, _, key = rest.partition("/")
    return scheme.lower(), place, key


def is_bucket(name: Name) -> bool:
    """Whether this names a whole bucket: gs://BUCKET."""
    found = parted(str(name))
    return found is not None and not found[2].strip("/")


def refuse_bucket(output: Name) -> None:
    """Raises UsageError if an output is a whole bucket: outputs need their own name, and have files next to them."""
    if is_bucket(output):
        root = str(output).rstrip("/")
        raise UsageError("an output needs a name below the bucket", str(output), f"write {root}/NAME")


def repository(place: str) -> tuple[str, str, str]:
    """Kind (dataset, model or space), OWNER/NAME and revision of a hub file's place, as returned by `parted`."""
    found = _REPOSITORY.fullmatch(place)
    assert found is not None
    return (found["kind"] or "models").removesuffix("s"), found["id"], unquote(found["revision"] or "main")


# URIs that do not name a file, or contain a secret


def _nothing(scheme: str, rest: str) -> None:
    pass


def _check_url(scheme: str, rest: str) -> None:
    """Refuse URIs that may contain a secret, since names are stored in recipes, stores and manifests; the error does not repeat
    it.
    """
    plain = re.sub(r"^[^/]*@", "", re.split(r"[?#]", rest)[0])
    shown = f"{scheme}://{plain}"
    if plain != rest.partition("#")[0]:
        do = "name a file that needs neither a signature nor a password, or download it"
        raise UsageError("a URL may hold no `?`, and no user before an `@`: it would be kept in stores and manifests", shown, do)
    if plain != rest or re.search(r"//|/\.{1,2}(/|$)", plain):
        raise UsageError("a URL may hold no `#`, no empty part, and no `.` or `..` as a part", shown, "write it plainly")
    if scheme == "http" and urlsplit(shown).hostname not in _LOOPBACK:
        raise UsageError("http:// reads from this machine only: nothing protects it on the way", shown, "write https://")


def _check_repository(scheme: str, rest: str) -> None:
    if not _REPOSITORY.fullmatch(rest):
        do = "write hf://datasets/OWNER/NAME[@REVISION]/PATH, or hf://OWNER/NAME[@REVISION]/PATH for a model"
        raise UsageError("this names no repository of datasets, models or spaces", f"{scheme}://{rest}", do)


_CHECKS = {"https": _check_url, "http": _check_url, "hf": _check_repository}

_ADVICE = {
    "abfs": "write az://CONTAINER/NAME, and name the account in AZURE_STORAGE_ACCOUNT_NAME",
    "abfss": "write az://CONTAINER/NAME, and name the account in AZURE_STORAGE_ACCOUNT_NAME",
    "hdfs": "copy it with `hdfs dfs -get`, or mount it, and give a local path",
}


def refused(scheme: str, rest: str) -> UsageError:
    """The error for `scheme://rest`."""
    do = _ADVICE.get(scheme, "copy or mount it, and give a local path")
    return UsageError(f"{scheme}:// is not supported: only local files, {_listed(REMOTE)}", f"{scheme}://{rest}", do)


def _listed(schemes: tuple[str, ...]) -> str:
    return ", ".join(f"{each}://" for each in schemes)
