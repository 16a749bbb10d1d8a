"""Conversations as LLaVA, ShareGPT, Qwen, OpenAI and The Cauldron write them, about zero or more images.

A row has a list of turns in `conversations`, `messages` or `texts`: {from, value}, {role, content} or {user, assistant}; and images
in `image` or `images`, or in the parts of a turn's content.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from rt2data.read.corpus.draft import Draft, Picture, RowFault, lines, pictures_of
from rt2data.read.corpus.source import Corpus
from rt2data.records import Role, Turn

PLACE = "<image>"
IMAGES_FIRST = "conversations.images_put_first"
"""Fact: conversations that do not say where their images go."""

_TURNS = ("conversations", "messages", "texts", "conversation")
_IMAGES = ("images", "image")
_ROLES: dict[str, Role] = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "chatgpt": "assistant",
}


class Conversations(Corpus):
    """Instructions and answers in turns, with or without images."""

    looks_for: ClassVar[str] = "JSON, JSON Lines, Parquet or Arrow files whose rows have conversations, messages or texts"
    layout_name: ClassVar[str] = "conversations"
    reads: ClassVar[tuple[str, ...]] = (*_TURNS, *_IMAGES, "system", "tools")

    kind: Literal["conversations"] = "conversations"
    turns: Annotated[str, Field(min_length=1)] | None = None
    """The column of the turns, if a row has several."""
    image_token: Annotated[str, Field(min_length=1)] = PLACE
    """The placeholder for an image in the text of a turn."""
    without_place: Literal["first", "reject"] = "first"
    """What to do if no turn says where the images go: put them before the user's first words, or reject the row."""

    @classmethod
    def fits(cls, values: Mapping[str, Any]) -> bool:
        """Whether a row has a list of turns."""
        return any(_is_turns(values.get(name)) for name in _TURNS)

    def drafts(self, values: Mapping[str, Any]) -> Iterator[Draft]:
        """One conversation. Raises RowFault: no_turns, ambiguous_turns, unknown_role, bad_turn, image_places, among others."""
        turns: list[Turn] = []
        inside: list[Picture] = []
        if values.get("system"):
            turns.append(Turn("system", self._text(values["system"])))
        for turn in self._turns(values):
            for role, content in _said(turn):
                text, pictures = self._content(content)
                turns.append(Turn(role, text))
                inside += pictures
        outside = _outside(values)
        if inside and outside:
            raise RowFault("ambiguous_images", "both the row and its turns hold images")
        yield self._placed(turns, (*inside, *outside))

    def _turns(self, values: Mapping[str, Any]) -> Sequence[Any]:
        """The list of turns. It is a fault if two columns hold one."""
        names = (self.turns,) if self.turns else _TURNS
        found = [name for name in names if values.get(name)]
        if not found:
            raise RowFault("no_turns", f"nothing in {' or '.join(names)}")
        if len(found) > 1:
            raise RowFault("ambiguous_turns", f"turns are in {' and '.join(found)}: set `turns` to one of them")
        turns = values[found[0]]
        if not isinstance(turns, Sequence) or isinstance(turns, str | bytes):
            raise RowFault("bad_turn", f"{found[0]} is no list")
        return turns

    def _content(self, content: Any) -> tuple[str, list[Picture]]:
        """The text of a turn, with a placeholder for each image among its parts, and these images."""
        if content is None:
            return "", []
        if isinstance(content, str):
            return self._text(content), []
        if not isinstance(content, Sequence):
            raise RowFault("bad_turn", f"{type(content).__name__} is no text")
        said: list[str] = []
        pictures: list[Picture] = []
        for part in content:
            text, found = _part(part)
            said.append(self._text(text) if found is None else PLACE)
            pictures += [] if found is None else pictures_of(found)
        return "".join(said), pictures

    def _text(self, text: Any) -> str:
        found = lines(text, self.max_text_bytes)
        return found if self.image_token == PLACE else found.replace(self.image_token, PLACE)

    def _placed(self, turns: list[Turn], pictures: tuple[Picture, ...]) -> Draft:
        """The conversation, with a placeholder for each image."""
        places = sum(turn.text.count(PLACE) for turn in turns)
        first = next((number for number, turn in enumerate(turns) if turn.role == "user"), None)
        if places or not pictures or first is None:
            return Draft(turns=tuple(turns), pictures=pictures)
        if self.without_place == "reject":
            raise RowFault("image_places", f"no place for {len(pictures)} images")
        turns[first] = turns[first]._replace(text=f"{PLACE * len(pictures)}\n{turns[first].text}")
        return Draft(turns=tuple(turns), pictures=pictures, facts=(IMAGES_FIRST,))


def _is_turns(value: Any) -> bool:
    if not isinstance(value, Sequence) or isinstance(value, str | bytes) or not len(value) or not isinstance(value[0], Mapping):
        return False
    keys = set(value[0])
    return keys >= {"from", "value"} or keys >= {"role", "content"} or keys >= {"user", "assistant"}


def _said(turn: Any) -> list[tuple[Role, Any]]:
    """Roles and contents of a list element: one turn, or a question and its answer."""
    if not isinstance(turn, Mapping):
        raise RowFault("bad_turn", f"{type(turn).__name__} is no turn")
    if "user" in turn and "assistant" in turn:
        return [("user", turn["user"]), ("assistant", turn["assistant"])]
    for role, content in (("role", "content"), ("from", "value")):
        if role in turn:
            return [(_role(turn[role]), turn.get(content))]
    raise RowFault("bad_turn", f"a turn with {', '.join(map(str, list(turn)[:6]))}: no role")


def _role(name: Any) -> Role:
    found = _ROLES.get(name.lower()) if isinstance(name, str) else None
    if found is None:
        raise RowFault("unknown_role", f"{str(name)[:40]!r} is none of {', '.join(_ROLES)}")
    return found


def _part(part: Any) -> tuple[Any, Any]:
    """A content part's text, and its image; None if it is text."""
    if isinstance(part, str):
        return part, None
    kind = part.get("type") if isinstance(part, Mapping) else None
    if kind in ("text", "input_text", "output_text") or (kind is None and isinstance(part, Mapping) and "text" in part):
        return part.get("text"), None
    for name in ("image", "image_url", "path", "file_name", "url"):
        value = part.get(name) if isinstance(part, Mapping) else None
        if value:
            return "", value.get("url") if name == "image_url" and isinstance(value, Mapping) else value
    raise RowFault("bad_turn", f"a part of type {str(kind)[:40]!r}")


def _outside(values: Mapping[str, Any]) -> tuple[Picture, ...]:
    """Images of the row, in `image` or in `images`. Raises RowFault if both hold images and these differ."""
    found = [pictures for name in _IMAGES if (pictures := pictures_of(values.get(name)))]
    if len(found) == 2 and found[0] != found[1]:
        raise RowFault("ambiguous_images", "`image` and `images` differ")
    return found[0] if found else ()
