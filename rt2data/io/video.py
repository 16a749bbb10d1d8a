"""Videos by name. FFmpeg opens local files itself; others are passed as open files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rt2data.io import location

_KINDS = (
    (4, b"ftyp", "mp4"),
    (4, b"moov", "mp4"),
    (4, b"mdat", "mp4"),
    (4, b"free", "mp4"),
    (4, b"wide", "mp4"),
    (0, b"\x1aE\xdf\xa3", "matroska"),
    (8, b"AVI ", "avi"),
)
"""Containers by their first bytes. FFmpeg must not guess: it also supports playlists, which refer to other files."""


class VideoError(ValueError):
    """A file that is not a video, or is truncated."""


@contextmanager
def video_file(name: location.Name) -> Iterator[Any]:
    """A video opened for reading with PyAV: an `InputContainer`. Raises VideoError, OSError."""
    from av.error import FFmpegError

    try:
        with _opened(name, _kind(location.read_head(name, 64))) as container:
            yield container
    except FFmpegError as error:
        if isinstance(error, OSError):
            raise
        raise VideoError(f"{type(error).__name__}: {str(error)[:200]}") from None


@contextmanager
def _opened(name: location.Name, kind: str) -> Iterator[Any]:
    import av

    old = int(av.__version__.partition(".")[0]) < 19  # which would otherwise refuse a title that is not UTF-8
    options: dict[str, Any] = {"format": kind} | ({"metadata_errors": "replace"} if old else {})
    if not location.is_remote(name):  # read directly, without Python
        with av.open(str(location.absolute(name)), **options) as container:
            yield container
        return
    with location.open_file(name) as file, av.open(file, **options) as container:
        yield container


def _kind(head: bytes) -> str:
    """The container format of a video. Raises VideoError if unknown."""
    kind = next((kind for at, sign, kind in _KINDS if head[at : at + len(sign)] == sign), None)
    if kind is None:
        pointer = head.startswith(b"version https://git-lfs")
        raise VideoError("a Git LFS pointer, not the video itself" if pointer else f"no video begins with {head[:12]!r}")
    return kind
