"""Action words: bins written as digits (RT-2) or as the last ids of the vocabulary (OpenVLA), and parsed back.

In `digits` the word of a bin is its decimal number, and an action is its words joined by spaces. In `last_n` bin b is the id
`vocab_size - 1 - b` (RT-1's bin b is OpenVLA's digit b + 1), and the text is whatever those ids decode to.

The space before an action is placed where vocabularies expect it: for `digits` it is part of the first number's token, for `last_n`
it belongs to the prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rt2data.errors import DataError, InternalError, UsageError
from rt2data.render.tokenizer import Ids, Tokenizer

TokenMap = Literal["digits", "last_n"]
WordRule = Literal["text", "ids"]
"""What must survive the round trip: `text`, for trainers that tokenize texts, or only the `ids`."""

BINS = 256
_NUMBERS = tuple(map(str, range(BINS)))
_BIN_OF = {number: b for b, number in enumerate(_NUMBERS)}
_NO_NUMBERS = "choose a tokenizer that writes and reads the numbers 0 to 255; `byte` does"
_NO_LAST_WORDS = "choose a codec that writes digits (rt2)"
_IDS_ONLY = ", or check `ids` alone if your trainer reads input_ids and never the text"


@dataclass(frozen=True)
class ActionWords:
    """Converts bins to words of one tokenizer, and back.

    `cue` is what every prompt of the template ends with, except its last space. Raises UsageError if `last_n` needs ids that the
    vocabulary lacks.
    """

    token_map: TokenMap
    tokenizer: Tokenizer
    cue: str = "A:"

    def __post_init__(self) -> None:
        if self.token_map == "last_n":
            _last_texts(self.tokenizer)  # looks up every id

    @property
    def before(self) -> str:
        """What precedes the words, as far as it belongs to the prompt: the cue, with its space for `last_n`."""
        return self.cue + (" " if self.token_map == "last_n" else "")

    @property
    def lead(self) -> str:
        """What separates `before` from the words: a space for `digits`."""
        return " " if self.token_map == "digits" else ""

    def spell(self, bins: NDArray[np.int32] | Sequence[Sequence[int]]) -> tuple[list[str], list[Ids]]:
        """Texts and ids of actions: N rows of bins, of any lengths. Raises InternalError for bins outside 0..255."""
        rows: list[list[int]] = bins.tolist() if isinstance(bins, np.ndarray) else [[*row] for row in bins]
        low, high = min(map(min, filter(None, rows)), default=0), max(map(max, filter(None, rows)), default=0)
        if low < 0 or high >= BINS:
            raise InternalError(f"bins outside 0..{BINS - 1}", where=f"{low}..{high}")
        return self._spell_digits(rows) if self.token_map == "digits" else self._spell_last(rows)

    def _spell_digits(self, rows: list[list[int]]) -> tuple[list[str], list[Ids]]:
        texts, pieces = _join(_NUMBERS, rows, " "), _digit_ids(self.tokenizer, self.cue)
        return texts, self.encode(texts) if pieces is None else _concat(pieces, rows)

    def _spell_last(self, rows: list[list[int]]) -> tuple[list[str], list[Ids]]:
        ids, pieces = _last_ids(self.tokenizer, rows), _last_texts(self.tokenizer)
        return [self.tokenizer.decode(each) for each in ids] if pieces is None else _join(pieces, rows, ""), ids

    def encode(self, texts: Sequence[str]) -> list[Ids]:
        """Ids of actions written as text, as tokenized after a prompt."""
        return self.tokenizer.encode_after(self.before, [self.lead + text for text in texts])

    def parse(self, target: str | Sequence[int]) -> list[int]:
        """Bins of one action, from its text or its ids. Raises DataError for anything that is not an action word."""
        if self.token_map == "digits":
            text = target if isinstance(target, str) else self.tokenizer.decode(target)
            return [_bin(_BIN_OF.get(word), word) for word in text.split()]
        ids = self.encode([target])[0] if isinstance(target, str) else target
        last = self.tokenizer.vocab_size - 1
        return [_bin(last - i if 0 <= last - i < BINS else None, i) for i in ids]


# Ids or text of each word on its own, if every action is just its words in a row; None if actions must be tokenized as a whole.
# Testing pairs is enough: a tokenizer that merges words merges neighbours.


@lru_cache(maxsize=32)
def _digit_ids(tokenizer: Tokenizer, cue: str) -> tuple[Ids, ...] | None:
    """Ids of the 256 numbers, each with a leading space; None if neighbours merge."""
    rows = action_pairs(8).tolist()
    pieces = tokenizer.encode_after(cue, [" " + number for number in _NUMBERS])
    whole = tokenizer.encode_after(cue, [" " + text for text in _join(_NUMBERS, rows, " ")])
    return tuple(pieces) if _concat(pieces, rows) == whole else None


@lru_cache(maxsize=32)
def _last_texts(tokenizer: Tokenizer) -> tuple[str, ...] | None:
    """Texts of the last 256 ids; None if neighbours merge. Raises UsageError if the vocabulary is smaller."""
    rows = action_pairs(8).tolist()
    try:
        pieces = [tokenizer.decode(each) for each in _last_ids(tokenizer, action_pairs(1).tolist())]
    except DataError as fault:
        raise UsageError(f"too few ids for `last_n`: {fault.what}", fault.where, _NO_LAST_WORDS) from None
    whole = [tokenizer.decode(each) for each in _last_ids(tokenizer, rows)]
    return tuple(pieces) if _join(pieces, rows, "") == whole else None


def _last_ids(tokenizer: Tokenizer, rows: list[list[int]]) -> list[Ids]:
    last = tokenizer.vocab_size - 1
    return [[last - b for b in row] for row in rows]


@lru_cache(maxsize=4)
def action_pairs(width: int) -> NDArray[np.int32]:
    """Actions int32[N, width] in which every ordered pair of bins occurs side by side.

    Windows of the de Bruijn sequence B(256, 2), built from its Lyndon words: a, then a b for every b > a.
    """
    if width == 1:
        return np.arange(BINS, dtype=np.int32)[:, None]
    lyndon = [np.append(a, np.stack([np.full(255 - a, a), np.arange(a + 1, 256)], 1)) for a in range(BINS)]
    cycle = np.resize(np.concatenate(lyndon), BINS * BINS + 2 * width)
    found = np.lib.stride_tricks.sliding_window_view(cycle, width)[: BINS * BINS : width - 1]
    return found.astype(np.int32)


@dataclass(frozen=True, slots=True)
class WordFault:
    """An action whose words do not survive the round trip."""

    bins: tuple[int, ...]
    ids: tuple[int, ...]
    text: str
    why: str

    def __str__(self) -> str:
        many = "s" if len(self.bins) > 1 else ""
        return f"bin{many} {_list(self.bins)} = id{many} {_list(self.ids)} {self.text[:40]!a} {self.why}"


def check_action_words(words: ActionWords, width: int, rule: WordRule = "text") -> None:
    """Refuse a tokenizer that loses action words of a codec with `width` bins. Raises UsageError naming them."""
    faults = word_faults(words, width, rule)
    if not faults:
        return
    advice = _NO_NUMBERS if words.token_map == "digits" else _NO_LAST_WORDS + (_IDS_ONLY if rule == "text" else "")
    first = "; ".join(map(str, faults[:3])) + ("; ..." if len(faults) > 3 else "")
    count = f"{len(faults)} of {BINS}" if len(faults[0].bins) == 1 else f"{len(faults)} combinations of"
    what = f"{count} action words of `{words.token_map}` do not survive this tokenizer: {first}"
    raise UsageError(what, words.tokenizer.path or words.tokenizer.name, advice)


@lru_cache(maxsize=32)
def word_faults(words: ActionWords, width: int, rule: WordRule = "text") -> list[WordFault]:
    """Faults of single words, or if there are none, of all pairs of words in actions of the codec's width.

    No word may contain a special token, and its ids must parse to its bins; with rule `text`, the text after a prompt must also
    give exactly the same ids.
    """
    alone = _faults(words, action_pairs(1), rule)
    return alone or _faults(words, action_pairs(width), rule)


def _faults(words: ActionWords, bins: NDArray[np.int32], rule: WordRule) -> list[WordFault]:
    texts, ids = words.spell(bins)
    heard = _heard(words, texts) if rule == "text" else ids
    return [
        WordFault(tuple(row), tuple(said), text, why)
        for row, text, said, back in zip(bins.tolist(), texts, ids, heard, strict=True)
        if (why := _why(words, row, said, back))
    ]


def _heard(words: ActionWords, texts: list[str]) -> list[Ids]:
    """Ids of each action within its full text, from where the ids differ from the prompt's own."""
    head = words.tokenizer.encode(words.before)
    joint = words.tokenizer.encode_batch([words.before + words.lead + text for text in texts])
    return [ids[_agreement(head, ids) :] for ids in joint]


def _agreement(head: Ids, ids: Ids) -> int:
    """Length of the common prefix."""
    return next((k for k, (a, b) in enumerate(zip(head, ids, strict=False)) if a != b), min(len(head), len(ids)))


def _why(words: ActionWords, row: list[int], said: Ids, heard: Ids) -> str:
    special = words.tokenizer.special_ids.intersection(said)
    if special:
        return f"is the special token {words.tokenizer.token(min(special))!r}"
    if said != heard:
        return f"reads back as ids {_list(heard)}"
    try:
        back = words.parse(said)
    except DataError as fault:
        return fault.what
    return "" if back == row else f"reads back as bins {_list(back)}"


def _list(found: Sequence[int]) -> str:
    return " ".join(map(str, found[:16])) or "(none)"


def _join(words: Sequence[str], rows: list[list[int]], gap: str) -> list[str]:
    return [gap.join([words[b] for b in row]) for row in rows]


def _concat(words: Sequence[Ids], rows: list[list[int]]) -> list[Ids]:
    return [[*chain.from_iterable([words[b] for b in row])] for row in rows]


def _bin(found: int | None, word: Any) -> int:
    if found is None:
        raise DataError(f"not an action word: {word!r}")
    return found
