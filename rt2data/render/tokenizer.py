"""One interface for three tokenizers: bytes (built in), a Hugging Face `tokenizer.json`, a SentencePiece `.model`.

Files are read from disk and never downloaded. Text never becomes a control token: `</s>` in a question stays four characters.
"""

from __future__ import annotations

import functools
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

from rt2data.errors import DataError, SourceChangedError, UsageError
from rt2data.io import location
from rt2data.io.location import path_of
from rt2data.io.location.base import Stat
from rt2data.io.words import choose

TokenizerKind = Literal["byte", "hf", "sentencepiece"]
Ids = list[int]

MAX_FILE_BYTES = 512 << 20
CONFIG = "tokenizer_config.json"
"""A file next to tokenizer.json that names the begin, end and pad tokens."""
_BUILDERS = {  # imported on demand
    "hf": ("rt2data.render.tokenizer_hf", "hf_tokenizer"),
    "sentencepiece": ("rt2data.render.tokenizer_spm", "sentencepiece_tokenizer"),
}
RESERVED = re.compile(r"<(loc|seg)\d+>|<\|?(start_of_|end_of_)?(image|video|audio)[a-z_]*\|?>")
"""Tokens with a special meaning in vision-language vocabularies (PaliGemma's boxes and masks, image slots)."""


@dataclass(frozen=True, eq=False)
class Tokenizer(ABC):
    """Text to ids and back. Pickles as its path: another process reads the file again and notices if it changed."""

    name: str
    vocab_size: int  # of the base vocabulary, from which `last_n` counts down; added tokens are above it
    sha256: str  # of the file; a fixed word for the built-in tokenizer
    special_ids: frozenset[int]  # ids that must never stand for an action or a word
    bos_id: int | None
    eos_id: int | None
    pad_id: int  # the end token if the vocabulary has no pad token, 0 if it has neither
    path: str | None = None

    kind: ClassVar[TokenizerKind]

    @abstractmethod
    def encode_batch(self, texts: Sequence[str]) -> list[Ids]:
        """Ids of each text, without begin or end tokens.

        Raises DataError for text that is not valid Unicode (a lone surrogate).
        """

    @abstractmethod
    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids; special tokens are spelled out, never skipped. Raises DataError for an id that the vocabulary lacks."""

    @abstractmethod
    def token(self, token_id: int) -> str:
        """The vocabulary's own spelling of one id. Raises DataError for an id that the vocabulary lacks."""

    def encode(self, text: str) -> Ids:
        """Ids of one text, without begin or end tokens."""
        return self.encode_batch([text])[0]

    def encode_after(self, before: str, texts: Sequence[str]) -> list[Ids]:
        """Ids of each text as it is tokenized after `before`.

        Vocabularies merge a leading space into the word, and some add one at the start of a text, so a target on its own has other
        ids than after its prompt. If the first characters merge into the last token of `before`, the text is encoded on its own.
        """
        head = self.encode(before)
        joint = self.encode_batch([before + text for text in texts])
        return [ids[len(head) :] if ids[: len(head)] == head else self.encode(text) for ids, text in zip(joint, texts, strict=True)]

    def with_marks(self, marks: Sequence[str]) -> Tokenizer:
        """The same tokenizer, but these marks in a text become the tokens with that name, if the vocabulary has them."""
        return self

    def identity(self) -> dict[str, Any]:
        """Everything that determines the ids, as JSON values; not the location of the file."""
        return {
            "kind": self.kind,
            "sha256": self.sha256,
            "vocab_size": self.vocab_size,
            "bos_id": self.bos_id,
            "eos_id": self.eos_id,
            "pad_id": self.pad_id,
        }

    def __reduce__(self) -> tuple[Any, ...]:
        return _reload, (self.kind, self.path, tuple(self.identity().items()))


def load_tokenizer(kind: TokenizerKind, path: str | None = None) -> Tokenizer:
    """Read a tokenizer; cached per process while its file does not change.

    Raises UsageError if `kind` is unknown, or the file is missing, too large or not of that kind.
    """
    if kind == "byte":
        return _BYTE
    if kind not in get_args(TokenizerKind):
        raise UsageError(f"unknown tokenizer kind {kind!r}", do=choose(kind, get_args(TokenizerKind)))
    if path is None:
        raise UsageError(f"tokenizer kind {kind!r} needs a path", do="give the path of its file")
    return _load(kind, path, _state(path_of(path)), _state(path_of(path).parent / CONFIG))


@functools.lru_cache(maxsize=4)
def _load(kind: TokenizerKind, path: str, *_states: Stat | None) -> Tokenizer:
    module, name = _BUILDERS[kind]
    found: Tokenizer = getattr(import_module(module), name)(path, read_model(path))
    return found


def _state(path: Path) -> Stat | None:
    """The file's state, which changes when the file does; None if there is no file."""
    try:
        return location.stat(path)
    except OSError:
        return None


def read_model(path: str) -> bytes:
    """The bytes of a tokenizer file. Raises UsageError if it is missing, too large, or cannot be read."""
    if not location.is_file(path):
        cache = Path(os.environ.get("HF_HOME", "~/.cache/huggingface")) / "hub"
        advice = f"nothing is downloaded: give a file's path; copies from the hub may be under {cache}"
        raise UsageError("no such tokenizer file", where=path, do=advice)
    if location.stat(path).size > MAX_FILE_BYTES:
        raise UsageError(f"a tokenizer file above {MAX_FILE_BYTES >> 20} MiB", where=path)
    try:
        return location.read_bytes(path)
    except OSError as fault:
        raise UsageError(f"the tokenizer file cannot be read: {fault.strerror}", where=path) from None


def _reload(kind: TokenizerKind, path: str | None, identity: tuple[tuple[str, Any], ...]) -> Tokenizer:
    found = load_tokenizer(kind, path)
    if tuple(found.identity().items()) != identity:
        raise SourceChangedError("the tokenizer changed since the plan was made", where=path or kind, do="plan again")
    return found


_BYTE_NAMES = ("<pad>", "</s>", "<unk>")
_BYTES = (*(name.encode() for name in _BYTE_NAMES), *(bytes([byte]) for byte in range(256)))
_SHIFT = bytes((byte + 3) % 256 for byte in range(256))  # UTF-8 has no byte above 0xF4: the sum never wraps


@dataclass(frozen=True, eq=False)
class ByteTokenizer(Tokenizer):
    """ByT5's ids (arXiv:2105.13626): byte + 3; pad 0, end 1, unknown 2.

    259 ids are real. ByT5's checkpoints say 384: the other 125 are pre-training sentinels, which no text produces.
    """

    name: str = "byte"
    vocab_size: int = 259
    sha256: str = "rt2data-byte-1"
    special_ids: frozenset[int] = frozenset({0, 1, 2})
    bos_id: int | None = None
    eos_id: int | None = 1
    pad_id: int = 0

    kind: ClassVar[TokenizerKind] = "byte"

    def encode_batch(self, texts: Sequence[str]) -> list[Ids]:
        try:
            return [list(text.encode().translate(_SHIFT)) for text in texts]
        except UnicodeEncodeError:
            raise not_unicode(texts) from None

    def decode(self, ids: Sequence[int]) -> str:
        """Bytes that are not valid UTF-8 become U+FFFD."""
        return b"".join([_BYTES[i] for i in within(self, ids)]).decode(errors="replace")

    def token(self, token_id: int) -> str:
        (known,) = within(self, [token_id])
        return _BYTE_NAMES[known] if known < 3 else f"<0x{known - 3:02X}>"


_BYTE = ByteTokenizer()


def within(tokenizer: Tokenizer, ids: Sequence[int]) -> list[int]:
    """The ids, if all are in the vocabulary. Raises DataError otherwise."""
    known = list(ids)
    if known and not (min(known) >= 0 and max(known) < tokenizer.vocab_size):
        raise no_such_id(tokenizer, next(i for i in known if not 0 <= i < tokenizer.vocab_size))
    return known


def no_such_id(tokenizer: Tokenizer, token_id: int) -> DataError:
    """The error for an id outside the vocabulary."""
    return DataError(f"id {token_id} is not in the vocabulary", where=tokenizer.name)


def not_unicode(texts: Sequence[str]) -> DataError:
    """The error for the first text with a lone surrogate, which no encoder accepts."""
    bad = next((text for text in texts if any("\ud800" <= char <= "\udfff" for char in text)), "")
    return DataError("text is not valid Unicode", where=ascii(bad[:80]), do="reject or mend it in the source")
