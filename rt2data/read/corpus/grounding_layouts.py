"""The columns in which corpora keep boxes and points: one record per layout, tried in order against the columns of a row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from rt2data.read.corpus.boxes import BoxStyle, PointStyle
from rt2data.read.corpus.coco_boxes import COCO
from rt2data.read.corpus.entities import ENTITIES
from rt2data.read.corpus.vqa_layouts import Column, Names, Row, column, fields_of, jpeg, named, value_at
from rt2data.settings import Settings

Ask = Literal["detect", "refer", "describe", "count", "caption"]

_IMAGES = ("image", "image_path", "file_name", "image_id", "image_sha256", "image_url")
_BY_NAME = column(*_IMAGES[:4])


def _pointing(row: Row) -> Any:
    """PixMo's images have a URL, and the hash that names the downloaded file."""
    return _BY_NAME(row) or column("image_url")(row)


@dataclass(frozen=True)
class Layout:
    """The columns of each part. A part that a layout lacks is an empty string."""

    name: str
    marks: frozenset[str]  # columns that every row has
    ask: Ask
    boxes: str = ""  # a box or a list of them, or four columns separated by commas
    points: str = ""
    labels: str = ""  # of each box
    phrases: str = ""  # texts about all boxes
    crowds: str = ""
    image: Names = _BY_NAME
    width: str = "width"
    height: str = "height"
    count: str = ""
    items: str = ""  # the column with a list of nested rows; the other columns are in these
    box: BoxStyle | None = None  # if fixed for all corpora of the layout
    point: PointStyle | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns that may be read from a row, except images."""
        parts = (*self.boxes.split(","), self.points, self.labels, self.phrases, self.crowds, self.width, self.height, self.count)
        return tuple(part for part in (*sorted(self.marks), *parts, self.items) if part)


def _layout(name: str, marks: str, ask: Ask, **parts: Any) -> Layout:
    return Layout(name, frozenset(marks.split()), ask, **parts)


_OBJECTS: dict[str, Any] = {"boxes": "objects.bbox", "labels": "objects.category", "crowds": "objects.iscrowd"}
_PHRASES = ("sentences", "sentence", "expression", "phrase", "caption", "ref")

LAYOUTS: tuple[Layout, ...] = (
    _layout("Flickr30k Entities", ENTITIES, "caption", boxes=ENTITIES, phrases=ENTITIES, box="xyxy"),
    _layout("COCO expressions", f"{COCO} phrase", "refer", boxes="objects.bbox", phrases="phrase", box="xywh"),
    _layout("COCO instances", COCO, "detect", **_OBJECTS, box="xywh"),
    _layout(
        "Visual Genome region descriptions",
        "regions",
        "refer",
        boxes="x,y,width,height",
        phrases="phrase",
        items="regions",
        box="xywh",
        image=jpeg("image_id"),
        width="",
        height="",
    ),
    _layout("objects with boxes", "objects", "detect", **_OBJECTS),
    _layout("points", "points label", "refer", points="points", phrases="label", count="count", point="percent", image=_pointing),
    *(_layout("referring expressions", f"bbox {said}", "refer", boxes="bbox", phrases=said) for said in _PHRASES),
)
NONE = _layout("boxes or points", "", "detect")
COLUMNS = tuple(dict.fromkeys(name for layout in LAYOUTS for name in (*layout.columns, *_IMAGES)))
"""All columns of all layouts."""


def layout_of(row: Row) -> Layout | None:
    """The first layout whose columns a row has."""
    return next((layout for layout in LAYOUTS if layout.marks <= row.keys()), None)


class Columns(Settings):
    """What the columns of a corpus are called; `a.b` is the column b inside a, or inside each element if a is a list."""

    boxes: Column = None
    """A box or a list of boxes, each a list of four numbers; or four columns: `x,y,w,h`."""
    points: Column = None
    """A point or a list of points, each with `x` and `y`, or a list of two numbers."""
    labels: Column = None
    """What each box or point is: a list of the same length, or one for all."""
    phrases: Column = None
    """Text about all boxes or points of a row: one, or several, each of which makes its own question."""
    crowds: Column = None
    """Whether each box marks a crowd."""
    image: Column = None
    """The name of the image's file, its id, or the image itself. `{image_id}.jpg` makes a name from an id."""
    width: Column = None
    """The image's width in pixels, which is compared with the file's."""
    height: Column = None
    """The image's height, likewise."""

    @property
    def names(self) -> list[str]:
        """All columns that are named."""
        said = {name: path for name, path in self if path}
        image = said.pop("image", "")
        paths = [part for path in said.values() for part in path.split(",")] + (fields_of(image) if "{" in image else [image])
        return [part for path in paths if path for part in (path, path.partition(".")[0])]

    def of(self, layout: Layout | None) -> Layout | None:
        """A layout with its columns overridden by these."""
        said: Mapping[str, Any] = {name: path for name, path in self if path and name != "image"}
        if not said and not self.image:
            return layout
        if layout is None and not self.boxes and not self.points:
            return None
        found = layout or replace(NONE, ask="refer" if self.phrases else "detect")
        changes: dict[str, Any] = {**said}
        if self.image:
            changes["image"] = named(self.image) if "{" in self.image else column(self.image)
        changes |= {style: None for style, path in (("box", self.boxes), ("point", self.points)) if path}
        return replace(found, **changes)


def values_of(row: Row, path: str) -> Any:
    """The value of a column; for several separated by commas, the list of their values."""
    return [value_at(row, part) for part in path.split(",")] if "," in path else value_at(row, path)
