"""Cleaning of external text: one Unicode form, nothing that moves the cursor or changes the writing direction."""

from __future__ import annotations

import re
import unicodedata

_BREAKS = re.compile("[\t\n\v\f\r\x85\u2028\u2029]+")
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def clean_text(text: str) -> str:
    """NFC, with a space for every run of tabs and line ends, and without control characters and bidi embeddings or overrides.

    Idempotent.
    """
    if text.isascii() and text.isprintable():
        return text
    return unicodedata.normalize("NFC", _UNSEEN.sub("", _BREAKS.sub(" ", text)))


def is_blank(text: str) -> bool:
    """Whether a text has nothing but punctuation, white space and invisible characters."""
    return not any(char.isalnum() or unicodedata.category(char)[0] not in "PZC" for char in text)


def one_line(text: str, limit: int = 400) -> str:
    """Text that is safe to print on one line: control characters are escaped and the length is bounded."""
    cut = text if len(text) <= limit else text[: limit - 3] + "..."
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in cut)
