"""Corpora of rows in files. Each layout defines what a row means; the handling of files, images, units and rejects is common to
all.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import xxhash
from pydantic import AfterValidator, BeforeValidator, Field

from rt2data.errors import DataError, RtError, UsageError
from rt2data.images.ready import ImageFault
from rt2data.io import location
from rt2data.io.json_stream import JsonFault
from rt2data.io.location import path_of
from rt2data.io.words import plural
from rt2data.read.corpus.draft import Draft, Embedded, RowFault
from rt2data.read.corpus.folders import is_saved, row_files, saved_split, saved_splits
from rt2data.read.corpus.pictures import Pictures, group_of
from rt2data.read.corpus.table import RawRow, Table, is_table, open_table
from rt2data.read.corpus.where import Where, require_wanted
from rt2data.read.join.files import DEPTH, NamePattern, checked_pattern, is_ignored, is_image, list_images
from rt2data.read.join.images import Conflict
from rt2data.read.join.listing import Listing, listing_at, listing_version
from rt2data.read.known_formats import Recognized, files_near
from rt2data.read.sample import InvalidSetting, nearest_path
from rt2data.read.source import Growing, Suggestion, WebSource, absent_folder, recognize
from rt2data.read.units import whole_units
from rt2data.records import Example, Fact, Reject, SourceRecord, Unit
from rt2data.settings import PathStr

_HEADER = 1 << 20  # bytes of an image file in addition to its pixels
_TOGETHER = 256  # rows whose images are prefetched together
_LOOKED_AT = 16  # maximum files of a folder whose first row is read
_WILD = re.compile(r"[*?\[]")


def as_tuple(value: Any) -> Any:
    """Turn a single path into a list of one; accept YAML lists."""
    if isinstance(value, str):
        return (value,)
    return tuple(value) if isinstance(value, list) else value


def _unlike(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) < len(names):
        raise ValueError("two columns have the same name")
    return names


Paths = Annotated[tuple[PathStr, ...], BeforeValidator(as_tuple, json_schema_input_type=PathStr | list[PathStr])]


class TableFile(NamedTuple):
    """A file of rows."""

    inside: str  # its name, or its path below the folder in the recipe; used in keys
    path: str


Drafted = tuple[str, str, Draft | RowFault]
"""Key, place for messages, and an example or its fault."""


class Corpus(WebSource, Growing):
    """Rows of text and images in JSON, JSON Lines, CSV, Parquet, Arrow or tar files."""

    reads: ClassVar[tuple[str, ...]]
    """Columns that the layout may read."""
    layout_name: ClassVar[str]
    """Name of the layout in messages."""

    data: Annotated[Paths, Field(min_length=1)]
    """Files of rows, folders of them (eight levels deep), or names with `*` in their last part."""
    rows: Annotated[str, Field(min_length=1)] | None = None
    """The name of the array of rows, for a JSON file with several arrays."""
    header: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1), AfterValidator(_unlike)] | None = None
    """Column names for CSV and TSV files whose first line does not have them: `[caption, image]`."""
    image_dirs: Paths = ()
    """Folders of the images that rows name, searched eight levels deep."""
    name: Annotated[str, Field(min_length=1, max_length=1024), AfterValidator(checked_pattern)] | None = None
    """How image files are named if rows give an id, such as COCO_train2014_{id:012d}.jpg."""
    folders: Literal["match", "ignore"] = "match"
    """Whether folders in an image's name must match the file's path, or only the base name counts."""
    image_conflict: Conflict = "refuse"
    """If an image matches several different files: reject the row, or take the file in the `first` of `image_dirs`."""
    where: Where = Field(default_factory=dict)
    """Rows to keep, by other columns: `{similarity: {min: 0.3}, status: {among: [success]}}`."""
    split: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")] = "train"
    """The split name for all rows."""

    # What a layout must provide

    @abstractmethod
    def drafts(self, values: Mapping[str, Any]) -> Iterator[Draft | RowFault]:
        """The examples of a row, or a fault in place of one. Raises RowFault if the whole row cannot be used."""

    @classmethod
    @abstractmethod
    def fits(cls, values: Mapping[str, Any]) -> bool:
        """Whether a row clearly has this layout."""

    @classmethod
    def title(cls, values: Mapping[str, Any]) -> str:
        """The name for a matching row in messages."""
        return cls.layout_name

    @classmethod
    def recognize(cls, path: Path) -> Suggestion | None:
        """Tables at a path whose first row has this layout, and the image folders near them."""
        splits = saved_splits(path)
        near = _tables_near(path / splits[0] if splits else path)
        rows = {str(file): cls.first_values(str(file)) for file in near[:_LOOKED_AT]}
        found = {file: row for file, row in rows.items() if row is not None and cls._is_like(row)}
        if not found:
            return None
        every = location.is_folder(path) and len(found) == len(rows) and (len(near) > _LOOKED_AT or is_saved(path))
        settings: dict[str, Any] = {"data": [str(path)] if every else [*found]} | ({"split": splits[0]} if splits else {})
        first, row = next(iter(found.items()))
        if not _holds_images(row) and (folder := _image_folder(path_of(first))):
            settings["image_dirs"] = [folder]
        others = (f"other splits are saved here: {', '.join(splits[1:])}",) if len(splits) > 1 else ()
        return Suggestion(settings, location.absolute(path).stem, notes=others)

    @classmethod
    def hint(cls, path: Path) -> Recognized | None:
        """A table whose first row has this layout."""
        files = [path] if location.is_file(path) else files_near(path)
        tables = [file for file in files if is_table(file.name)][:4]
        kind = cls.model_fields["kind"].default
        rows = (row for file in tables if (row := cls.first_values(str(file))) is not None)
        fitting = next((row for row in rows if cls._is_like(row)), None)
        if fitting is not None:
            what = cls.title(fitting) if location.is_file(path) else f"a folder of {cls.title(fitting)}"
            return Recognized(what, f"name it in `data` of a source of kind {kind}")
        return None

    @classmethod
    def _is_like(cls, values: Mapping[str, Any]) -> bool:
        """Whether a row has this layout; False if it is nested too deeply."""
        try:
            return cls.fits(values)
        except RecursionError:
            return False

    @classmethod
    def first_values(cls, path: str) -> Mapping[str, Any] | None:
        """The first row of a file; None if it cannot be read."""
        try:
            row = open_table(path).first()
        except (RtError, OSError, ValueError):
            return None
        return None if row is None or isinstance(row.values, JsonFault) else row.values

    def split_names(self) -> tuple[str, ...]:
        """The name in `split`."""
        return (self.split,)

    def invalid_settings(self) -> Iterator[InvalidSetting]:
        """Files and folders that do not exist, and files that are not tables."""
        for number, name in enumerate(self.data):
            place = ("data", number) if len(self.data) > 1 else ("data",)
            yield from (InvalidSetting(place, message, near) for message, near in _invalid_files(self, name))
        for number, folder in enumerate(self.image_dirs):
            yield from absent_folder(("image_dirs", number) if len(self.image_dirs) > 1 else ("image_dirs",), folder)

    def files_of(self, name: str) -> list[TableFile]:
        """The tables that a name in `data` refers to, in order."""
        return table_files(name, self.split)

    def wrong_files(self, name: str) -> Iterator[tuple[str, str]]:
        """What is wrong with a name in `data`, and a suggestion."""
        return _wrong_files(name, self.split)

    def tables(self) -> list[TableFile]:
        """All tables, in order. Raises UsageError if one is missing, there are none, or two have the same name."""
        for problem in (problem for name in self.data for problem, _ in self.wrong_files(name)):
            raise UsageError(problem, do="set `data`")
        found = [file for name in self.data for file in self.files_of(name)]
        if not found:
            raise UsageError("there are no files of rows", ", ".join(self.data), "set `data`")
        again = [path for path, count in Counter(str(location.absolute(file.path)) for file in found).items() if count > 1]
        if again:
            raise UsageError("a file of rows is named twice", again[0], "name it once in `data`, or the folder that it is in")
        twice = [name for name, count in Counter(file.inside for file in found).items() if count > 1]
        if twice:
            raise UsageError(f"two files are called {twice[0]}", ", ".join(self.data), "name the folder that both are in")
        return found

    def files(self) -> list[str]:
        """The tables, and every image that rows may refer to. Raises UsageError if something is missing."""
        images = [file.path for file in list_images(self.image_dirs, self._pattern)] if self.image_dirs else []
        return sorted({*(file.path for file in self.tables()), *images})

    def parts(self, known: Mapping[str, Sequence[Unit]]) -> list[Unit]:
        """Ranges of the tables. Raises UsageError, or DataError if one is truncated."""
        return [part for file in self.tables() for part in known.get(file.path) or self._parts_of(file)]

    def units(self) -> list[Unit]:
        """Parts joined to about 64 MB each. Raises UsageError, or DataError if a table is truncated or there are no rows."""
        parts = self.parts({})
        if not parts:
            raise DataError("there are no rows", ", ".join(self.data), "set `data`")
        return self.units_of(parts)

    def units_of(self, parts: Sequence[Unit]) -> list[Unit]:
        """Units of about 64 MB each."""
        return whole_units(parts)

    def bases(self, parts: Sequence[Unit]) -> list[Any]:
        """The names of all images, since a row may refer to any of them."""
        names = [[file.inside, file.folder] for file in list_images(self.image_dirs, self._pattern)] if self.image_dirs else []
        digest = xxhash.xxh3_128_hexdigest(repr(names).encode(errors="surrogatepass"))
        inside = {file.path: file.inside for file in self.tables()}
        return [[inside.get(part.path, part.path), digest] for part in parts]

    def share(self, folder: Path) -> None:
        """Write the index of image files."""
        if self.image_dirs:
            self._listed().write(folder)

    def read(self, unit: Unit) -> Iterator[SourceRecord]:
        """Examples in row order, a Reject for each row or image that is lost, and Facts on how images were found."""
        pictures = Pictures(self._listing(unit), self.image_conflict, 4 * self.images.max_pixels + _HEADER)
        tags = {file.path: tag_of(file.inside) for file in self.tables()}
        facts: Counter[str] = Counter()
        for part in unit.each:
            rows = self.table(part.path, unit.shared).rows(part.start, part.stop)
            for some in _together(self._drafts(rows, tags[part.path])):
                pictures.expect([draft for _, _, draft in some if isinstance(draft, Draft)])
                for key, where, draft in some:
                    yield self._example(key, where, draft, pictures, facts)
        for name, count in sorted((facts + pictures.facts).items()):
            yield Fact(name, count)

    def pieces(self, unit: Unit, size: int) -> list[Unit]:
        """The unit's parts."""
        return [replace(part, index=unit.index, shared=unit.shared) for part in unit.each]

    def describe(self) -> dict[str, Any]:
        """Files, images, and the first example."""
        tables = self.tables()
        found: dict[str, Any] = {
            "kind": type(self).model_fields["kind"].default,
            "split": self.split,
            "files": len(tables),
            "bytes": sum(location.stat(file.path).size for file in tables),
        }
        counts = [self.table(file.path).count() for file in tables]
        if all(count is not None for count in counts):
            found["rows"] = sum(count or 0 for count in counts)
        if self.image_dirs:
            found["images"] = {"found": len(list_images(self.image_dirs, self._pattern))}
        return found | {"first": self._first(tables)}

    def table(self, path: str, shared: str = "") -> Table:
        """One file of rows; `shared` is the folder that `share` wrote."""
        return open_table(path, self.asked, 64 * max(self.max_text_bytes, 32768), self.rows, self.header)

    @property
    def asked(self) -> tuple[str, ...]:
        """The columns to read."""
        return tuple(dict.fromkeys((*self.reads, *self.where)))

    # Rows

    def _drafts(self, rows: Iterator[RawRow], tag: str) -> Iterator[Drafted]:
        for row in rows:
            found, fault = self._made(row)
            for number, draft in enumerate(found):
                yield f"{tag}-{row.at}" + (f"-{number}" if len(found) > 1 else ""), row.where, draft
            if fault is not None:
                yield f"{tag}-{row.at}", row.where, fault

    def _made(self, row: RawRow) -> tuple[list[Draft | RowFault], RowFault | None]:
        """The examples of a row, and what is wrong with the whole row, if anything."""
        found: list[Draft | RowFault] = []
        if isinstance(row.values, JsonFault):
            return found, RowFault(row.values.reason, row.values.detail)
        try:
            require_wanted(row.values, self.where)
            found.extend(self.drafts(row.values))
        except RowFault as fault:
            return found, fault
        except RecursionError:
            return found, RowFault("bad_row", "a value is nested too deeply")
        return found, None

    def _example(self, key: str, where: str, draft: Draft | RowFault, pictures: Pictures, facts: Counter[str]) -> Example | Reject:
        try:
            if isinstance(draft, RowFault):
                raise draft
            images = pictures.of(draft)
            draft = draft.with_images(images)
        except RowFault as fault:
            return Reject(fault.reason, where, fault.detail, fault=not fault.wanted)
        except ImageFault as fault:
            return Reject(fault.reason, where, fault.detail)
        facts.update(draft.facts)
        group, said = group_of(draft, key), (draft.question, draft.answers)
        return Example(key, group, self.split, *said, images, draft.turns, draft.regions, draft.frame)

    # Files

    @property
    def _pattern(self) -> NamePattern | None:
        return NamePattern(self.name) if self.name else None

    def _parts_of(self, file: TableFile) -> list[Unit]:
        found = self.table(file.path).parts()
        return [Unit(i, file.path, self.split, part.start, part.stop, bytes=part.bytes) for i, part in enumerate(found)]

    def _listed(self) -> Listing:
        return Listing.of_files(list_images(self.image_dirs, self._pattern), self._pattern, self.folders == "ignore")

    def _listing(self, unit: Unit) -> Listing | None:
        if not self.image_dirs:
            return None
        if not unit.shared:
            return self._listed()
        return listing_at(unit.shared, listing_version(unit.shared), self.name is not None, self.folders == "ignore")

    def _first(self, tables: Sequence[TableFile]) -> dict[str, Any]:
        row = self.table(tables[0].path).first()
        if row is None:
            return {"problem": "there is no row"}
        found, fault = self._made(row)
        first = found[0] if found else fault
        if isinstance(first, Draft):
            return _shown(first)
        return {"problem": f"{first.reason}: {first.detail}" if first else "the row holds no example"}


def _together(drafts: Iterator[Drafted]) -> Iterator[list[Drafted]]:
    """Groups of drafts: smaller ones if images are embedded, to limit memory."""
    some: list[Drafted] = []
    for drafted in drafts:
        some.append(drafted)
        if len(some) == _TOGETHER or (isinstance(drafted[2], Draft) and drafted[2].embeds):
            yield some
            some = []
    yield some


def table_files(name: str, split: str = "") -> list[TableFile]:
    """The tables that a recipe names: a file, a folder, or a name with wild cards in its last part. In order.

    If a folder holds several splits of a saved dataset, the tables of `split`. Raises UsageError if it has no such split.
    """
    path = path_of(name)
    if _WILD.search(path.name) and not location.exists(path):
        entries = [entry for entry in location.children(path.parent) if entry.is_file()] if location.is_folder(path.parent) else []
        fitting = sorted(entry.name for entry in entries if fnmatchcase(entry.name, path.name) and not is_ignored(entry.name))
        return [TableFile(each, str(path.parent / each)) for each in fitting if is_table(each)]
    if location.is_folder(path):
        return sorted(_tables_below(path, "", DEPTH, split))
    return [TableFile(path.name, name)]


def _tables_below(folder: Path, inside: str, depth: int, split: str) -> Iterator[TableFile]:
    entries = [entry for entry in location.children(folder) if not is_ignored(entry.name)]
    files = [entry.name for entry in entries if entry.is_file()]
    if chosen := saved_split(folder, files, split):
        yield from _tables_below(chosen, f"{inside}{chosen.name}/", depth - 1, split)
        return
    yield from (TableFile(inside + name, str(folder / name)) for name in row_files(folder, files) if is_table(name))
    for entry in entries:
        if depth and entry.is_dir(follow_symlinks=False):
            yield from _tables_below(folder / entry.name, f"{inside}{entry.name}/", depth - 1, split)


def tag_of(inside: str) -> str:
    """The short tag for a file in the keys of its rows."""
    return xxhash.xxh3_64_hexdigest(inside.encode(errors="surrogatepass"))[:11]


def _invalid_files(corpus: Corpus, name: str) -> Iterator[tuple[str, str]]:
    """What is wrong with a name in `data`, or with the dataset saved there."""
    try:
        yield from corpus.wrong_files(name)
    except UsageError as error:
        yield str(error), ""


def _wrong_files(name: str, split: str) -> Iterator[tuple[str, str]]:
    """What is wrong with a name in `data`, and a suggestion."""
    path = path_of(name)
    if _WILD.search(path.name):
        if not table_files(name):
            yield f"no file is named like this: {name}", ""
    elif not location.exists(path):
        yield f"there is no such file or folder: {name}", nearest_path(path)
    elif not (location.is_file(path) or location.is_folder(path)):
        yield f"is neither a file nor a folder: {name}", ""
    elif location.is_file(path) and not is_table(path.name):
        found = recognize(path)
        yield f"is no file of rows: {name}" + (f": it is {found.what} -> {found.do}" if found else ""), ""
    elif location.is_folder(path) and not table_files(name, split):
        yield f"no file of rows is in this folder: {name}", ""


def _tables_near(path: Path) -> list[Path]:
    """The table at a path, or the tables in a folder and one level below; for several saved splits, those of the first."""
    if location.is_file(path):
        return [path] if is_table(path.name) else []
    if not location.is_folder(path):
        return []
    names: dict[Path, list[str]] = defaultdict(list)
    for file in files_near(path):
        names[file.parent].append(file.name)
    return sorted(folder / name for folder, each in names.items() for name in row_files(folder, each) if is_table(name))


def _holds_images(value: Any, depth: int = 8) -> bool:
    """Whether a row, or a value in one, has an embedded image; nesting deeper than `depth` is ignored."""
    if isinstance(value, Embedded):
        return True
    inside = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return depth > 0 and any(_holds_images(each, depth - 1) for each in inside)


def _image_folder(file: Path) -> str | None:
    """The folder of a table, or its parent, if it contains images that rows may name."""
    for folder in dict.fromkeys((file.parent, file.parent.parent)):
        with suppress(OSError, UsageError):  # the parent may not be readable
            if any(is_image(each.name) for each in files_near(folder)):
                return str(folder)
    return None


def _shown(draft: Draft) -> dict[str, Any]:
    """An example for people."""
    said = {"images": plural(len(draft.pictures), "image")}
    if draft.turns:
        return said | {"turns": [{turn.role: turn.text[:200]} for turn in draft.turns[:4]]}
    return said | {"question": draft.question[:200], "answers": list(draft.shown_answers[:4])}
