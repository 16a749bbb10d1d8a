"""Hugging Face `tokenizer.json`, read with the `tokenizers` package: the same ids as in trainers."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, ClassVar

from tokenizers import Tokenizer as Library

from rt2data.errors import UsageError
from rt2data.io import location
from rt2data.io.location import path_of
from rt2data.render.tokenizer import CONFIG, RESERVED, Ids, Tokenizer, TokenizerKind, no_such_id, not_unicode, read_model

# Used only if neither the file nor the tokenizer_config.json next to it names the begin, end or pad token.
_COMMON_NAMES: Mapping[str, tuple[str, ...]] = {
    "bos": ("<s>", "<bos>", "<|begin_of_text|>", "[CLS]"),
    "eos": ("</s>", "<eos>", "<|end_of_text|>", "<|endoftext|>", "[SEP]"),
    "pad": ("<pad>", "[PAD]", "<|pad|>"),
}


@dataclass(frozen=True, eq=False)
class HFTokenizer(Tokenizer):
    """A `tokenizer.json`."""

    kind: ClassVar[TokenizerKind] = "hf"
    lib: Any = field(default=None, repr=False)
    marks: tuple[str, ...] = ()  # control tokens allowed in text

    def encode_batch(self, texts: Sequence[str]) -> list[Ids]:
        try:
            return [found.ids for found in self.lib.encode_batch(list(texts), add_special_tokens=False)]
        except TypeError:
            raise not_unicode(texts) from None

    def decode(self, ids: Sequence[int]) -> str:
        for i in ids:
            self.token(i)  # the library silently drops unknown ids
        text: str = self.lib.decode(list(ids), skip_special_tokens=False)
        return text

    def token(self, token_id: int) -> str:
        found: str | None = self.lib.id_to_token(token_id) if token_id >= 0 else None
        if found is None:
            raise no_such_id(self, token_id)
        return found

    def with_marks(self, marks: Sequence[str]) -> Tokenizer:
        """The same tokenizer, with those marks that the file calls special as tokens; otherwise they are plain characters."""
        special = {token.content for token in self.lib.get_added_tokens_decoder().values() if token.special}
        return _with_marks(self, found) if (found := tuple(mark for mark in marks if mark in special)) else self

    def __reduce__(self) -> tuple[Any, ...]:
        plain = super().__reduce__()
        return (_again, (plain, self.marks)) if self.marks else plain


@lru_cache(maxsize=4)
def _with_marks(tokenizer: HFTokenizer, marks: tuple[str, ...]) -> HFTokenizer:
    """The same file with the marks as ordinary tokens."""
    tree, wanted = json.loads(tokenizer.lib.to_str()), {*marks}
    for token in tree["added_tokens"]:
        token["special"] &= token["content"] not in wanted
    lib = Library.from_str(json.dumps(tree))
    lib.encode_special_tokens = True
    return replace(tokenizer, lib=lib, marks=marks)


def _again(plain: tuple[Any, ...], marks: tuple[str, ...]) -> Tokenizer:
    make, arguments = plain
    found: Tokenizer = make(*arguments)
    return found.with_marks(marks)


def hf_tokenizer(path: str, body: bytes) -> HFTokenizer:
    """The tokenizer with `tokenizer.json` content `body`, read from `path`. Raises UsageError if it is not such a file."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # one core per worker, and no warning after a fork
    try:
        lib = Library.from_buffer(body)
    except ValueError as fault:
        raise UsageError(f"not a tokenizer.json: {str(fault)[:200]}", where=path) from None
    lib.no_truncation()  # a file may carry its trainer's limits: a target must never be cut or padded
    lib.no_padding()
    lib.encode_special_tokens = True  # a control token's characters in a text stay characters
    bos, eos, pad = _ends(lib, path)
    return HFTokenizer(
        name="/".join(path_of(path).parts[-2:]),
        vocab_size=lib.get_vocab_size(with_added_tokens=False),
        sha256=hashlib.sha256(body).hexdigest(),
        special_ids=_special_ids(lib) | {i for i in (bos, eos, pad) if i is not None},
        bos_id=bos,
        eos_id=eos,
        pad_id=next(i for i in (pad, eos, 0) if i is not None),
        path=path,
        lib=lib,
    )


def _special_ids(lib: Library) -> frozenset[int]:
    """Added tokens marked special, the unknown token, and reserved names anywhere in the vocabulary."""
    special = {i for i, token in lib.get_added_tokens_decoder().items() if token.special}
    reserved = {i for token, i in lib.get_vocab(with_added_tokens=True).items() if RESERVED.fullmatch(token)}
    unknown = lib.token_to_id(getattr(lib.model, "unk_token", None) or "")
    return frozenset(special | reserved | ({unknown} if unknown is not None else set()))


def _ends(lib: Library, path: str) -> tuple[int | None, int | None, int | None]:
    """(begin, end, pad): what the file's own template adds, else what its configuration says, else common names.

    A configuration may name a begin token that is never written (`add_bos_token: false`, as GPT-2 and Qwen do), and it knows the
    end token that a base model's template omits.
    """
    before, after = _template_ends(lib)
    config = _config_beside(path)
    if before is None and config.get("add_bos_token") is not False:
        before = _named(lib, config, "bos")
    eos = _named(lib, config, "eos")
    return before, after if eos is None else eos, _named(lib, config, "pad")


def _template_ends(lib: Library) -> tuple[int | None, int | None]:
    """Ids that the post-processor adds before and after a text, if any."""
    plain = lib.encode("a", add_special_tokens=False).ids
    whole = lib.encode("a", add_special_tokens=True).ids
    start = next((i for i in range(len(whole)) if whole[i : i + len(plain)] == plain), 0)
    after = whole[start + len(plain) :]
    return (whole[0] if start else None), (after[0] if after else None)


def _named(lib: Library, config: Mapping[str, Any], role: str) -> int | None:
    said = config.get(f"{role}_token", _COMMON_NAMES[role])  # null in the configuration means that there is none
    said = said.get("content") if isinstance(said, dict) else said
    names = (said,) if isinstance(said, str) else tuple(said or ())
    return next((i for i in map(lib.token_to_id, names) if i is not None), None)


def _config_beside(path: str) -> dict[str, Any]:
    """`tokenizer_config.json` from the same folder, or an empty mapping."""
    beside = path_of(path).with_name(CONFIG)
    if not location.is_file(beside):
        return {}
    try:
        found = json.loads(read_model(str(beside)))
    except (ValueError, RecursionError):
        raise UsageError("not valid JSON", where=str(beside), do="fix or remove it") from None
    return found if isinstance(found, dict) else {}
