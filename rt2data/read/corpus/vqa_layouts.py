"""Published layouts of questions with answers: one record each, tried in order against the columns of a row."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from string import Formatter
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from rt2data.read.corpus.draft import Picture, RowFault, pictures_of
from rt2data.read.join.images import ImageKey

Row = Mapping[str, Any]
Names = Callable[[Row], Sequence[Any]]
"""The images given in a row: names, ids, or embedded images."""

_COCO = re.compile(r"(?:.*/)?(?:COCO_(?:train|val|test)20\d\d_)?([0-9]{12})\.jpg")
_IDENTIFIER = re.compile(r"(.+)-\d+")


def value_at(row: Any, path: str) -> Any:
    """The value of a column; `annotations.answer` is the column of that name, or a nested value, taken from each element if it is a
    list.

    None if absent.
    """
    if isinstance(row, list | tuple):
        return [value_at(each, path) for each in row]
    if not isinstance(row, Mapping):
        return None
    if path in row:
        return row[path]
    first, dot, rest = path.partition(".")
    return value_at(row.get(first), rest) if dot else None


def fields_of(text: str) -> list[str]:
    """The fields of a template. Raises ValueError if it is not a template."""
    parsed = list(Formatter().parse(text))
    if any(spec or conversion for _, name, spec, conversion in parsed if name is not None):
        raise ValueError("must have plain fields such as {question}, with neither `:` nor `!`")
    return [name for _, name, _, _ in parsed if name is not None]


def _with_plain_fields(text: str) -> str:
    fields_of(text)
    return text


Column = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_with_plain_fields)] | None
"""A setting that names a column, or combines several into one."""


def filled(template: str, said: Mapping[str, str]) -> str:
    """A template with its fields filled in."""
    return "".join(before + (said[name] if name is not None else "") for before, name, _, _ in Formatter().parse(template))


def column(*paths: str) -> Names:
    """Images from the first column that is not empty."""

    def names(row: Row) -> Sequence[Any]:
        found = next((value for path in paths if (value := value_at(row, path)) not in (None, "", [], ())), None)
        return [] if found is None else [found]

    return names


def named(template: str) -> Names:
    """The file named after columns: {image_id}.jpg."""
    fields = fields_of(template)

    def names(row: Row) -> Sequence[Any]:
        found = {name: value_at(row, name) for name in fields}
        missing = None in found.values() or "" in found.values()
        return [] if missing else [filled(template, {name: str(value) for name, value in found.items()})]

    return names


def jpeg(name: str) -> Names:
    """An image embedded in the row; otherwise the file named after a column, with .jpg."""

    def names(row: Row) -> Sequence[Any]:
        inside, value = row.get("image"), row.get(name)
        if inside or value in (None, ""):
            return [inside] if inside else []
        return [value if isinstance(value, str) and value.lower().endswith((".jpg", ".jpeg", ".png")) else f"{value}.jpg"]

    return names


def _in_folder_of_row(row: Row) -> Sequence[Any]:
    """In ScienceQA's original JSON, each problem's images are in a folder named after it."""
    image = row.get("image")
    return [f"{row['_key']}/{image}" if isinstance(image, str) and "_key" in row else image] if image else []


def _pair(row: Row) -> Sequence[Any]:
    """NLVR2's two images: dev-850-0-1 is a sentence about dev-850-0-img0.png and dev-850-0-img1.png."""
    found = _IDENTIFIER.fullmatch(str(row.get("identifier")))
    if found is None:
        raise RowFault("bad_image", "an `identifier` that names no pair of images")
    return [f"{found[1]}-img{number}.png" for number in (0, 1)]


_BY_NAME = column("image", "image_id")


@dataclass(frozen=True)
class Layout:
    """The columns of a question's parts. A part that a layout lacks is an empty string."""

    name: str
    marks: frozenset[str]  # columns that every row has
    question: str = "question"
    answers: str = "answers"
    id: str = "question_id"
    images: Names = _BY_NAME
    full_answers: str = ""
    choices: str = ""
    correct: str = ""  # the correct choice: a number, a letter or a text
    rationales: str = ""
    items: str = ""  # the column with a list of questions; the other columns are in these
    instead: str = ""  # what to do with a layout that has no answers

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns that may be read from a row, except images."""
        parts = (self.question, self.answers, self.id, self.full_answers, self.choices, self.correct, self.rationales, self.items)
        return tuple(part for part in (*sorted(self.marks), *parts) if part)


def _layout(name: str, marks: str, **parts: Any) -> Layout:
    return Layout(name, frozenset(marks.split()), **parts)


GENERIC = _layout("questions with answers", "question answers")

LAYOUTS: tuple[Layout, ...] = (
    _layout(
        "A-OKVQA",
        "question choices direct_answers",
        answers="direct_answers",
        choices="choices",
        correct="correct_choice_idx",
        rationales="rationales",
    ),
    _layout(
        "GQA questions", "imageId question answer", answers="answer", full_answers="fullAnswer", id="_key", images=jpeg("imageId")
    ),
    _layout("Visual Genome questions", "qas", answers="answer", id="qa_id", images=jpeg("image_id"), items="qas"),
    _layout(
        "ScienceQA",
        "question choices answer hint",
        answers="",
        choices="choices",
        correct="answer",
        rationales="solution",
        id="_key",
        images=_in_folder_of_row,
    ),
    _layout("VizWiz questions", "image question answerable answers", id="image"),
    _layout("TextVQA", "image_id question answers image_width", images=jpeg("image_id")),
    _layout("GVT questions", "image_id text_in text_out", question="text_in", answers="text_out", id=""),
    _layout("POPE questions", "question_id image text label", question="text", answers="label"),
    _layout("NLVR2 sentences", "sentence identifier label", question="sentence", answers="label", id="identifier", images=_pair),
    _layout(
        "SNLI-VE sentences",
        "gold_label sentence2 Flickr30K_ID",
        question="sentence2",
        answers="gold_label",
        id="pairID",
        images=jpeg("Flickr30K_ID"),
    ),
    GENERIC,
    _layout("questions with an answer", "question answer", answers="answer"),
    _layout("LLaVA-Bench questions", "question_id image text", question="text", answers="", instead="they are for evaluation"),
    _layout(
        "questions without answers",
        "question question_id",
        answers="",
        instead="where another file has the answers, as VQAv2's annotations do, name both in a source of kind vqav2",
    ),
)
_IMAGES = ("image", "image_id", "imageId", "Flickr30K_ID", "identifier", "_key")
COLUMNS = tuple(dict.fromkeys(name for layout in LAYOUTS for name in (*layout.columns, *_IMAGES)))
"""All columns of all layouts."""


def layout_of(row: Row) -> Layout | None:
    """The first layout whose columns a row has."""
    return next((layout for layout in LAYOUTS if layout.marks <= row.keys()), None)


def images_of(names: Sequence[Any]) -> tuple[Picture, ...]:
    """Images from a row's names. COCO's images are identified by number, in both the 2014 and 2017 naming.

    Raises RowFault: bad_image, remote_image.
    """
    return tuple(_with_number(picture) for name in names for picture in pictures_of(name))


def _with_number(picture: Picture) -> Picture:
    if not isinstance(picture, ImageKey) or picture.number >= 0:
        return picture
    coco = _COCO.fullmatch(picture.name)
    return picture._replace(number=int(coco[1])) if coco else picture
