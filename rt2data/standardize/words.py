"""The words of a step: each distinct text of an episode is judged once, as templates will clean it.

A text is blank if only punctuation and white space are left of it. That is stricter than any template's cleaning, so that no prompt
has an empty place in it, and prepared data does not depend on the recipe's template.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from rt2data.read.source import RobotSource
from rt2data.read.text import clean_text, is_blank
from rt2data.records import Fact, Step
from rt2data.standardize.reasons import BLANK, BLANK_FAULT, INSTRUCTION_FILTER, TOO_LONG_TEXT, Reason

_NOTHING = re.compile(r"none|nan|nil|null|n/?a|todo|tbd|fixme|undefined|unknown|placeholder", re.IGNORECASE)
_BYTES = re.compile(r"""b(['"]).*\1""", re.DOTALL)
_FIELD = re.compile(r"\{\w*\}|<[A-Za-z_][\w -]*>|\[[A-Z_]+\]")
PLACEHOLDERS = {"missing": "None, nan or TODO", "bytes": "b'...'", "field": "{object} or <object>"}
"""Placeholder instructions: kind -> what it looks like. A fact `placeholder.KIND` counts the steps."""


@dataclass(frozen=True)
class WordRules:
    """A source's settings for the words of a step."""

    source: RobotSource

    @cached_property
    def _wanted(self) -> re.Pattern[str] | None:
        pattern = self.source.filters.instruction
        return None if pattern is None else re.compile(pattern, re.IGNORECASE)

    def reasons(self, episode: Sequence[Step]) -> list[Reason | None]:
        """For each step, why its words drop it, or None."""
        known = {text: self._judge(text) for text in {step.instruction for step in episode}}
        return [known[step.instruction] for step in episode]

    def _judge(self, text: str) -> Reason | None:
        """Why a text is dropped, or None. The recipe's filter comes first: what it leaves out is not a fault."""
        if self._wanted is not None and not self._wanted.search(clean_text(text)):
            return INSTRUCTION_FILTER
        if len(text.encode(errors="surrogatepass")) > self.source.max_text_bytes:
            return TOO_LONG_TEXT
        if self.source.blank_instruction != "keep" and is_blank(clean_text(text)):
            return BLANK if self.source.blank_instruction == "drop" else BLANK_FAULT
        return None


def count_placeholders(texts: Iterable[str]) -> Iterator[Fact]:
    """How many of the texts are placeholders, by kind."""
    kinds = ((placeholder(text), count) for text, count in Counter(texts).items())
    for kind, count in kinds:
        if kind is not None:
            yield Fact(f"placeholder.{kind}", count)


def placeholder(text: str) -> str | None:
    """The kind of placeholder that a text is or contains; None if it is ordinary words."""
    bare = text.strip(" .,;:!?\"'_-")
    if _NOTHING.fullmatch(bare):
        return "missing"
    if _BYTES.fullmatch(text.strip()):
        return "bytes"
    return "field" if _FIELD.search(text) else None
