"""WebDataset: plain ustar, one picture and one .json for each key, time stamps 0. The bytes are those of Python's tarfile."""

from __future__ import annotations

import mmap
import tarfile
from collections.abc import Iterator, Sequence
from io import FileIO
from pathlib import Path
from typing import ClassVar

from rt2data.errors import DataError
from rt2data.formats.base import Blended, BlendFormat, Dataset, Member, Reading, ShardWriter, SideWriter, one_a_line
from rt2data.formats.chunks import ChunkWriter
from rt2data.formats.energon import METADATASET, Sample, encode_notes, metadataset, write_energon
from rt2data.io.digest import Digest

HEADER = tarfile.BLOCKSIZE
NAME, SIZE, CHECKSUM = slice(0, 100), slice(124, 135), slice(148, 156)


def _blank_header() -> bytes:
    info = tarfile.TarInfo("")
    info.mode, info.mtime = 0o444, 0
    header = bytearray(info.tobuf(tarfile.USTAR_FORMAT))
    header[CHECKSUM] = b" " * 8
    return bytes(header)


_BLANK = _blank_header()
_BLANK_SUM = sum(_BLANK) - sum(_BLANK[SIZE])


def tar_header(name: bytes, size: int) -> bytearray:
    """A ustar header, 512 bytes. `name` has at most 100 bytes, `size` is below 8 GiB."""
    header = bytearray(_BLANK)
    octal = b"%011o" % size
    header[: len(name)] = name
    header[SIZE] = octal
    header[CHECKSUM] = b"%06o\0 " % (_BLANK_SUM + sum(name) + sum(octal))
    return header


def padded(size: int) -> int:
    """`size` rounded up to whole tar blocks."""
    return -(-size // HEADER) * HEADER


class TarWriter(ShardWriter):
    """One tar shard, laid out in memory a few megabytes at a time."""

    def __init__(self, file: FileIO) -> None:
        self._out = ChunkWriter(file)
        self._placed: list[Sample] = []

    def place(self, key: str, extension: str, image_bytes: int, record: bytes) -> memoryview:
        """Header, room for the picture, header, record."""
        self._placed.append(Sample(key, extension, image_bytes, len(record)))
        image_end = HEADER + padded(image_bytes)
        room = self._out.room(image_end + HEADER + padded(len(record)))
        room[:HEADER] = tar_header(f"{key}.{extension}".encode(), image_bytes)
        room[HEADER + image_bytes : image_end] = bytes(image_end - HEADER - image_bytes)
        room[image_end : image_end + HEADER] = tar_header(f"{key}.json".encode(), len(record))
        start = image_end + HEADER
        room[start : start + len(record)] = record
        room[start + len(record) :] = bytes(len(room) - start - len(record))
        return room[HEADER : HEADER + image_bytes]

    def close(self) -> Digest:
        """End of archive: two empty blocks, then padding to a whole tar record."""
        end = 2 * HEADER
        end += -(self._out.size + end) % tarfile.RECORDSIZE
        self._out.room(end)[:] = bytes(end)
        return self._out.close()

    def notes(self) -> bytes:
        """Keys and sizes: where all members lie follows from them."""
        return encode_notes(self._placed)


class WebDataset(BlendFormat):
    """`shard-000000.tar`: members `KEY.jpg`, `KEY.json`, in this order."""

    extension: ClassVar[str] = "tar"
    media_type: ClassVar[str] = "application/x-tar"

    def open(self, file: FileIO, action_dim: int) -> TarWriter:
        """A writer of one tar."""
        return TarWriter(file)

    def example_bytes(self, image_bytes: int, record_bytes: int) -> int:
        """Two headers and two padded bodies."""
        return 2 * HEADER + padded(image_bytes) + padded(record_bytes)

    def sidecars(self, beside: SideWriter, dataset: Dataset) -> None:
        """What Energon wants."""
        write_energon(beside, dataset)

    def reading(self, out: Path, dataset: Dataset) -> Reading:
        """With the webdataset package."""
        last = len(dataset.shards) - 1
        names = out / f"shard-{{000000..{last:06d}}}.tar" if last else out / self.shard_name(0, 1, "")
        return Reading("import json, webdataset", f"webdataset.WebDataset({str(names)!r}, shardshuffle=False)", _USE)

    def blend(self, parts: Sequence[Blended], examples: int) -> Reading:
        """With webdataset's RandomMix, by Python's own random numbers."""
        each = one_a_line(f"{self.reading(part.out, part.dataset).call}.repeat()" for part in parts)
        mix = f"webdataset.RandomMix([{each}], {[part.weight for part in parts]})"
        return Reading("import itertools, json, webdataset", f"itertools.islice({mix}, {examples})", _USE)

    def blend_files(self, parts: Sequence[Blended]) -> dict[str, bytes]:
        """Energon's metadataset."""
        split = parts[0].dataset.split
        return {METADATASET: metadataset(split, [(part.weight, str(part.out)) for part in parts])}

    def read(self, path: Path) -> Iterator[Member]:
        """Examples by pairs of members; the picture comes first. Pads, checksums and the end mark are checked."""
        with path.open("rb") as file:
            if not path.stat().st_size:
                raise DataError("an empty shard", str(path), "build it again")
            whole = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        members = _members(path, whole)
        for name, image in members:
            key, _, extension = name.partition(".")
            other, record = next(members, ("", memoryview(b"")))
            if other != f"{key}.json" or extension not in ("jpg", "png"):
                raise DataError(f"member {name!r} is not followed by its record but by {other!r}", str(path), "build it again")
            yield Member(key, extension, image, record)


_USE = """\
record = json.loads(example["json"])                # prompt, target, input_ids, loss_mask, action, ...
picture = example.get("jpg") or example.get("png")  # encoded, as it was
"""


def _members(path: Path, whole: memoryview) -> Iterator[tuple[str, memoryview]]:
    at = 0
    while at + HEADER <= len(whole):
        header = whole[at : at + HEADER]
        if _is_blank(header):
            _check_end(path, whole, at)
            return
        name, size = _parse_header(path, header, at)
        start, at = at + HEADER, at + HEADER + padded(size)
        if at > len(whole):
            raise DataError(f"cut inside {name}", f"{path} byte {len(whole)}", "build it again")
        if not _is_blank(whole[start + size : at]):
            raise DataError(f"bytes between {name} and its next member", f"{path} byte {start + size}", "build it again")
        yield name, whole[start : start + size]
    raise DataError("no end-of-archive mark: the shard is cut", f"{path} byte {len(whole)}", "build it again")


def _is_blank(part: memoryview) -> bool:
    return bytes(part).count(0) == len(part)


def _check_end(path: Path, whole: memoryview, at: int) -> None:
    end = at + 2 * HEADER
    if len(whole) != end + -end % tarfile.RECORDSIZE or not _is_blank(whole[at:]):
        raise DataError("bytes behind the end-of-archive mark, or a cut end", f"{path} byte {at}", "build it again")


def _parse_header(path: Path, header: memoryview, at: int) -> tuple[str, int]:
    """Name and size, if the header is exactly the one we would write: so no flipped bit goes unnoticed."""
    raw = bytes(header)
    try:
        name, size = raw[NAME].rstrip(b"\0"), int(raw[SIZE], 8)
        if size < 0 or raw != bytes(tar_header(name, size)):
            raise ValueError
        return name.decode("ascii"), size
    except ValueError:
        raise DataError("a damaged member header", f"{path} byte {at}", "build it again") from None
