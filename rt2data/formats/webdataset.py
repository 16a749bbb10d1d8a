"""WebDataset: plain ustar, images and one .json per key, timestamps 0. The bytes match those of Python's tarfile."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from io import FileIO
from pathlib import Path
from typing import ClassVar

from rt2data.errors import DataError
from rt2data.formats.base import (
    Blended,
    BlendFormat,
    Dataset,
    ImageSize,
    Member,
    MemberImage,
    Reading,
    ShardWriter,
    SideWriter,
    Sizes,
    image_name,
    one_a_line,
    slot_and_extension,
)
from rt2data.formats.chunks import ChunkWriter
from rt2data.formats.energon import METADATASET, Notes, encode_notes, metadataset, write_energon
from rt2data.io import location
from rt2data.io.digest import Digest
from rt2data.io.tar import BLOCK, end_bytes, members, padded, tar_header
from rt2data.render.fields import ExampleRecord
from rt2data.render.record import encode_record


class TarWriter(ShardWriter):
    """One tar shard, built in memory a few megabytes at a time."""

    def __init__(self, file: FileIO, sizes: Sizes) -> None:
        self._out, self._single = ChunkWriter(file), sizes.images is None
        self._notes = Notes()

    def encode(self, records: Iterable[ExampleRecord]) -> list[bytes]:
        """Records as JSON."""
        return [*map(encode_record, records)]

    def add(self, key: str, images: Sequence[ImageSize], record: bytes) -> list[memoryview]:
        """Header and memory for each image, then header and record."""
        parts = [(image_name(slot, extension, self._single), size) for slot, extension, size in images]
        parts.append(("json", len(record)))
        self._notes.add(key, parts)
        taken = [padded(size) for _, size in parts]
        block, start, bodies = self._out.room(BLOCK * len(parts) + sum(taken)), 0, []
        for (name, size), room in zip(parts, taken, strict=True):
            body = start + BLOCK
            end, stop = body + size, body + room
            block[start:body] = tar_header(f"{key}.{name}".encode(), size)
            block[end:stop] = bytes(room - size)
            bodies.append(block[body:end])
            start = stop
        bodies.pop()[:] = record
        return bodies

    def close(self) -> Digest:
        """Write the end of the archive: two empty blocks, then padding to a whole tar record."""
        end = end_bytes(self._out.size)
        self._out.room(end)[:] = bytes(end)
        return self._out.close()

    def notes(self) -> bytes:
        """Keys and sizes, from which the offsets of all members follow."""
        return encode_notes(self._notes)


class WebDataset(BlendFormat):
    """`shard-000000.tar`: members `KEY.jpg`, `KEY.json`, in this order.

    Unless every example has exactly one image, they are `KEY.image_0.jpg`, `KEY.image_1.jpg`, ..., as far as present.
    """

    extension: ClassVar[str] = "tar"
    media_type: ClassVar[str] = "application/x-tar"

    def open(self, file: FileIO, sizes: Sizes) -> TarWriter:
        """A writer of one tar."""
        return TarWriter(file, sizes)

    def example_bytes(self, images: Sequence[int], record_bytes: int) -> int:
        """A header and a padded body per member."""
        return sum(BLOCK + padded(size) for size in (*images, record_bytes))

    def sidecars(self, beside: SideWriter, dataset: Dataset) -> None:
        """Energon's files."""
        write_energon(beside, dataset)

    def reading(self, out: Path, dataset: Dataset) -> Reading:
        """With the webdataset package."""
        last = len(dataset.shards) - 1
        names = out / f"shard-{{000000..{last:06d}}}.tar" if last else out / self.shard_name(0, 1, "")
        return Reading("import json, webdataset", f"webdataset.WebDataset({str(names)!r}, shardshuffle=False)", _use(dataset))

    def blend(self, parts: Sequence[Blended], examples: int) -> Reading:
        """With webdataset's RandomMix, using Python's own random numbers."""
        each = one_a_line(f"{self.reading(part.out, part.dataset).call}.repeat()" for part in parts)
        mix = f"webdataset.RandomMix([{each}], {[part.weight for part in parts]})"
        return Reading("import itertools, json, webdataset", f"itertools.islice({mix}, {examples})", _use(parts[0].dataset))

    def blend_files(self, parts: Sequence[Blended]) -> dict[str, bytes]:
        """Energon's metadataset."""
        split = parts[0].dataset.split
        return {METADATASET: metadataset(split, [(part.weight, str(part.out)) for part in parts])}

    def read(self, path: Path) -> Iterator[Member]:
        """Examples from their members, the record last. Checks padding, checksums and the end mark."""
        whole = location.mapped(path)
        if not whole:
            raise DataError("an empty shard", str(path), "build it again")
        images = list[MemberImage]()
        last = ""
        for name, body in members(str(path), whole):
            key, _, rest = name.partition(".")
            if images and key != last:
                raise DataError(f"images of {last!r} are not followed by their record but by {name!r}", str(path), "build it again")
            last = key
            if rest == "json":
                yield Member(key, tuple(images), body)
                images = []
            else:
                images.append(_image(path, name, body))
        if images:
            raise DataError(f"images of {last!r} without their record", str(path), "build it again")


def _image(path: Path, name: str, body: memoryview) -> MemberImage:
    try:
        return MemberImage(*slot_and_extension(name), body)
    except ValueError:
        raise DataError(f"member {name!r} is neither an image nor a record", str(path), "build it again") from None


_USE = """\
record = json.loads(example["json"])              # prompt, target, input_ids, loss_mask, actions, ...
image = example.get("jpg") or example.get("png")  # encoded, as it was
"""
_USE_SLOTS = """\
record = json.loads(example["json"])  # prompt, target, input_ids, loss_mask, actions, image_names, image_mask, ...
images = {name: part for name, part in example.items() if name.startswith("image_")}  # encoded: image_0.jpg, image_1.jpg, ...
"""


def _use(dataset: Dataset) -> str:
    return _USE if dataset.sizes.images is None else _USE_SLOTS
