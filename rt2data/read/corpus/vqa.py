"""Questions with their answers in one row, as in A-OKVQA, GQA, Visual Genome, TextVQA, VizWiz and others.

`vqa_layouts.LAYOUTS` lists the columns of known layouts; the setting `columns` gives them for any other corpus.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field

from rt2data.errors import RtError
from rt2data.io.digest import sized_hash
from rt2data.read.corpus.answers import LETTERS, answers_of, choices_of, require_no_list, right_choice
from rt2data.read.corpus.draft import Draft, Embedded, Picture, RowFault, words
from rt2data.read.corpus.facts import UNKNOWN_ROTATION
from rt2data.read.corpus.rotations import Turn, rotations_of
from rt2data.read.corpus.source import Corpus
from rt2data.read.corpus.vqa_layouts import (
    COLUMNS,
    GENERIC,
    Column,
    Layout,
    Row,
    column,
    fields_of,
    filled,
    images_of,
    layout_of,
    named,
    value_at,
)
from rt2data.read.sample import InvalidSetting
from rt2data.read.source import absent_file
from rt2data.settings import PathStr, Settings

IMAGE = "<image>"
"""The placeholder of an image in a text. A question's images come before its text."""
_MOST_PAIRS = 10_000
"""Maximum pairs of answer and rationale in a row."""


def _asks(text: str) -> str:
    if "question" not in fields_of(text):
        raise ValueError("must have a field {question}")
    return text


def _explains(text: str) -> str:
    if sorted(fields_of(text)) != ["answer", "rationale"]:
        raise ValueError("must have the fields {answer} and {rationale}, once each, and no others")
    return text


class Columns(Settings):
    """What the columns of a corpus are called; `a.b` is the column b inside a. Not needed for known layouts."""

    question: Column = None
    """The question."""
    answers: Column = None
    """The answer or answers: a text, a list of texts, of numbers or of objects with `answer`, or weights by answer."""
    image: Column = None
    """The image or images: the name of a file, an id, or the image itself. `{image_id}.jpg` makes a name from an id."""
    id: Column = None
    """The question's id, for messages."""
    choices: Column = None
    """The options; `answers` then gives the correct one as a number from 0, a letter or its text."""

    @property
    def names(self) -> list[str]:
        """All columns that are named."""
        paths = [self.question, self.answers, self.id, self.choices, *_parts_of_image(self.image)]
        return [part for path in paths if path for part in (path, path.partition(".")[0])]

    def of(self, layout: Layout) -> Layout:
        """A layout with its columns overridden by these."""
        if not self.model_fields_set:
            return layout
        said = {"question": self.question, "id": self.id, "choices": self.choices}
        changes: dict[str, Any] = {part: path for part, path in said.items() if path}
        if self.answers:
            where = {"answers": "", "correct": self.answers} if self.choices else {"answers": self.answers}
            changes |= where | {"instead": ""}
        if self.image:
            changes["images"] = named(self.image) if "{" in self.image else column(self.image)
        return replace(layout, **changes)


def _parts_of_image(image: str | None) -> list[str]:
    return fields_of(image) if image and "{" in image else [image or ""]


class VQA(Corpus):
    """Questions about images, each with its answers in the same row."""

    looks_for: ClassVar[str] = "JSON, JSON Lines, Parquet or Arrow files whose rows have a question and its answers"
    layout_name: ClassVar[str] = "questions with answers"
    reads: ClassVar[tuple[str, ...]] = COLUMNS

    kind: Literal["vqa"] = "vqa"
    columns: Columns = Columns()
    """The columns of questions, answers and images, in corpora without a known layout."""
    choices: Literal["letter", "text", "never"] | None = None
    """`letter` and `text` add the options after the question, `(A) red (B) blue`; the answer is the letter or the text of the
    correct one. `never` uses the direct answers. By default `never` if there are direct answers, else `letter`."""
    ask: Annotated[str, Field(max_length=4096), AfterValidator(_asks)] = "{question}"
    """Template of the question: other fields are columns of the row, such as `{hint} {question}`; lists are joined by commas."""
    full_answers: bool = False
    """Use the full sentences in GQA's `fullAnswer`."""
    explain: Annotated[str, Field(max_length=4096), AfterValidator(_explains)] | None = None
    """Template of an answer with a rationale, such as `{answer}. {rationale}`; by default there is no rationale. Each answer is
    combined with each rationale."""
    without_image: Literal["reject", "keep"] = "reject"
    """What to do with rows that name no image: reject them, or keep them as text-only questions."""
    rotations: PathStr | None = None
    """A CSV of Open Images with the columns ImageID and Rotation: images are rotated upright accordingly, as TextVQA needs."""

    # What rows are

    @classmethod
    def fits(cls, values: Mapping[str, Any]) -> bool:
        """Whether a row has the columns of a layout with answers."""
        layout = layout_of(values)
        return layout is not None and not layout.instead

    @classmethod
    def title(cls, values: Mapping[str, Any]) -> str:
        """The name of the layout."""
        layout = layout_of(values)
        return cls.layout_name if layout is None else layout.name

    @property
    def asked(self) -> tuple[str, ...]:
        """The columns of all layouts, and those named in the recipe."""
        return tuple(dict.fromkeys((*super().asked, *self.columns.names, *fields_of(self.ask))))

    def drafts(self, values: Mapping[str, Any]) -> Iterator[Draft | RowFault]:
        """The questions of a row, one or more. Raises RowFault: unknown_layout, and others for rows with one question."""
        layout = self._layout(values)
        if layout.items and (items := value_at(values, layout.items)) is not None:
            yield from (self._of_item(layout, values, item) for item in _listed(items, layout.items))
        else:
            yield self._draft(layout, values)

    def _layout(self, values: Row) -> Layout:
        """The layout of the row, with the recipe's overrides. Raises RowFault if there is none."""
        found = GENERIC if self.columns.question and self.columns.answers else layout_of(values)
        if found is None:
            has = ", ".join(map(str, list(values)[:8]))
            raise RowFault("unknown_layout", f"a row with {has}: say in `columns` where `question`, `answers` and `image` are")
        return self.columns.of(found)

    def _of_item(self, layout: Layout, values: Row, item: Any) -> Draft | RowFault:
        if not isinstance(item, Mapping):
            return RowFault("bad_row", f"{type(item).__name__} is no question")
        try:
            return self._draft(layout, {**values, **item})
        except RowFault as fault:
            return fault

    def _draft(self, layout: Layout, values: Row) -> Draft:
        try:
            return self._asks_and_answers(layout, values)
        except RowFault as fault:
            name = value_at(values, layout.id) if layout.id else None
            about = f"question {str(name)[:40]}" if isinstance(name, str | int) else ""
            raise RowFault(fault.reason, ", ".join(filter(None, (fault.detail, about))), fault.wanted) from None

    def _asks_and_answers(self, layout: Layout, values: Row) -> Draft:
        if layout.instead:
            raise RowFault("no_answers", f"{layout.name} have none: {layout.instead}")
        question = self._words(value_at(values, layout.question))
        if not question.strip():
            raise RowFault("blank_question")
        if IMAGE in question:
            raise RowFault("image_places", f"{IMAGE} in a question: its image is put before it")
        question, answers, written = self._answered(layout, values, question)
        pictures = images_of(layout.images(values))
        if not pictures and self.without_image == "reject":
            raise RowFault("no_image")
        turn, unknown = self._turn(pictures)
        facts = tuple(filter(None, (written, unknown)))
        return Draft(self._asked(question, values), self._explained(answers, layout, values), (), pictures, turn, facts=facts)

    def _words(self, text: Any) -> str:
        return words("" if text is None else text, self.max_text_bytes)

    # Answers

    def _answered(self, layout: Layout, values: Row, question: str) -> tuple[str, tuple[str, ...], str]:
        """The question, with its options if requested; all answers; the fact on how they are written."""
        mode = self.choices or ("never" if layout.answers or not layout.choices else "letter")
        if mode != "never":
            return *self._chosen(layout, values, question, mode), ""
        path = layout.full_answers if self.full_answers else layout.answers
        if not path:
            raise RowFault("no_answers", f"{layout.name} have no {'full' if self.full_answers else 'direct'} answers")
        answers, written = answers_of(value_at(values, path), self.max_text_bytes)
        require_no_list(answers)
        return question, answers, written

    def _chosen(self, layout: Layout, values: Row, question: str, mode: str) -> tuple[str, tuple[str, ...]]:
        if not layout.choices:
            raise RowFault("no_choices", f"{layout.name} have none")
        choices = choices_of(value_at(values, layout.choices), self.max_text_bytes)
        right = right_choice(choices, value_at(values, layout.correct))
        options = " ".join(f"({letter}) {text}" for letter, text in zip(LETTERS, choices, strict=False))
        return f"{question.rstrip()} {options}", (LETTERS[right] if mode == "letter" else choices[right],)

    def _asked(self, question: str, values: Row) -> str:
        if self.ask == "{question}":
            return question
        said = {name: question if name == "question" else self._words(_joined(values, name)) for name in fields_of(self.ask)}
        return self._words(filled(self.ask, said)).strip()

    def _explained(self, answers: tuple[str, ...], layout: Layout, values: Row) -> tuple[str, ...]:
        if self.explain is None:
            return answers
        given = value_at(values, layout.rationales) if layout.rationales else None
        found = [self._words(each).strip() for each in (given if isinstance(given, list | tuple) else [given])]
        if len(found) * len(answers) > _MOST_PAIRS:
            raise RowFault("too_many_answers", f"{len(answers)} answers, each with {len(found)} rationales")
        pairs = [{"answer": answer.strip(), "rationale": text} for text in found if text for answer in answers]
        if not pairs:
            raise RowFault("no_rationale")
        return tuple(self._words(filled(self.explain, pair)) for pair in pairs)

    # Rotations

    def _turn(self, pictures: tuple[Picture, ...]) -> tuple[Turn, str]:
        """How the image must be rotated, and the fact to count if that is unknown."""
        if self.rotations is None or not pictures:
            return 0, ""
        found = {_rotation(self.rotations, picture) for picture in pictures}
        if len(found) > 1:
            raise RowFault("several_rotations", "the images of a row are turned differently")
        turn = found.pop()
        return (0, UNKNOWN_ROTATION) if turn is None else (turn, "")

    def depends_on(self) -> list[str]:
        """The corpus's files, and the file of rotations."""
        return sorted({*super().depends_on(), *filter(None, [self.rotations])})

    def bases(self, parts: Any) -> list[Any]:
        """The names of all images, and the content of the file of rotations."""
        found = super().bases(parts)
        return found if self.rotations is None else [[*each, list(sized_hash(self.rotations))] for each in found]

    # Settings

    def invalid_settings(self) -> Iterator[InvalidSetting]:
        """As for every corpus, plus rows without answered questions."""
        wrong = list(super().invalid_settings())
        yield from wrong
        if self.rotations is not None:
            yield from absent_file(("rotations",), self.rotations)
        if not wrong and (problem := self._first_problem()):
            yield InvalidSetting(("data",), problem)

    def _first_problem(self) -> str:
        """Why the first row of the first file has no layout with answers; empty if it has one, or cannot be read."""
        try:
            file = self.tables()[0]
            row = self.table(file.path).first()
            if row is None or not isinstance(row.values, Mapping):
                return ""
            layout = self._layout(row.values)
        except RowFault as fault:
            return f"has no layout that is known: {file.path}: {fault.detail}"
        except (RtError, OSError):
            return ""
        return f"holds {layout.name}: {file.path}: they have no answers; {layout.instead}" if layout.instead else ""


def _listed(items: Any, path: str) -> list[Any]:
    if not isinstance(items, list | tuple):
        raise RowFault("bad_row", f"{path} is no list")
    if not items:
        raise RowFault("no_questions", f"{path} is empty")
    return list(items)


def _joined(values: Row, name: str) -> str:
    """A column as text. Raises RowFault if the row lacks it."""
    found = value_at(values, name)
    if found is None and name not in values:
        raise RowFault("missing_column", f"there is no {name}")
    each = [one for one in (found if isinstance(found, list | tuple) else [found]) if one is not None]
    if not all(isinstance(one, str | int | float) for one in each):
        raise RowFault("bad_text", f"{name} is no text")
    return ", ".join(map(str, each))


def _rotation(path: str, picture: Picture) -> Turn | None:
    """An image's clockwise rotation, looked up by its name without suffix; None if unknown."""
    if isinstance(picture, Embedded):
        return None
    return rotations_of(path).of(picture.name.rpartition("/")[2].rpartition(".")[0])
