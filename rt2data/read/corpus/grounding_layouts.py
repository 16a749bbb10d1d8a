"""Where corpora have boxes and points, and what they call them: one record each, tried in this order by the columns of a row."""

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
    """PixMo's images have an address, and the hash that downloads are called by."""
    return _BY_NAME(row) or column("image_url")(row)


@dataclass(frozen=True)
class Layout:
    """Where the parts are. A part that a layout lacks is an empty string."""

    name: str
    marks: frozenset[str]  # columns that each row has
    ask: Ask
    boxes: str = ""  # a box or a list of them, or four columns with commas between
    points: str = ""
    labels: str = ""  # of each box
    phrases: str = ""  # what is said of all
    crowds: str = ""
    image: Names = _BY_NAME
    width: str = "width"
    height: str = "height"
    count: str = ""
    items: str = ""  # the column that holds a list of rows; the other columns are of each of these
    box: BoxStyle | None = None  # where all corpora of the layout write them so
    point: PointStyle | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """All that a row may be asked for, but for images."""
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
    """What the columns of a corpus are called; `a.b` is the column b inside of a, of each element where a is a list."""

    boxes: Column = None
    """A box or a list of boxes, each a list of four numbers; or four columns: `x,y,w,h`."""
    points: Column = None
    """A point or a list of points, each with `x` and `y`, or a list of two numbers."""
    labels: Column = None
    """What each box or point is: a list as long as theirs, or one for all."""
    phrases: Column = None
    """What is said of all boxes or points of a row: a text, or several, each of which is asked by itself."""
    crowds: Column = None
    """Whether each box stands for a crowd."""
    image: Column = None
    """The name of the image's file, its id, or the image itself. `{image_id}.jpg` makes a name of an id."""
    width: Column = None
    """The image's width in pixels, to be compared with the file's."""
    height: Column = None
    """Its height."""

    @property
    def names(self) -> list[str]:
        """All columns that are named."""
        said = {name: path for name, path in self if path}
        image = said.pop("image", "")
        paths = [part for path in said.values() for part in path.split(",")] + (fields_of(image) if "{" in image else [image])
        return [part for path in paths if path for part in (path, path.partition(".")[0])]

    def of(self, layout: Layout | None) -> Layout | None:
        """A layout with these columns instead of its own."""
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
    """What a column holds; of several with commas between, the list of what they hold."""
    return [value_at(row, part) for part in path.split(",")] if "," in path else value_at(row, path)
