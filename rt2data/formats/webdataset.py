"""WebDataset: plain ustar, one picture and one .json for each key, time stamps 0. The bytes are those of Python's tarfile."""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Sequence
from io import FileIO
from pathlib import Path
from typing import ClassVar

from rt2data.errors import DataError
from rt2data.formats.base import Blended, BlendFormat, Dataset, Member, Reading, ShardWriter, SideWriter, one_a_line
from rt2data.formats.chunks import ChunkWriter
from rt2data.formats.energon import METADATASET, Sample, encode_notes, metadataset, write_energon
from rt2data.io.digest import Digest
from rt2data.io.tar import BLOCK, end_bytes, members, padded, tar_header


class TarWriter(ShardWriter):
    """One tar shard, laid out in memory a few megabytes at a time."""

    def __init__(self, file: FileIO) -> None:
        self._out = ChunkWriter(file)
        self._placed: list[Sample] = []

    def place(self, key: str, extension: str, image_bytes: int, record: bytes) -> memoryview:
        """Header, room for the picture, header, record."""
        self._placed.append(Sample(key, extension, image_bytes, len(record)))
        image_end = BLOCK + padded(image_bytes)
        room = self._out.room(image_end + BLOCK + padded(len(record)))
        room[:BLOCK] = tar_header(f"{key}.{extension}".encode(), image_bytes)
        room[BLOCK + image_bytes : image_end] = bytes(image_end - BLOCK - image_bytes)
        room[image_end : image_end + BLOCK] = tar_header(f"{key}.json".encode(), len(record))
        start = image_end + BLOCK
        room[start : start + len(record)] = record
        room[start + len(record) :] = bytes(len(room) - start - len(record))
        return room[BLOCK : BLOCK + image_bytes]

    def close(self) -> Digest:
        """End of archive: two empty blocks, then padding to a whole tar record."""
        end = end_bytes(self._out.size)
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
        return 2 * BLOCK + padded(image_bytes) + padded(record_bytes)

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
        pairs = members(str(path), whole)
        for name, image in pairs:
            key, _, extension = name.partition(".")
            other, record = next(pairs, ("", memoryview(b"")))
            if other != f"{key}.json" or extension not in ("jpg", "png"):
                raise DataError(f"member {name!r} is not followed by its record but by {other!r}", str(path), "build it again")
            yield Member(key, extension, image, record)


_USE = """\
record = json.loads(example["json"])                # prompt, target, input_ids, loss_mask, action, ...
picture = example.get("jpg") or example.get("png")  # encoded, as it was
"""
