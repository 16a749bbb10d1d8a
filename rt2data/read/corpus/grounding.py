"""Boxes and points in images: COCO's instances, referring expressions, pointing, and any table with lists of boxes.

`grounding_layouts.LAYOUTS` lists the columns of known layouts; the setting `columns` gives them for any other corpus.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field

from rt2data.errors import RtError
from rt2data.io import location
from rt2data.io.digest import sized_hash
from rt2data.io.location import path_of
from rt2data.read.corpus.boxes import (
    REGION,
    Boxed,
    BoxStyle,
    Captioned,
    Choice,
    Order,
    PointStyle,
    Spot,
    is_numbers,
    numbers,
    parsed,
)
from rt2data.read.corpus.coco import write_indexes
from rt2data.read.corpus.coco_boxes import CocoBoxes, is_coco_boxes
from rt2data.read.corpus.draft import Draft, RowFault, words
from rt2data.read.corpus.entities import ENTITIES, Entities, box_files, boxes_beside, entity_files
from rt2data.read.corpus.facts import CROWDS
from rt2data.read.corpus.grounding_layouts import COLUMNS, Ask, Columns, Layout, layout_of, values_of
from rt2data.read.corpus.source import Corpus, TableFile
from rt2data.read.corpus.table import Table
from rt2data.read.corpus.vqa_layouts import Row, fields_of, filled, images_of, value_at
from rt2data.read.join.images import ImageKey
from rt2data.read.sample import InvalidSetting
from rt2data.read.source import Suggestion
from rt2data.records import AnswerRule, Frame, Unit

_PROMPTS = {
    "image": "Detect all objects.",
    "detect": "Detect {label}.",
    "refer": "Where is {label}?",
    "point": "Point to {label}.",
    "describe": f"Describe {REGION}.",
    "count": "How many {label} are there?",
    "caption": "Describe the image, and where everything is.",
}
_COUNTED = "{regions} Total: {count}"
_UNMARKED = frozenset("<>")  # used in the special tokens of models, and in placeholders


def _answers(text: str) -> str:
    if fields_of(text).count("regions") != 1 or {*fields_of(text)} - {"regions", "count", "label"}:
        raise ValueError("must have {regions} once; other fields are {count} and {label}")
    return text


def _asks(text: str) -> str:
    if {*fields_of(text)} - {"label"}:
        raise ValueError("may have {label}, and no other field")
    return text


class Grounding(Corpus):
    """Images with boxes or points: examples ask what is there, or where something is."""

    looks_for: ClassVar[str] = "COCO instances; rows with boxes or points in JSON, CSV, Parquet, Arrow or tar files"
    layout_name: ClassVar[str] = "boxes or points"
    reads: ClassVar[tuple[str, ...]] = COLUMNS

    kind: Literal["grounding"] = "grounding"
    ask: Ask | None = None
    """`detect`: all boxes with their categories; `refer`: where something is; `describe`: what is in a box or at a point; `count`:
    where something is, and how many there are; `caption`: what an image shows, with boxes of its phrases, as in Flickr30k Entities.
    By default `refer` if a row has phrases for its boxes, else `detect`."""
    per: Literal["image", "category"] = "image"
    """Whether `detect` asks once for all boxes of an image, or once for each category that it shows."""
    prompt: Annotated[str, Field(min_length=1, max_length=4096), AfterValidator(_asks)] | None = None
    """The question: `{label}` is the category or phrase; with `describe`, `<region>` is the box or point."""
    answer: Annotated[str, Field(max_length=4096), AfterValidator(_answers)] | None = None
    """The answer to a question for regions: `{regions}`, `{count}`, `{label}`. By default only the regions; with `count`, their
    number."""
    absent: Annotated[str, Field(min_length=1, max_length=4096)] | None = None
    """The answer if there are no regions; by default such rows are dropped."""
    columns: Columns = Columns()
    """The columns of boxes, points, labels and images, in corpora without a known layout."""
    box: BoxStyle | None = None
    """How boxes are written: corner and size (`xywh`) or two corners (`xyxy`); in pixels, from 0 to 1 (`xywh_norm`, `xyxy_norm`) or
    from 0 to 1000 (`xyxy_1000`). Not needed for COCO and Visual Genome."""
    point: PointStyle | None = None
    """How points are written: `pixels`, `norm` (0 to 1), `percent` or `per_1000`. Not needed for PixMo."""
    frame: Frame = "stored"
    """Whether boxes refer to the image as stored in the file, or upright as viewers show it. These differ only if EXIF says so."""
    categories: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)] | None = None
    """Names of the categories, if labels are numbers from 0."""
    crowds: Literal["drop", "keep"] = "drop"
    """Boxes that mark a crowd (`iscrowd`): leave out and count, or keep."""
    min_side: Annotated[float, Field(ge=0)] = 1.0
    """Boxes with a shorter side, in pixels of the file, are left out and counted."""
    max_regions: Annotated[int, Field(ge=1, le=10_000)] = 100
    """If there are more boxes, `detect` keeps the largest and counts this; other questions with more regions are dropped."""
    order: Order = "left_to_right"
    """The order of several regions."""
    answers: AnswerRule = "sample"
    """If `describe` has several phrases: `sample` draws one by key and epoch, `all` makes one row for each."""

    # What rows are

    @classmethod
    def fits(cls, values: Mapping[str, Any]) -> bool:
        """Whether a row has the columns of a layout, and boxes or points in them."""
        layout = layout_of(values)
        if layout is None:
            return False
        first = _items(values, layout)[:1]
        return any(
            _has(values_of({**values, **each}, layout.boxes or layout.points)) for each in first if isinstance(each, Mapping)
        )

    @classmethod
    def title(cls, values: Mapping[str, Any]) -> str:
        """The name of the layout."""
        layout = layout_of(values)
        return cls.layout_name if layout is None else layout.name

    @classmethod
    def recognize(cls, path: Path) -> Suggestion | None:
        """As for every corpus, with a note to check how boxes are written."""
        if files := entity_files(str(path)):
            return Suggestion({"data": [str(path)], "image_dirs": [str(path)]}, path.name, {"images": len(files)})
        found = super().recognize(path)
        row = None if found is None else cls.first_values(found.settings["data"][0])
        layout = None if row is None else layout_of(row)
        if found is None or layout is None or layout.box or not layout.boxes:
            return found
        note = "check how boxes are written: `box: xywh` is corner and size, `xyxy` two corners, both in pixels"
        return found._replace(settings={**found.settings, "box": "xywh"}, notes=(*found.notes, note))

    @classmethod
    def first_values(cls, path: str) -> Mapping[str, Any] | None:
        """The first image of COCO's instances, or the first row."""
        try:
            first = CocoBoxes(path).first() if is_coco_boxes(path) else None
        except (RtError, OSError, ValueError):
            return None
        return first.values if first is not None and isinstance(first.values, Mapping) else super().first_values(path)

    def files_of(self, name: str) -> list[TableFile]:
        """The tables of a name; Flickr30k Entities are a folder of small files."""
        found = [TableFile(f"Sentences/{path_of(path).name}", path) for path in entity_files(name)]
        return found or super().files_of(name)

    def wrong_files(self, name: str) -> Iterator[tuple[str, str]]:
        """As for every corpus."""
        return iter(()) if entity_files(name) else super().wrong_files(name)

    def files(self) -> list[str]:
        """As for every corpus, plus box files next to caption files."""
        return sorted({*super().files(), *(path for name in self.data for path in box_files(name))})

    def bases(self, parts: Sequence[Unit]) -> list[Any]:
        """As for every corpus, plus the content of box files next to caption files."""
        beside = (boxes_beside(part.path) if part.path.endswith(".txt") else "" for part in parts)
        held = ([list(sized_hash(path))] if path and location.is_file(path) else [] for path in beside)
        return [[*base, *more] for base, more in zip(super().bases(parts), held, strict=True)]

    def table(self, path: str, shared: str = "") -> Table:
        """The table of a file. COCO's instances are joined by image, unless `rows` names an array to read as is."""
        if path.endswith(".txt"):
            return Entities(path)
        if self.rows is None and is_coco_boxes(path):
            return CocoBoxes(path, self.asked, 64 * max(self.max_text_bytes, 32768), shared=shared)
        return super().table(path)

    def share(self, folder: Path) -> None:
        """Write the index of image files, and of COCO's boxes."""
        super().share(folder)
        write_indexes([self.table(file.path) for file in self.tables()], folder)

    @property
    def asked(self) -> tuple[str, ...]:
        """The columns of all layouts, and those named in the recipe."""
        heads = (name.partition(".")[0] for name in super().asked)
        return tuple(dict.fromkeys((*super().asked, *heads, *self.columns.names)))

    def drafts(self, values: Mapping[str, Any]) -> Iterator[Draft | RowFault]:
        """The examples of a row. Raises RowFault: unknown_layout, bad_box, bad_point, no_labels, among others."""
        layout = self._layout(values)
        for item in _items(values, layout):
            try:
                yield from self._of_row(layout, {**values, **_mapping(item)})
            except RowFault as fault:
                if not layout.items:
                    raise
                yield fault

    def _layout(self, values: Row) -> Layout:
        """The layout of the row, with the recipe's overrides. Raises RowFault if there is none, or it needs a missing setting."""
        found = self.columns.of(layout_of(values))
        if found is None:
            has = ", ".join(map(str, list(values)[:8]))
            raise RowFault("unknown_layout", f"a row with {has}: say in `columns` where `boxes` or `points` are")
        if problem := self._problem(found):
            raise RowFault("unclear_layout", f"{found.name}: {problem[1]}")
        return found

    def _of_row(self, layout: Layout, values: Row) -> Iterator[Draft | RowFault]:
        spots, crowds = self._spots(layout, values) if ENTITIES not in values else ([], 0)
        _require_count(layout, values, len(spots))
        draft = Boxed(
            pictures=images_of(self._images(layout, values)),
            size=_size(value_at(values, layout.width), value_at(values, layout.height)),
            choice=Choice(self.min_side, self.max_regions, self._ask(layout) == "detect", self.order),
            frame=self.frame,
            absent=self.absent,
            facts=(CROWDS,) * crowds,
        )
        if not draft.pictures:
            raise RowFault("no_image")
        if ENTITIES in values:
            yield from self._of_captions(draft, layout, values[ENTITIES])
            return
        things = self._things(layout, values, spots)
        if not things:
            raise RowFault("no_regions", f"{crowds} for a crowd" if crowds else "nothing is marked", wanted=True)
        for number, (said, found) in enumerate(things):
            yield self._draft(draft if number == 0 else replace(draft, facts=()), layout, said, found)

    def _things(self, layout: Layout, values: Row, spots: Sequence[Spot]) -> list[tuple[Sequence[str], Sequence[Spot]]]:
        """Texts paired with their regions: the phrases with all regions, each category with its own, or no text with all."""
        ask = self._ask(layout)
        if ask == "detect" and self.per == "image":
            return [([""], spots)]
        if layout.phrases:
            said = self._phrases(value_at(values, layout.phrases))
            return [(said, spots)] if ask == "describe" else [([phrase], _labelled(spots, phrase)) for phrase in said]
        if ask == "describe":
            return [([spot.label], [spot]) for spot in spots]
        labels = dict.fromkeys(spot.label for spot in spots)
        return [([label], [spot for spot in spots if spot.label == label]) for label in labels]

    def _draft(self, draft: Boxed, layout: Layout, said: Sequence[str], spots: Sequence[Spot]) -> Draft:
        ask, label = self._ask(layout), said[0]
        question = words(filled(self._prompt(layout), {"label": label}), self.max_text_bytes)
        if ask == "describe":
            return replace(draft, question=question, answers=tuple(said), absent=None, spots=tuple(_labelled(spots, "")))
        answer = self.answer or (_COUNTED if ask == "count" else "{regions}")
        return replace(draft, question=question, answer=answer, label=label, spots=tuple(spots))

    def _of_captions(self, draft: Boxed, layout: Layout, captions: Sequence[Sequence[Mapping[str, Any]]]) -> Iterator[Draft]:
        """A draft for each caption with its boxes, or for each phrase."""
        said = [[(_plain(each["text"]), _boxes_of(each)) for each in caption] for caption in captions]
        if self._ask(layout) == "caption":
            about: dict[str, Any] = {"pictures": draft.pictures, "choice": draft.choice, "frame": draft.frame, "size": draft.size}
            yield from (Captioned(self._prompt(layout), pieces=tuple(pieces), **about) for pieces in said)
            return
        phrases = {text: spots for pieces in said for text, spots in pieces if spots}
        if not phrases:
            raise RowFault("no_regions", "nothing is marked", wanted=True)
        yield from (self._draft(draft, layout, [text], spots) for text, spots in phrases.items())

    # Parts of a row

    def _spots(self, layout: Layout, values: Row) -> tuple[list[Spot], int]:
        """Boxes and points with their labels, and how many crowds were left out."""
        boxes = [Spot(numbers(each, 4), self.box or layout.box or "") for each in _listed(layout.boxes, values, "bad_box")]
        points = [Spot(numbers(each, 2), self.point or layout.point or "") for each in _listed(layout.points, values, "bad_point")]
        labels = self._labels(value_at(values, layout.labels), len(boxes) + len(points)) if layout.labels else None
        found = (
            [*boxes, *points]
            if labels is None
            else [spot._replace(label=label) for spot, label in zip([*boxes, *points], labels, strict=True)]
        )
        crowds = value_at(values, layout.crowds) if layout.crowds and self.crowds == "drop" else None
        if not isinstance(crowds, list | tuple) or not any(crowds):
            return found, 0
        kept = [spot for spot, crowd in zip(found, crowds, strict=False) if not crowd] + found[len(crowds) :]
        return kept, len(found) - len(kept)

    def _labels(self, value: Any, count: int) -> list[str]:
        """One label for each box or point. Raises RowFault: no_labels, unnamed_category, bad_label."""
        each = list(value) if isinstance(value, list | tuple) else [value] * count
        if len(each) != count:
            raise RowFault("no_labels", f"{len(each)} labels for {count} boxes and points")
        return [self._label(one) for one in each]

    def _label(self, value: Any) -> str:
        if type(value) is int:
            if self.categories is None or not 0 <= value < len(self.categories):
                raise RowFault("unnamed_category", f"{value}: set `categories` to the names of 0, 1, ...")
            value = self.categories[value]
        if value is None:
            raise RowFault("no_labels", "a box without a label")
        return _said(value, self.max_text_bytes)

    def _phrases(self, value: Any) -> list[str]:
        """The distinct phrases for the boxes of a row."""
        each = value if isinstance(value, list | tuple) else [value]
        texts = [_text(one) for one in each]
        found = list(dict.fromkeys(said for one in texts if one is not None and (said := _said(one, self.max_text_bytes))))
        if not found:
            raise RowFault("no_phrase", "nothing is said of the boxes")
        return found

    def _images(self, layout: Layout, values: Row) -> Sequence[Any]:
        """The image names in a row. An image with only a URL may exist as a file named by its hash."""
        found, sha = layout.image(values), values.get("image_sha256")
        remote = any(isinstance(each, str) and each.startswith(("http://", "https://")) for each in found)
        return [ImageKey(-1, f"{sha}.jpg")] if remote and self.image_dirs and isinstance(sha, str) and sha.isalnum() else found

    # Settings

    def _ask(self, layout: Layout) -> Ask:
        return self.ask or layout.ask

    def _prompt(self, layout: Layout) -> str:
        ask = self._ask(layout)
        points = ask == "refer" and not layout.boxes
        return self.prompt or _PROMPTS["image" if ask == "detect" and self.per == "image" else "point" if points else ask]

    def _problem(self, layout: Layout) -> tuple[str, str] | None:
        """The setting that a layout needs and lacks, and why."""
        ask, prompt = self._ask(layout), self._prompt(layout)
        whole = ask == "caption" or (ask == "detect" and self.per == "image")
        if layout.boxes and not (self.box or layout.box):
            return "box", "say how boxes are written: xywh, xyxy, xywh_norm, xyxy_norm or xyxy_1000"
        if layout.points and not (self.point or layout.point):
            return "point", "say how points are written: pixels, norm, percent or per_1000"
        if (layout.boxes == ENTITIES and ask not in ("caption", "refer")) or (ask == "caption" and layout.boxes != ENTITIES):
            return "ask", "`caption` and `refer` are what captions with boxes of their phrases can be asked, and `caption` no other"
        if ask == "detect" and not layout.labels:
            return "ask", "`detect` needs labels: say in `columns` where they are, or ask `refer` or `describe`"
        if not layout.labels and not layout.phrases:
            return "columns", "say where `phrases` or `labels` are"
        if prompt.count(REGION) != (ask == "describe"):
            return (
                "prompt",
                f"must have {REGION} once" if ask == "describe" else f"must not have {REGION}: the answer has the regions",
            )
        if ("label" in fields_of(prompt)) == (whole or ask == "describe"):
            return (
                "prompt",
                "must not have {label}, which is what is to be said" if whole or ask == "describe" else "must have {label}",
            )
        return None

    def invalid_settings(self) -> Iterator[InvalidSetting]:
        """As for every corpus, plus settings missing for the layout of the first row."""
        wrong = list(super().invalid_settings())
        yield from wrong
        if not wrong:
            yield from self._invalid_layout()

    def _invalid_layout(self) -> Iterator[InvalidSetting]:
        try:
            row = self.table(self.tables()[0].path).first()
        except (RtError, OSError):
            return
        if row is None or not isinstance(row.values, Mapping):
            return
        layout = self.columns.of(layout_of(row.values))
        if layout is None:
            has = ", ".join(map(str, list(row.values)[:8]))
            yield InvalidSetting(("data",), f"has neither boxes nor points, but {has}: say in `columns` where they are")
        elif problem := self._problem(layout):
            yield InvalidSetting((problem[0],), f"{problem[1]} ({layout.name})")


def _items(values: Row, layout: Layout) -> list[Any]:
    """The rows nested in a row; one empty row if there are none."""
    if not layout.items:
        return [{}]
    found = value_at(values, layout.items)
    return list(found) if isinstance(found, list | tuple) else [found]


def _plain(text: str) -> str:
    """The text of a caption, checked to contain no special marks."""
    if _UNMARKED & {*text}:
        raise RowFault("bad_label", f"{text[:40]!r} has < or >, which marks are made of")
    return text


def _boxes_of(piece: Mapping[str, Any]) -> tuple[Spot, ...]:
    """The boxes of a phrase in a caption."""
    return tuple(Spot(numbers(box, 4), "xyxy", piece["text"]) for box in piece["boxes"])


def _mapping(item: Any) -> Mapping[str, Any]:
    if not isinstance(item, Mapping):
        raise RowFault("bad_row", f"{type(item).__name__} is no region")
    return item


def _has(value: Any) -> bool:
    found = parsed(value)
    return isinstance(found, list | tuple) and None not in found


def _listed(path: str, values: Row, reason: str) -> list[Any]:
    """Boxes or points of a row: a single one becomes a list; points may have `x` and `y`."""
    if not path:
        return []
    found = parsed(values_of(values, path))
    found = list(map(parsed, found)) if isinstance(found, list | tuple) else found
    if isinstance(found, Mapping) or is_numbers(found):
        found = [found]
    if not isinstance(found, list | tuple):
        raise RowFault(reason, f"{path} is no list: {str(found)[:40]}")
    return [[each.get("x"), each.get("y")] if isinstance(each, Mapping) else each for each in found]


def _require_count(layout: Layout, values: Row, count: int) -> None:
    """Raises RowFault if a row states a different number of points."""
    said = value_at(values, layout.count) if layout.count else None
    if type(said) is int and said != count:
        raise RowFault("wrong_count", f"{count} points, and the row says {said}")


def _size(width: Any, height: Any) -> tuple[int, int] | None:
    """The image size stated in a row. Raises RowFault: bad_size."""
    width, height = parsed(width), parsed(height)
    if width is None and height is None:
        return None
    if not all(type(each) in (int, float) and 0 < each < 1 << 30 and each == int(each) for each in (width, height)):
        raise RowFault("bad_size", f"{str(width)[:20]} x {str(height)[:20]}")
    return int(width), int(height)


def _text(value: Any) -> Any:
    """The text of a phrase; RefCOCO's sentences are objects."""
    names = ("sent", "sentence", "raw", "phrase")
    return next((value[name] for name in names if name in value), None) if isinstance(value, Mapping) else value


def _said(text: Any, max_bytes: int) -> str:
    return _said_once(text, max_bytes) if isinstance(text, str) else words(text, max_bytes)


@lru_cache(maxsize=1024)
def _said_once(text: str, max_bytes: int) -> str:
    """Clean a label; cached, since labels repeat often."""
    found = words(text, max_bytes).strip()
    if _UNMARKED & {*found}:
        raise RowFault("bad_label", f"{found[:40]!r} has < or >, which marks are made of")
    return found


def _labelled(spots: Sequence[Spot], label: str) -> list[Spot]:
    return [spot._replace(label=label) for spot in spots]
