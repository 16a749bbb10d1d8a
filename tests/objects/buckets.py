"""Buckets: objects by key in memory or as files, versions, conditions, listings, uploads in parts. No HTTP here."""

from __future__ import annotations

import hashlib
import shutil
import time
import zlib
from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from os import utime
from pathlib import Path
from typing import BinaryIO

LAST = "\U0010ffff"
"""Behind every character of a key."""
UPLOADS = ".uploads"


@dataclass
class RefusedError(Exception):
    """A request that is not carried out: its HTTP status, and the code and message of the stores' error documents."""

    status: int
    code: str
    message: str = ""


@dataclass(frozen=True)
class Object:
    """One version of an object."""

    content: bytes | Path
    size: int
    etag: str
    """Quoted; the same for the same content, as S3 makes it of one put."""
    generation: int
    """Microseconds since 1970 of the write; larger for every next write."""
    attributes: dict[str, str] = field(default_factory=dict)
    """Headers that came with it and go out with it."""

    def open(self) -> BinaryIO:
        """The content; a file that is open stays the same when the object is replaced."""
        return BytesIO(self.content) if isinstance(self.content, bytes) else self.content.open("rb", buffering=0)


@dataclass
class Upload:
    """An object that comes in parts."""

    bucket: str
    key: str
    attributes: dict[str, str]
    parts: dict[int, Object] = field(default_factory=dict)


class Memory:
    """Keeps contents in memory."""

    def save(self, name: str, parts: Iterable[bytes], generation: int) -> bytes:
        return b"".join(parts)

    def remove(self, name: str) -> None:
        """Nothing to do: the last reference goes."""

    def found(self) -> Iterator[tuple[str, Path]]:
        return iter(())


@dataclass
class Folder:
    """Keeps contents as ROOT/BUCKET/KEY; a file's modification time is its generation. A key cannot be a folder of another key."""

    root: Path

    def __post_init__(self) -> None:
        shutil.rmtree(self.root / UPLOADS, ignore_errors=True)

    def save(self, name: str, parts: Iterable[bytes], generation: int) -> Path:
        path, temporary = self._path(name), self._path(f"{UPLOADS}/{hashlib.sha256(name.encode()).hexdigest()}.new")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                file.writelines(parts)
            utime(temporary, ns=(generation * 1000, generation * 1000))
            temporary.replace(path)
        except (FileExistsError, IsADirectoryError, NotADirectoryError) as error:
            raise RefusedError(501, "NotImplemented", f"{name}: as files, no key can be a folder of another key") from error
        return path

    def remove(self, name: str) -> None:
        path = self._path(name)
        path.unlink()
        while (path := path.parent).parent != self.root and not any(path.iterdir()):
            path.rmdir()

    def found(self) -> Iterator[tuple[str, Path]]:
        """BUCKET/KEY of each file that is there."""
        for path in self.root.rglob("*"):
            if path.is_file():
                yield path.relative_to(self.root).as_posix(), path

    def _path(self, name: str) -> Path:
        if any(part in ("", ".", "..") for part in name.split("/")):
            raise RefusedError(501, "NotImplemented", f"{name}: as files, keys have no empty parts, no . and no ..")
        return self.root / name


@dataclass(frozen=True)
class Listing:
    """One page of a listing, and where the next one begins."""

    objects: list[tuple[str, Object]]
    prefixes: list[str]
    token: str | None


@dataclass
class Bucket:
    """Objects by key, and the keys in order of their code points, which is the order of their UTF-8 bytes."""

    objects: dict[str, Object] = field(default_factory=dict)
    keys: list[str] = field(default_factory=list)

    def set(self, key: str, value: Object) -> None:
        if key not in self.objects:
            insort(self.keys, key)
        self.objects[key] = value

    def drop(self, key: str) -> None:
        del self.objects[key]
        del self.keys[bisect_left(self.keys, key)]

    def page(self, prefix: str, delimiter: str, after: str, limit: int) -> Listing:
        """Keys with a prefix behind `after`; those with a delimiter behind the prefix are rolled up to it."""
        listing = Listing([], [], None)
        at = max(bisect_left(self.keys, prefix), bisect_right(self.keys, after))
        last = after
        while at < len(self.keys) and self.keys[at].startswith(prefix):
            if len(listing.objects) + len(listing.prefixes) == limit:
                return Listing(listing.objects, listing.prefixes, last)
            last, at = self._add(listing, at, prefix, delimiter)
        return listing

    def _add(self, listing: Listing, at: int, prefix: str, delimiter: str) -> tuple[str, int]:
        key = self.keys[at]
        cut = key.find(delimiter, len(prefix)) if delimiter else -1
        if cut < 0:
            listing.objects.append((key, self.objects[key]))
            return key, at + 1
        rolled = key[: cut + len(delimiter)]
        listing.prefixes.append(rolled)
        return rolled + LAST, bisect_right(self.keys, rolled + LAST)


@dataclass
class Buckets:
    """All buckets. Calls do not wait, so each is atomic in a server of one thread."""

    place: Memory | Folder
    buckets: dict[str, Bucket] = field(default_factory=dict)
    uploads: dict[str, Upload] = field(default_factory=dict)
    begun: Counter[str] = field(default_factory=Counter)
    last: int = 0

    def load(self) -> None:
        """Take what is in the folder already."""
        for name, path in self.place.found():
            bucket, _, key = name.partition("/")
            stored = _object(path, [path.read_bytes()], path.stat().st_mtime_ns // 1000, {})
            self.buckets.setdefault(bucket, Bucket()).set(key, stored)
            self.last = max(self.last, stored.generation)

    def bucket(self, name: str) -> Bucket:
        if name not in self.buckets:
            raise RefusedError(404, "NoSuchBucket", f"no bucket {name}")
        return self.buckets[name]

    def get(self, bucket: str, key: str) -> Object:
        if found := self.bucket(bucket).objects.get(key):
            return found
        raise RefusedError(404, "NoSuchKey", f"no object {bucket}/{key}")

    def put(self, bucket: str, key: str, parts: list[bytes], attributes: dict[str, str]) -> Object:
        """Write an object, whole."""
        into, generation = self.bucket(bucket), self._generation()
        stored = _object(self.place.save(f"{bucket}/{key}", parts, generation), parts, generation, attributes)
        into.set(key, stored)
        return stored

    def delete(self, bucket: str, key: str) -> None:
        self.get(bucket, key)
        self.place.remove(f"{bucket}/{key}")
        self.bucket(bucket).drop(key)

    def begin(self, bucket: str, key: str, attributes: dict[str, str]) -> str:
        """The id of a new upload: the same for the n-th upload of a key, whatever else is going on."""
        self.bucket(bucket)
        self.begun[f"{bucket}/{key}"] += 1
        upload = hashlib.blake2b(f"{bucket}/{key} {self.begun[f'{bucket}/{key}']}".encode(), digest_size=12).hexdigest()
        self.uploads[upload] = Upload(bucket, key, attributes)
        return upload

    def upload(self, upload: str, bucket: str, key: str) -> Upload:
        found = self.uploads.get(upload)
        if found is None or (found.bucket, found.key) != (bucket, key):
            raise RefusedError(404, "NoSuchUpload", f"no upload {upload} of {bucket}/{key}: completed, aborted or never begun")
        return found

    def put_part(self, upload: str, number: int, content: bytes) -> Object:
        saved = self.place.save(f"{UPLOADS}/{upload}/{number}", [content], self._generation())
        part = self.uploads[upload].parts[number] = _object(saved, [content], self.last, {})
        return part

    def complete(self, upload: str, asked: list[tuple[int, str]], least: int) -> Object:
        """Make the object of its parts, (number, etag) in rising order; all but the last have at least `least` bytes."""
        parts = [_asked_part(self.uploads[upload], number, etag) for number, etag in asked]
        if not parts or sorted({number for number, _ in asked}) != [number for number, _ in asked]:
            raise RefusedError(400, "InvalidPartOrder", "parts must be there and rise")
        if any(part.size < least for part in parts[:-1]):
            raise RefusedError(400, "EntityTooSmall", f"every part but the last needs {least} bytes")
        begun = self.uploads[upload]
        stored = self.put(begun.bucket, begun.key, [part.open().read() for part in parts], begun.attributes)
        self.abort(upload)
        return stored

    def abort(self, upload: str) -> None:
        for number in self.uploads.pop(upload).parts:
            self.place.remove(f"{UPLOADS}/{upload}/{number}")

    def _generation(self) -> int:
        self.last = max(self.last + 1, time.time_ns() // 1000)
        return self.last


def _asked_part(upload: Upload, number: int, etag: str) -> Object:
    part = upload.parts.get(number)
    if part is None or part.etag.strip('"') != etag.strip('"'):
        raise RefusedError(400, "InvalidPart", f"no part {number} with ETag {etag}")
    return part


def _object(content: bytes | Path, parts: list[bytes], generation: int, attributes: dict[str, str]) -> Object:
    size, crc = sum(map(len, parts)), 0
    for part in parts:
        crc = zlib.crc32(part, crc)
    return Object(content, size, f'"{crc:08x}-{size:x}"', generation, attributes)


def check_write(now: Object | None, headers: dict[str, str]) -> None:
    """Whether the conditions of a write hold for what is there now."""
    generation = headers.get("x-goog-if-generation-match")
    if generation is not None and int(generation) != (now.generation if now else 0):
        raise RefusedError(412, "PreconditionFailed", "x-goog-if-generation-match")
    if now and "if-none-match" in headers and _names(headers["if-none-match"], now):
        raise RefusedError(412, "PreconditionFailed", "If-None-Match")
    if "if-match" in headers:
        if now is None:
            raise RefusedError(404, "NoSuchKey", "If-Match without an object")
        if not _names(headers["if-match"], now):
            raise RefusedError(412, "PreconditionFailed", "If-Match")


def check_read(now: Object, headers: dict[str, str], version: str | None) -> None:
    """Whether the conditions of a read hold."""
    if version is not None and version != str(now.generation):
        raise RefusedError(404, "NoSuchVersion", f"generation {version} is not there any more")
    if "if-none-match" in headers and _names(headers["if-none-match"], now):
        raise RefusedError(304, "NotModified")
    check_write(now, {name: value for name, value in headers.items() if name != "if-none-match"})


def _names(condition: str, now: Object) -> bool:
    return any(tag.strip() in ("*", now.etag, now.etag.strip('"')) for tag in condition.split(","))
