"""SentencePiece `.model` files, read with the `sentencepiece` package."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, ClassVar

from sentencepiece import SentencePieceProcessor

from rt2data.errors import UsageError
from rt2data.io.location import path_of
from rt2data.render.tokenizer import RESERVED, Ids, Tokenizer, TokenizerKind, not_unicode, within


@dataclass(frozen=True, eq=False)
class SentencePieceTokenizer(Tokenizer):
    """A `.model`."""

    kind: ClassVar[TokenizerKind] = "sentencepiece"
    lib: Any = field(default=None, repr=False)

    def encode_batch(self, texts: Sequence[str]) -> list[Ids]:
        try:
            found: list[Ids] = self.lib.encode(list(texts), out_type=int, num_threads=1)
        except (TypeError, RuntimeError):
            raise not_unicode(texts) from None
        return found

    def decode(self, ids: Sequence[int]) -> str:
        known = within(self, ids)
        if self.special_ids.isdisjoint(known):
            return str(self.lib.decode(known))
        return "".join(self._spelled(known))

    def _spelled(self, ids: Sequence[int]) -> Iterator[str]:
        """Stretches of text, with control tokens by name between them: the library silently drops those."""
        for special, group in groupby(ids, self.special_ids.__contains__):
            stretch = list(group)
            yield "".join(map(self.token, stretch)) if special else self.lib.decode(stretch)

    def token(self, token_id: int) -> str:
        return str(self.lib.id_to_piece(within(self, [token_id])[0]))


def sentencepiece_tokenizer(path: str, body: bytes) -> SentencePieceTokenizer:
    """The tokenizer with model content `body`, read from `path`. Raises UsageError if it is not such a file."""
    lib = _processor(path, body)
    size = lib.vocab_size()
    bos, eos, pad = (i if i >= 0 else None for i in (lib.bos_id(), lib.eos_id(), lib.pad_id()))
    return SentencePieceTokenizer(
        name="/".join(path_of(path).parts[-2:]),
        vocab_size=size,
        sha256=hashlib.sha256(body).hexdigest(),
        special_ids=frozenset(i for i in range(size) if _is_special(lib, i)),
        bos_id=bos,
        eos_id=eos,
        pad_id=next(i for i in (pad, eos, 0) if i is not None),
        path=path,
        lib=lib,
    )


def _processor(path: str, body: bytes) -> Any:
    try:
        lib = SentencePieceProcessor(model_proto=body)
    except RuntimeError:
        raise UsageError("not a SentencePiece model", where=path, do="give the .model file") from None
    if lib.vocab_size() == 0:  # the library accepts an empty file as an empty model
        raise UsageError("an empty SentencePiece model", where=path, do="give the .model file")
    return lib


def _is_special(lib: Any, i: int) -> bool:
    return bool(lib.is_control(i) or lib.is_unknown(i) or RESERVED.fullmatch(lib.id_to_piece(i)))
