"""Requests of S3's API and of Google's XML API -> answers. As much as obstore uses; what is not known is refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import formatdate
from functools import cached_property
from typing import BinaryIO
from urllib.parse import parse_qs, unquote
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from tests.objects.buckets import Buckets, Object, RefusedError, check_read, check_write

OWN = "/-/"
"""Paths of what a test asks the server itself; no bucket has this name."""
UNKNOWN = ("if-modified-since", "if-unmodified-since", "transfer-encoding", "x-amz-copy-source-if-match", "x-amz-copy-source-range")
KEPT = re.compile(r"content-type|cache-control|content-disposition|content-encoding|content-language|x-(amz|goog)-meta-.+")
XML = '<?xml version="1.0" encoding="UTF-8"?>\n'


@dataclass
class Request:
    """One request, whole; header names in small letters."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes = b""

    @cached_property
    def path(self) -> str:
        return unquote(self.target.partition("?")[0])

    @cached_property
    def query(self) -> dict[str, str]:
        asked = self.target.partition("?")[2]
        return {name: values[0] for name, values in parse_qs(asked, keep_blank_values=True).items()} if asked else {}

    @cached_property
    def name(self) -> str:
        """BUCKET/KEY, or BUCKET."""
        return self.path[1:]

    @property
    def bucket(self) -> str:
        return self.name.partition("/")[0]

    @property
    def key(self) -> str:
        return self.name.partition("/")[2]

    @property
    def is_gcs(self) -> bool:
        """Google's clients bear a token, S3's sign."""
        return self.headers.get("authorization", "").startswith("Bearer")

    @property
    def copied_from(self) -> str:
        """BUCKET/KEY that a put copies, if it does."""
        return unquote(self.headers.get("x-amz-copy-source") or self.headers.get("x-goog-copy-source", "")).lstrip("/")

    @property
    def is_own(self) -> bool:
        """Whether a test asks the server itself."""
        return self.target.startswith(OWN)

    @cached_property
    def kind(self) -> str:
        """Which of `counters.KINDS` this is, or "unknown"."""
        match self.method, bool(self.key):
            case "GET", has_key:
                return "get" if has_key else "list"
            case "HEAD", _:
                return "head"
            case "PUT", True:
                return "part" if "partNumber" in self.query else "copy" if self.copied_from else "put"
            case "POST", True if "uploads" in self.query or "uploadId" in self.query:
                return "create" if "uploads" in self.query else "complete"
            case "POST", False if "delete" in self.query:
                return "delete"
            case "DELETE", True:
                return "abort" if "uploadId" in self.query else "delete"
        return "unknown"


@dataclass
class Answer:
    """A status, headers, and a body: bytes, or a part of an open file."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    file: BinaryIO | None = None
    length: int = 0
    """Bytes of the file from where it stands; of a HEAD, bytes that a GET would send."""
    is_cut: bool = False
    """Whether half of the body is sent, then no more."""

    @property
    def size(self) -> int:
        """Bytes of the body as the answer tells them."""
        return self.length or len(self.body)

    @property
    def to_send(self) -> int:
        """Bytes of the body that are sent."""
        whole = self.length if self.file else len(self.body)
        return whole // 2 if self.is_cut else whole


@dataclass
class Api:
    """Carries requests out."""

    buckets: Buckets
    denied: frozenset[str] = frozenset()
    """Buckets that answer 403."""
    page: int = 1000
    """Most keys in one answer of a listing."""
    part_min: int = 5 * 2**20
    """Least bytes of every part of an upload but the last."""

    def answer(self, request: Request) -> Answer:
        try:
            self._admit(request)
            return ACTS[request.kind](self, request)
        except RefusedError as refused:
            return _refusal(refused, request)

    def identity(self, request: Request) -> str:
        """What tells a request from others, and not from its next try: a read that is resumed ends where it was to end before."""
        if request.kind != "get":
            return f"{request.method} {request.target}"
        bucket = self.buckets.buckets.get(request.bucket)
        found = bucket.objects.get(request.key) if bucket else None
        last = request.headers.get("range", "").rpartition("-")[2] or (found.size - 1 if found else "")
        return f"GET {request.target} to {last}"

    def _admit(self, request: Request) -> None:
        if unknown := [name for name in UNKNOWN if name in request.headers]:
            raise RefusedError(501, "NotImplemented", f"not known here: {', '.join(unknown)}")
        if request.bucket in self.denied:
            raise RefusedError(403, "AccessDenied", f"no access to {request.bucket}")
        self.buckets.bucket(request.bucket)

    def _read(self, request: Request) -> Answer:
        if not request.key:
            return Answer(200)
        found = self.buckets.get(request.bucket, request.key)
        check_read(found, request.headers, request.query.get("generation") or request.query.get("versionId"))
        start, stop = _range(request.headers.get("range", ""), found.size)
        headers = _told(found) | found.attributes | {"Last-Modified": formatdate(found.generation // 10**6, usegmt=True)}
        if "range" in request.headers:
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{found.size}"
        answer = Answer(206 if "range" in request.headers else 200, headers, length=stop - start)
        if request.kind == "get":
            answer.file = found.open()
            answer.file.seek(start)
        return answer

    def _list(self, request: Request) -> Answer:
        asked = request.query
        if asked.get("list-type") != "2":
            raise RefusedError(501, "NotImplemented", "only listings of version 2")
        limit = min(int(asked.get("max-keys", self.page)), self.page)
        after = asked.get("continuation-token") or asked.get("start-after", "")
        page = self.buckets.bucket(request.bucket).page(asked.get("prefix", ""), asked.get("delimiter", ""), after, limit)
        objects = "".join(_contents(key, value) for key, value in page.objects)
        prefixes = "".join(f"<CommonPrefixes>{_tag('Prefix', each)}</CommonPrefixes>" for each in page.prefixes)
        more = _tag("NextContinuationToken", page.token) if page.token else ""
        return _document("ListBucketResult", f"{_tag('IsTruncated', str(bool(page.token)).lower())}{more}{objects}{prefixes}")

    def _put(self, request: Request) -> Answer:
        self._check(request)
        return Answer(200, _told(self.buckets.put(request.bucket, request.key, [request.body], _kept(request))))

    def _copy(self, request: Request) -> Answer:
        source = self._source(request)
        self._check(request)
        copied = self.buckets.put(request.bucket, request.key, [source.open().read()], source.attributes)
        return replace(_document("CopyObjectResult", _tag("ETag", copied.etag)), headers=_told(copied))

    def _create(self, request: Request) -> Answer:
        upload = self.buckets.begin(request.bucket, request.key, _kept(request))
        return _document("InitiateMultipartUploadResult", _tag("UploadId", upload))

    def _part(self, request: Request) -> Answer:
        upload = self._upload(request)
        content = self._source(request).open().read() if request.copied_from else request.body
        part = self.buckets.put_part(upload, int(request.query["partNumber"]), content)
        return replace(_document("CopyPartResult", _tag("ETag", part.etag)), headers={"ETag": part.etag})

    def _complete(self, request: Request) -> Answer:
        upload = self._upload(request)
        self._check(request)
        asked = [(int(_text(part, "PartNumber")), _text(part, "ETag")) for part in _root(request).iterfind("{*}Part")]
        made = self.buckets.complete(upload, asked, self.part_min)
        return replace(_document("CompleteMultipartUploadResult", _tag("ETag", made.etag)), headers=_told(made))

    def _abort(self, request: Request) -> Answer:
        self.buckets.abort(self._upload(request))
        return Answer(204)

    def _delete(self, request: Request) -> Answer:
        """S3 has no objection to deleting what is not there; Google has."""
        if not request.key:
            return self._delete_many(request)
        if request.is_gcs or request.key in self.buckets.bucket(request.bucket).objects:
            self._check(request)
            self.buckets.delete(request.bucket, request.key)
        return Answer(204)

    def _delete_many(self, request: Request) -> Answer:
        keys = [_text(each, "Key") for each in _root(request).iterfind("{*}Object")]
        for key in keys:
            if key in self.buckets.bucket(request.bucket).objects:
                self.buckets.delete(request.bucket, key)
        return _document("DeleteResult", "".join(f"<Deleted>{_tag('Key', key)}</Deleted>" for key in keys))

    def _check(self, request: Request) -> None:
        check_write(self.buckets.bucket(request.bucket).objects.get(request.key), request.headers)

    def _source(self, request: Request) -> Object:
        bucket, _, key = request.copied_from.partition("/")
        return self.buckets.get(bucket, key)

    def _upload(self, request: Request) -> str:
        self.buckets.upload(request.query["uploadId"], request.bucket, request.key)
        return request.query["uploadId"]

    def _unknown(self, request: Request) -> Answer:
        raise RefusedError(501, "NotImplemented", f"{request.method} {request.target}")


ACTS: dict[str, Callable[[Api, Request], Answer]] = {
    "get": Api._read,
    "head": Api._read,
    "list": Api._list,
    "put": Api._put,
    "copy": Api._copy,
    "create": Api._create,
    "part": Api._part,
    "complete": Api._complete,
    "abort": Api._abort,
    "delete": Api._delete,
    "unknown": Api._unknown,
}


def _range(asked: str, size: int) -> tuple[int, int]:
    """Start and stop of `bytes=2-5`, `bytes=2-`, `bytes=-5`; all of it for no range."""
    if not asked:
        return 0, size
    if not (found := re.fullmatch(r"bytes=(\d*)-(\d*)", asked)) or asked == "bytes=-":
        raise RefusedError(501, "NotImplemented", f"Range: {asked}")
    first, last = found.groups()
    start, stop = (int(first), min(int(last) + 1, size) if last else size) if first else (max(0, size - int(last)), size)
    if start >= stop:
        raise RefusedError(416, "InvalidRange", f"{asked} of {size} bytes")
    return start, stop


def _kept(request: Request) -> dict[str, str]:
    return {name: value for name, value in request.headers.items() if KEPT.fullmatch(name)}


def _told(stored: Object) -> dict[str, str]:
    return {"ETag": stored.etag, "x-goog-generation": str(stored.generation)}


def _contents(key: str, stored: Object) -> str:
    time = datetime.fromtimestamp(stored.generation / 1e6, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    told = _tag("Key", key) + _tag("LastModified", time) + _tag("ETag", stored.etag) + _tag("Size", str(stored.size))
    return f"<Contents>{told}</Contents>"


def _tag(name: str, text: str) -> str:
    return f"<{name}>{escape(text)}</{name}>"


def _document(name: str, inside: str) -> Answer:
    return Answer(200, {"Content-Type": "application/xml"}, f"{XML}<{name}>{inside}</{name}>".encode())


def _refusal(refused: RefusedError, request: Request) -> Answer:
    if request.method == "HEAD" or refused.status == 304:
        return Answer(refused.status)
    told = _tag("Code", refused.code) + _tag("Message", refused.message)
    return replace(_document("Error", told), status=refused.status)


def _root(request: Request) -> ET.Element:
    return ET.fromstring(request.body)


def _text(element: ET.Element, name: str) -> str:
    return element.findtext(f"{{*}}{name}", "")
