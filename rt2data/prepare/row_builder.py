"""Building the rows of a source: words, actions, windows, and images (pointed to, or converted)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from io import FileIO
from typing import Any, NamedTuple

import msgspec
import numpy as np
import xxhash

from rt2data.errors import InternalError
from rt2data.images.frame import clipped, moved
from rt2data.images.ready import ImageFault, ImageHeader, ImageRule, Ready, make_ready, only_point
from rt2data.io import location
from rt2data.io.location.whole import write_all
from rt2data.order import key64
from rt2data.prepare.row_table import BOXES, POINTS, ROWS, ImageEntry, region_columns
from rt2data.prepare.staged import file_id
from rt2data.prepare.store import Lost, count_lost
from rt2data.read.annotations.settings import NOTES, POOL
from rt2data.read.source import RobotSource, Source
from rt2data.records import F32, Content, Fact, Image, Region, Reject, Row, SourceRecord
from rt2data.standardize import standardize
from rt2data.standardize.conversation import has_area, tidy
from rt2data.standardize.end_marks import DROPPED
from rt2data.standardize.windows import Runs, action_chunks, history

KEY = re.compile(r"[A-Za-z0-9_-]{1,48}")
"""So source name (`records.key_name`), key, epoch and suffix fit into tar's 100-byte names."""
SPLIT = re.compile(r"[A-Za-z0-9_-]{1,64}")

ABSENT, CUT = "images.absent.", "windows.cut_at_gaps"
"""Facts: rows without a camera of the recipe, by camera name; rows whose chunk or history ends at a gap."""


REGIONS_CLIPPED = "regions.clipped"
"""Fact: boxes partly outside the converted image."""


class Made(NamedTuple):
    """The images of a row that a mixture uses, as row entries, with the headers of the original images."""

    images: tuple[Image, ...]
    entries: list[ImageEntry]
    sources: list[ImageHeader]


@dataclass
class Kept:
    """A kept row with its images: those a mixture uses, by camera, and the others."""

    row: Row
    taken: list[ImageEntry]
    others: list[ImageEntry]


@dataclass
class RowBuilder:
    """The rows of one unit under construction, as columns."""

    name: str  # of the source
    source: Source
    blob_name: str
    blob: FileIO | None  # file for images that must be converted
    columns: dict[str, list[Any]] = field(init=False)
    rejects: list[Reject] = field(default_factory=list)
    conversions: Counter[str] = field(default_factory=Counter)
    facts: Counter[str] = field(default_factory=Counter)
    cameras: set[str] = field(default_factory=set)
    files_used: set[str] = field(default_factory=set)  # absolute paths
    blob_bytes: int = 0
    blob_digest: xxhash.xxh3_128 = field(default_factory=xxhash.xxh3_128)
    ids: dict[str, int] = field(default_factory=dict)  # file ids, by path as the source gives it
    last: Made | None = None  # reused, as questions about one image are consecutive
    episode: list[Kept] = field(default_factory=list)  # rows whose windows are still open

    def __post_init__(self) -> None:
        more = _joined_columns(self.source) if isinstance(self.source, RobotSource) else ("regions",)
        self.columns = {name: [] for name in (*ROWS.names, *more)}

    @property
    def made_columns(self) -> dict[str, list[Any]]:
        """The columns of the store; regions only if there are any."""
        return {name: values for name, values in self.columns.items() if name != "regions" or any(values)}

    def take(self, records: Iterable[SourceRecord]) -> None:
        """Build the rows of some records; the last episode is taken to be complete."""
        source, decode = self.source, _decodes(self.source)
        for found in standardize(source, records):
            if isinstance(found, Reject):
                self.rejects.append(found)
            elif isinstance(found, Fact):
                self.facts[found.name] += found.count
            elif KEY.fullmatch(found.key) and SPLIT.fullmatch(found.split):
                self._row(found, source.images, decode)
            else:
                raise InternalError(f"source {self.name} has a row of key {found.key!r} in split {found.split!r}")
        self._close_episode()
        if "pool" in self.columns:
            self._number_rows()

    def _number_rows(self) -> None:
        """Number each new row among those with the same episode and pool, and store how many there are."""
        at, count = self.columns["pool_at"], self.columns["pool_of"]
        choices = self.columns["pool"][len(at) :]
        seen: Counter[tuple[str, ...] | None] = Counter()
        for choice in choices:
            at.append(seen[choice])
            seen[choice] += 1
        count += [seen[choice] for choice in choices]

    def _row(self, row: Row, rule: ImageRule, decode: bool) -> None:
        try:
            taken, others = self._images(row, rule, decode)
        except ImageFault as fault:
            self.rejects.append(Reject(fault.reason, f"row {row.key}{_image_place(row)}", fault.detail))
            self.facts[DROPPED] += row.terminate
            return
        if row.regions:
            regions = self._regions(row, rule)
            if regions is None:
                return
            row = replace(row, regions=regions)
        if self.windowed is None:
            self._write(row, [*taken, *others])
            return
        if self.episode and self.episode[0].row.group != row.group:
            self._close_episode()
        self.episode.append(Kept(row, taken, others))

    def _regions(self, row: Row, rule: ImageRule) -> tuple[Region, ...] | None:
        """A row's regions in its converted images; None, with a reject, if one lies outside."""
        assert self.last is not None
        found = list[Region]()
        for region in row.regions:
            image, source = self.last.images[region.image], self.last.sources[region.image]
            there = moved(region.coords, row.frame, source, rule.of(image.camera).turned(image.turn))
            inside = clipped(there)
            if inside is None or (region.is_box and not has_area(inside)):
                where, what = f"row {row.key}{_image_place(row)}", "a box" if region.is_box else "a point"
                self.rejects.append(Reject("region_cropped", where, f"{what} that the crop of its image leaves out", fault=False))
                return None
            self.facts[REGIONS_CLIPPED] += inside != there
            found.append(tidy(replace(region, coords=inside)))
        for region in found:
            self.facts[BOXES if region.is_box else POINTS] += 1
        return tuple(found)

    @cached_property
    def windowed(self) -> RobotSource | None:
        """The source, if its rows include data of other steps: rows are then written episode by episode."""
        source = self.source
        return source if isinstance(source, RobotSource) and source.windowed else None

    def _close_episode(self) -> None:
        """Write the rows of an episode with their windows."""
        if self.windowed is not None and self.episode:
            self._write_windows(self.episode, self.windowed)
        self.episode = []

    def _write_windows(self, kept: list[Kept], source: RobotSource) -> None:
        rows = [each.row for each in kept]
        runs = Runs.of([row.step for row in rows], source.gaps == "join")
        earlier = [(offset, history(runs, offset).tolist()) for offset in source.offsets[1:]]
        chunks = action_chunks(_actions(rows), np.array([row.terminate for row in rows]), runs, source.horizon)
        self.facts[CUT] += runs.cut(source.horizon, min(source.offsets))
        for at, each in enumerate(kept):
            past = [entry._replace(at=offset) for offset, places in earlier if places[at] >= 0 for entry in kept[places[at]].taken]
            entries = [*each.taken, *past, *each.others]
            if source.horizon > 1:
                self._write(each.row, entries, chunks.actions[at].ravel(), int(chunks.real[at]), int(chunks.ends[at]))
            else:
                self._write(each.row, entries)

    def _write(
        self, row: Row, entries: list[ImageEntry], chunk: Any = None, real: int | None = None, ends: int | None = None
    ) -> None:
        """Append one row to the columns, in the order of `store.ROWS`."""
        groups = self.columns["group"]
        if "pool" in self.columns and groups and groups[-1] != row.group:
            self._number_rows()
        values = (
            row.key,
            key64("row", row.key),
            row.group,
            row.split,
            row.step,
            row.steps,
            row.text,
            row.answers,
            row.pick,
            [turn._asdict() for turn in row.turns] or None,
            row.action,
            chunk,
            real,
            ends,
            row.state,
            row.terminate,
            int(row.marks),
            row.timestamp,
            entries,
            _digest(row, entries),
        )
        for column, value in zip(self.columns.values(), values, strict=False):
            column.append(value)
        if "notes" in self.columns:
            self.columns["notes"].append([msgspec.structs.asdict(note) for note in row.notes] or None)
        if "pool" in self.columns:
            self.columns["pool"].append(row.pool or None)
        if "regions" in self.columns:
            self.columns["regions"].append([region_columns(region) for region in row.regions] or None)

    def _images(self, row: Row, rule: ImageRule, decode: bool) -> tuple[list[ImageEntry], list[ImageEntry]]:
        """The images a mixture uses, converted as needed; then the others, if they are encoded in a file. Raises ImageFault."""
        chosen, others = choose_images(row, self.source)
        if isinstance(self.source, RobotSource) and self.source.named_cameras:
            self._count_absent(self.source, chosen)
        if self.last is None or not _same(self.last.images, chosen):
            made = [self._chosen(image, rule, decode) for image in chosen]
            self.last = Made(chosen, [entry for entry, _ in made], [source for _, source in made])
        pointed = [self._pointed(other, decode) for other in others if other.place]
        return self.last.entries, pointed

    def _count_absent(self, source: RobotSource, chosen: Sequence[Image]) -> None:
        """Count the cameras that the recipe names but the row lacks. With `all`, `gather` knows which exist."""
        there = {image.camera for image in chosen}
        for name in wanted_cameras(source, ()):
            self.facts[f"{ABSENT}{name}"] += name not in there

    def _chosen(self, image: Image, rule: ImageRule, decode: bool) -> tuple[ImageEntry, ImageHeader]:
        content = image.content()
        ready = make_ready(content, rule.of(image.camera).turned(image.turn), decode)
        return self._entry(image, content, ready, chosen=True), ready.source

    def _pointed(self, image: Image, decode: bool) -> ImageEntry:
        content = image.content()
        return self._entry(image, content, only_point(content, decode), chosen=False)

    def _entry(self, image: Image, given: Content, ready: Ready, chosen: bool) -> ImageEntry:
        """The row entry of one image; if it had to be converted, it is appended to the blob."""
        self.cameras.add(image.camera)
        if ready.conversion:
            self.conversions[ready.conversion] += 1
        content: Any = given if ready.data is None else ready.data
        if ready.data is None and image.place is not None:
            file, offset = self._file(image.place.path), image.place.offset
        else:
            file, offset = self._blob_id, self._append(bytes(content))
        header, digest = ready.header, xxhash.xxh3_64_intdigest(content)
        size = len(content), header.width, header.height
        return ImageEntry(image.camera, 0, chosen, file, offset, *size, header.format, digest)

    @cached_property
    def _blob_id(self) -> int:
        return file_id(self.blob_name)

    def _file(self, path: str) -> int:
        """Id of a source file, by its path as the source gives it."""
        if path not in self.ids:
            whole = str(location.absolute(path))
            self.files_used.add(whole)
            self.ids[path] = file_id(whole)
        return self.ids[path]

    def _append(self, content: bytes) -> int:
        offset = self.blob_bytes
        assert self.blob is not None
        write_all(self.blob, content)
        self.blob_digest.update(content)
        self.blob_bytes += len(content)
        return offset

    def lost(self) -> tuple[Lost, ...]:
        """What was dropped, by reason."""
        return count_lost(self.rejects)

    def found_facts(self) -> dict[str, int]:
        """What was counted, by name, without zeros."""
        return {name: count for name, count in sorted(self.facts.items()) if count}

    def dims(self, column: str) -> tuple[int, ...]:
        """All distinct lengths of the vectors in a column."""
        return tuple(sorted({0 if value is None else len(value) for value in self.columns[column]}))


def _joined_columns(source: RobotSource) -> list[str]:
    """The columns for what is joined to a source."""
    columns = {NOTES: ("notes",), POOL: ("pool", "pool_at", "pool_of")}
    return [name for setting, names in columns.items() if setting in source.joined for name in names]


def _decodes(source: Source) -> bool:
    """Whether images are decoded as a check: by default web images are, as they come from anywhere."""
    check = source.images.check
    return check == "decode" or (check == "auto" and not source.has_actions)


def choose_images(row: Row, source: Source) -> tuple[tuple[Image, ...], tuple[Image, ...]]:
    """The images of a row that a mixture uses, in order, and the others. Raises ImageFault if a robot row has none of them."""
    if not isinstance(source, RobotSource):
        return row.images, ()
    if len(row.images) == 1 and source.camera is None and source.named_cameras is None:
        return row.images, ()
    by_name = {image.camera: image for image in sorted(row.images, key=lambda image: image.camera)}
    if source.named_cameras == ():
        return (), tuple(by_name.values())
    if not by_name:
        raise ImageFault("no_image")
    wanted = wanted_cameras(source, tuple(by_name))
    chosen = [by_name[name] for name in wanted if name in by_name]
    if not chosen:
        raise ImageFault("missing_camera", f"{', '.join(wanted)} is not among {', '.join(by_name)}")
    return tuple(chosen), tuple(image for name, image in by_name.items() if name not in wanted)


def wanted_cameras(source: RobotSource, cameras: Sequence[str]) -> tuple[str, ...]:
    """The cameras a mixture uses, of those in the sorted `cameras`: as the recipe names them, else the first."""
    if source.named_cameras == "all":
        return tuple(cameras)
    if source.named_cameras is not None:
        return source.named_cameras
    return (source.camera,) if source.camera is not None else tuple(cameras[:1])


def _same(some: Sequence[Image], others: Sequence[Image]) -> bool:
    return len(some) == len(others) and all(one is other for one, other in zip(some, others, strict=True))


def _image_place(row: Row) -> str:
    place = row.images[0].place if row.images else None
    return f" in {place.path} byte {place.offset}" if place else ""


def _actions(rows: Sequence[Row]) -> F32:
    """f32[n, D]; episodes with different sizes were refused earlier."""
    return np.stack([np.empty(0, np.float32) if row.action is None else row.action for row in rows])


def _digest(row: Row, entries: Sequence[ImageEntry]) -> int:
    """Hash of everything a mixture takes from the row itself, independent of where the source is.

    `gather` adds `terminate`. The chunk is not included: it follows from the rows of its episode.
    """
    taken = [
        row.key,
        row.group,
        row.split,
        row.step,
        row.steps,
        row.timestamp,
        row.text,
        row.answers,
        row.pick,
        row.turns,
        None if row.action is None else row.action.tobytes(),
        None if row.state is None else row.state.tobytes(),
        [(entry.camera, entry.at, entry.format, entry.xxh3) for entry in entries if entry.chosen],
    ]
    regions = [(region.image, region.coords, region.label) for region in row.regions]
    taken += [each for each in (row.notes, row.pool, regions) if each]  # lists of objects, texts, lists: never encoded alike
    return xxhash.xxh3_64_intdigest(msgspec.msgpack.encode(taken))
