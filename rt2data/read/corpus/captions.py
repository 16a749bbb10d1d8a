"""Captions of images: pairs in any table, COCO's captions joined by image, Karpathy's splits, img2dataset and Flickr30k."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from rt2data.errors import RtError
from rt2data.read.corpus.coco import write_indexes
from rt2data.read.corpus.coco_captions import CocoCaptions, is_coco_captions
from rt2data.read.corpus.draft import Draft, Picture, RowFault, pictures_of, words
from rt2data.read.corpus.source import Corpus
from rt2data.read.corpus.table import Table
from rt2data.read.join.images import ImageKey
from rt2data.records import AnswerRule

_CAPTIONS = ("captions", "caption", "txt", "text", "sentence", "sentences", "raw")
_IMAGES = ("image", "images", "jpg", "jpeg", "png", "webp", "file_name", "filename", "image_path", "img_path", "image_id")
_IN_FOLDER = "filepath"  # in Karpathy's splits: the folder of `filename`
_OTHERS = frozenset(
    {
        *("conversations", "messages", "texts", "question", "questions", "question_id", "qas", "choices", "label"),
        *("answer", "answers", "multiple_choice_answer", "direct_answers", "text_in", "text_out"),
        *("regions", "phrase", "bbox", "boxes", "objects", "sentence1", "sentence2"),
    }
)
"""Columns that occur only in other layouts."""
_STATUS, _ERROR = "status", "error_message"


class Captions(Corpus):
    """Images with one or more captions, and the same question for all."""

    looks_for: ClassVar[str] = "rows with an image and a caption in JSON, CSV, Parquet, Arrow or tar files; COCO captions"
    layout_name: ClassVar[str] = "captions"
    reads: ClassVar[tuple[str, ...]] = (*_CAPTIONS, *_IMAGES, _IN_FOLDER, _STATUS, _ERROR)

    kind: Literal["captions"] = "captions"
    prompt: Annotated[str, Field(min_length=1, max_length=4096)] = "Describe the image."
    """The question about every image. PaLI uses `Generate caption in en`, PaliGemma `caption en`."""
    caption: Annotated[str, Field(min_length=1)] | None = None
    """The column of the captions, if a row has several that differ."""
    image: Annotated[str, Field(min_length=1)] | None = None
    """The column of the image, if a row has several."""
    answers: AnswerRule = "sample"
    """How to use several captions of an image: `sample` takes one of them by key and epoch, `all` makes one row per distinct
    caption, `majority` takes the most common one (the first if all differ)."""

    @property
    def asked(self) -> tuple[str, ...]:
        """The columns to read, including those named in the recipe."""
        return tuple(dict.fromkeys((*filter(None, (self.caption, self.image)), *super().asked)))

    def table(self, path: str, shared: str = "") -> Table:
        """The table of a file. COCO's captions are joined by image, unless `rows` names an array to read as is."""
        if self.rows is None and is_coco_captions(path):
            return CocoCaptions(path, self.asked, 64 * max(self.max_text_bytes, 32768), shared=shared)
        return super().table(path)

    @classmethod
    def first_values(cls, path: str) -> Mapping[str, Any] | None:
        """The first image of COCO's captions, or the first row."""
        try:
            first = CocoCaptions(path).first() if is_coco_captions(path) else None
        except (RtError, OSError, ValueError):
            return None
        return first.values if first is not None and isinstance(first.values, Mapping) else super().first_values(path)

    def share(self, folder: Path) -> None:
        """Write the index of image files, and of COCO's captions."""
        super().share(folder)
        write_indexes([self.table(file.path) for file in self.tables()], folder)

    @classmethod
    def fits(cls, values: Mapping[str, Any]) -> bool:
        """Whether a row has a caption and an image, and nothing of another layout."""
        if _OTHERS & {name for name, value in values.items() if value is not None}:
            return False
        said = any(_is_said(name, values.get(name)) for name in _CAPTIONS)
        return said and any(values.get(name) not in (None, "", [], ()) for name in _IMAGES)

    def drafts(self, values: Mapping[str, Any]) -> Iterator[Draft]:
        """One example. Raises RowFault: no_caption, ambiguous_caption, no_image, ambiguous_images, among others.

        Rows that img2dataset could not fetch are dropped, with their status as the reason, such as failed_to_download.
        """
        _require_fetched(values)
        captions = tuple(filter(None, (words(each, self.max_text_bytes).strip() for each in self._captions(values))))
        if not captions:
            raise RowFault("no_caption", "a caption without words")
        yield Draft(question=self.prompt, answers=captions, pictures=self._pictures(values))

    def _captions(self, values: Mapping[str, Any]) -> Sequence[Any]:
        """The captions of a row. It is a fault if two columns differ."""
        names = (self.caption,) if self.caption else _CAPTIONS
        found = {name: said for name in names if (said := _said(name, values.get(name)))}
        if not found:
            raise RowFault(
                "no_caption", f"nothing in {self.caption}" if self.caption else "no column holds a caption: set `caption`"
            )
        first, *more = found.values()
        if any([*other] != [*first] for other in more):
            raise RowFault("ambiguous_caption", f"{' and '.join(found)} differ: set `caption` to one of them")
        return first

    def _pictures(self, values: Mapping[str, Any]) -> tuple[Picture, ...]:
        """The image of a row. Columns that name it must agree; `image_id` is used alone only if there is no other."""
        names = (self.image,) if self.image else _IMAGES
        found = {name: pictures for name in names if (pictures := pictures_of(_in_folder(name, values)))}
        if not found:
            raise RowFault(
                "no_image", f"nothing in {self.image}" if self.image else "no column names or holds an image: set `image`"
            )
        named = {name: pictures for name, pictures in found.items() if name != "image_id"} or found
        first, *more = named.values()
        if any(other != first for other in more):
            raise RowFault("ambiguous_images", f"{' and '.join(named)} differ: set `image` to one of them")
        number = found.get("image_id", ())
        return _with_number(first, number)


def _require_fetched(values: Mapping[str, Any]) -> None:
    """Raises RowFault for an img2dataset row whose image was not fetched."""
    status = values.get(_STATUS)
    if _ERROR in values and isinstance(status, str) and status != "success":
        reason = status if status.isidentifier() and status.isascii() else "not_fetched"
        raise RowFault(reason[:40].lower(), str(values[_ERROR] or "")[:200], wanted=True)


def _is_said(name: str, value: Any) -> bool:
    return all(isinstance(each, str) for each in _said(name, value)) and bool(_said(name, value))


def _said(name: str, value: Any) -> Sequence[Any]:
    """The captions in a column: a text, or a list of texts or of sentences with their text in `raw` or `caption`."""
    if value is None or value == "":
        return ()
    if name == "raw" and isinstance(value, str) and value.startswith("["):
        value = _list_in(value)
    if not isinstance(value, list | tuple):
        return (value,)
    return tuple(each.get("raw", each.get("caption")) if isinstance(each, dict) else each for each in value)


def _list_in(text: str) -> Any:
    """Parse a list of captions written as text, as in Flickr30k's tables."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _in_folder(name: str, values: Mapping[str, Any]) -> Any:
    value, folder = values.get(name), values.get(_IN_FOLDER)
    return f"{folder}/{value}" if name == "filename" and isinstance(value, str) and isinstance(folder, str) and folder else value


def _with_number(pictures: tuple[Picture, ...], number: tuple[Picture, ...]) -> tuple[Picture, ...]:
    """Add the row's image id to a name without one."""
    if len(pictures) != 1 or len(number) != 1:
        return pictures
    one, other = pictures[0], number[0]
    if isinstance(one, ImageKey) and isinstance(other, ImageKey) and one.number < 0:
        return (ImageKey(other.number, one.name),)
    return pictures
