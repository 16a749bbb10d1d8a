"""Corpora of rows in files: a layout says what a row means; files, images, units and rejects are the same for all of them."""

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

_HEADER = 1 << 20  # bytes of an image file besides its pixels
_TOGETHER = 256  # rows whose images are fetched ahead together
_LOOKED_AT = 16  # files of a folder whose first row is looked at
_WILD = re.compile(r"[*?\[]")


def as_tuple(value: Any) -> Any:
    """A single path is a list of one; YAML's lists are lists."""
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

    inside: str  # its name, or its path below the folder that the recipe names: what keys are made of
    path: str


Drafted = tuple[str, str, Draft | RowFault]
"""Key, place for messages, and an example or why there is none."""


class Corpus(WebSource, Growing):
    """Rows of text and images in JSON, JSON Lines, CSV, Parquet, Arrow or tar files."""

    reads: ClassVar[tuple[str, ...]]
    """The columns that the layout may read."""
    layout_name: ClassVar[str]
    """What the layout is called in messages."""

    data: Annotated[Paths, Field(min_length=1)]
    """Files of rows, folders of them (eight levels deep), or names with `*` in their last part."""
    rows: Annotated[str, Field(min_length=1)] | None = None
    """The array of rows in a JSON file that has several."""
    header: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1), AfterValidator(_unlike)] | None = None
    """Names of the columns of CSV and TSV files that do not name them in their first line: `[caption, image]`."""
    image_dirs: Paths = ()
    """Folders of the images that rows name, searched eight levels deep."""
    name: Annotated[str, Field(min_length=1, max_length=1024), AfterValidator(checked_pattern)] | None = None
    """How image files are named where rows give an id, such as COCO_train2014_{id:012d}.jpg."""
    folders: Literal["match", "ignore"] = "match"
    """Whether the folders in the name of an image must be those of the file, or only the file's own name counts."""
    image_conflict: Conflict = "refuse"
    """Where an image can be several files that differ: reject the row, or take the `first` of `image_dirs`."""
    where: Where = Field(default_factory=dict)
    """Rows to keep, by other columns: `{similarity: {min: 0.3}, status: {among: [success]}}`."""
    split: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")] = "train"
    """The name given to all rows' split."""

    # What a layout says

    @abstractmethod
    def drafts(self, values: Mapping[str, Any]) -> Iterator[Draft | RowFault]:
        """The examples of a row, and why one of several cannot be used. Raises RowFault where the whole row cannot be used."""

    @classmethod
    @abstractmethod
    def fits(cls, values: Mapping[str, Any]) -> bool:
        """Whether a row plainly has this layout."""

    @classmethod
    def title(cls, values: Mapping[str, Any]) -> str:
        """What a row that fits is called in messages."""
        return cls.layout_name

    @classmethod
    def recognize(cls, path: Path) -> Suggestion | None:
        """Tables at a path whose first row has this layout, and the image folders beside them."""
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
        """Whether a row has this layout; one that is nested too deeply to be looked at has none."""
        try:
            return cls.fits(values)
        except RecursionError:
            return False

    @classmethod
    def first_values(cls, path: str) -> Mapping[str, Any] | None:
        """The first row of a file; None where it cannot be read."""
        try:
            row = open_table(path).first()
        except (RtError, OSError, ValueError):
            return None
        return None if row is None or isinstance(row.values, JsonFault) else row.values

    def split_names(self) -> tuple[str, ...]:
        """The one in `split`."""
        return (self.split,)

    def invalid_settings(self) -> Iterator[InvalidSetting]:
        """Files and folders that are not there, and files that are no tables."""
        for number, name in enumerate(self.data):
            place = ("data", number) if len(self.data) > 1 else ("data",)
            yield from (InvalidSetting(place, message, near) for message, near in _invalid_files(self, name))
        for number, folder in enumerate(self.image_dirs):
            yield from absent_folder(("image_dirs", number) if len(self.image_dirs) > 1 else ("image_dirs",), folder)

    def files_of(self, name: str) -> list[TableFile]:
        """The tables that a name in `data` stands for, in order."""
        return table_files(name, self.split)

    def wrong_files(self, name: str) -> Iterator[tuple[str, str]]:
        """What is wrong with a name in `data`, and what is near it."""
        return _wrong_files(name, self.split)

    def tables(self) -> list[TableFile]:
        """All files of rows, in order. Raises UsageError where one is missing, there are none, or two have the same name."""
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
        """The tables, and every image that may be meant. Raises UsageError where something is missing."""
        images = [file.path for file in list_images(self.image_dirs, self._pattern)] if self.image_dirs else []
        return sorted({*(file.path for file in self.tables()), *images})

    def parts(self, known: Mapping[str, Sequence[Unit]]) -> list[Unit]:
        """Ranges of the tables. Raises UsageError, DataError where one is cut."""
        return [part for file in self.tables() for part in known.get(file.path) or self._parts_of(file)]

    def units(self) -> list[Unit]:
        """Parts put together, about 64 MB in each. Raises UsageError, DataError where a table is cut or there are no rows."""
        parts = self.parts({})
        if not parts:
            raise DataError("there are no rows", ", ".join(self.data), "set `data`")
        return self.units_of(parts)

    def units_of(self, parts: Sequence[Unit]) -> list[Unit]:
        """About 64 MB in each."""
        return whole_units(parts)

    def bases(self, parts: Sequence[Unit]) -> list[Any]:
        """The names of all images: any of them can be what a row means."""
        names = [[file.inside, file.folder] for file in list_images(self.image_dirs, self._pattern)] if self.image_dirs else []
        digest = xxhash.xxh3_128_hexdigest(repr(names).encode(errors="surrogatepass"))
        inside = {file.path: file.inside for file in self.tables()}
        return [[inside.get(part.path, part.path), digest] for part in parts]

    def share(self, folder: Path) -> None:
        """Write the index of image files."""
        if self.image_dirs:
            self._listed().write(folder)

    def read(self, unit: Unit) -> Iterator[SourceRecord]:
        """Examples in the order of the rows, a Reject for each row or image that is lost, and how images were found."""
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
        """Its parts."""
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
        """The columns that are looked at."""
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
        """The examples of a row, and what is wrong with the rest of it."""
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
    """Some at a time: fewer where they hold their images, so that memory does not grow with these."""
    some: list[Drafted] = []
    for drafted in drafts:
        some.append(drafted)
        if len(some) == _TOGETHER or (isinstance(drafted[2], Draft) and drafted[2].embeds):
            yield some
            some = []
    yield some


def table_files(name: str, split: str = "") -> list[TableFile]:
    """The tables that a recipe names: a file, a folder, or a name with wild cards in its last part. In order.

    Where a folder holds several splits of a saved dataset, those of `split`. Raises UsageError where it has no such split.
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
    """What stands for a file in the keys of its rows."""
    return xxhash.xxh3_64_hexdigest(inside.encode(errors="surrogatepass"))[:11]


def _invalid_files(corpus: Corpus, name: str) -> Iterator[tuple[str, str]]:
    """What is wrong with a name in `data`, and with the dataset that is saved there."""
    try:
        yield from corpus.wrong_files(name)
    except UsageError as error:
        yield str(error), ""


def _wrong_files(name: str, split: str) -> Iterator[tuple[str, str]]:
    """What is wrong with a name in `data`, and what is near it."""
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
    """The table at a path, or those of a folder and one level below; of several saved splits those of the first."""
    if location.is_file(path):
        return [path] if is_table(path.name) else []
    if not location.is_folder(path):
        return []
    names: dict[Path, list[str]] = defaultdict(list)
    for file in files_near(path):
        names[file.parent].append(file.name)
    return sorted(folder / name for folder, each in names.items() for name in row_files(folder, each) if is_table(name))


def _holds_images(value: Any, depth: int = 8) -> bool:
    """Whether a row, or a value of one, holds an image itself; what is nested deeper than `depth` is not looked at."""
    if isinstance(value, Embedded):
        return True
    inside = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return depth > 0 and any(_holds_images(each, depth - 1) for each in inside)


def _image_folder(file: Path) -> str | None:
    """The folder of a table, or the one above it, where images are near that rows can name."""
    for folder in dict.fromkeys((file.parent, file.parent.parent)):
        with suppress(OSError, UsageError):  # the folder above may be another's
            if any(is_image(each.name) for each in files_near(folder)):
                return str(folder)
    return None


def _shown(draft: Draft) -> dict[str, Any]:
    """An example for people."""
    said = {"images": plural(len(draft.pictures), "image")}
    if draft.turns:
        return said | {"turns": [{turn.role: turn.text[:200]} for turn in draft.turns[:4]]}
    return said | {"question": draft.question[:200], "answers": list(draft.shown_answers[:4])}
