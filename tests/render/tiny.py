"""Small tokenizers, good and bad, made on the spot."""

from __future__ import annotations

import io
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import sentencepiece
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from rt2data.render.tokenizer import Tokenizer as OurTokenizer
from rt2data.render.tokenizer import load_tokenizer

CORPUS = [
    f"Q: what action should the robot take to {verb} the {thing} {n}? A: {n} yes no\nIn: What Out: "
    for verb in ("pick", "push")
    for thing in ("red cup", "blauer Würfel", "立方体")
    for n in range(256)
]
LAST = tuple(chr(0x4E00 + i) for i in range(256))


@lru_cache
def byte_level_bpe() -> str:
    """As GPT-2, Llama 3 and Qwen make theirs."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    specials = ["<|endoftext|>", "<|im_end|>", "<loc0001>"]
    trainer = trainers.BpeTrainer(vocab_size=700, initial_alphabet=alphabet, special_tokens=specials, show_progress=False)
    made.train_from_iterator(CORPUS, trainer)
    return str(made.to_str())


def llama_like(last: tuple[str, ...] = LAST, merges: tuple[tuple[str, str], ...] = (), dropped: str = "") -> str:
    """As Llama 2 makes its own: bytes where a character is unknown, `▁` for a space, the last 256 ids given."""
    joined = [a + b for a, b in merges]
    letters = sorted({*"▁\n", *map(chr, range(33, 127))} - set(last))
    names = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *letters, *joined, *last]
    vocab = {name: i for i, name in enumerate(names)}
    made = Tokenizer(models.BPE(vocab, list(merges), unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    made.normalizer = normalizers.Sequence([normalizers.Replace(dropped or "\x00", ""), normalizers.Replace(" ", "▁")])
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    made.add_special_tokens([AddedToken(name, special=True) for name in ("<unk>", "<s>", "</s>")])
    made.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)])
    return str(made.to_str())


def number_words(numbers: range) -> str:
    """A vocabulary of whole words, with those numbers."""
    words = ["[UNK]", "A:", "Out:", *map(str, numbers)]
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return str(made.to_str())


@lru_cache
def sentencepiece_model(kind: str = "bpe", size: int = 700) -> bytes:
    """As Llama 2, T5 and Gemma train theirs."""
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS),
        model_writer=out,
        vocab_size=size,
        model_type=kind,
        byte_fallback=True,
        split_digits=True,
        hard_vocab_limit=False,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        user_defined_symbols=["<loc0000>"],
        minloglevel=2,
    )
    return out.getvalue()


def hf(folder: Path, text: str, config: dict[str, Any] | None = None) -> OurTokenizer:
    """Written to disk and loaded."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(text, encoding="utf-8")
    if config is not None:
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return load_tokenizer("hf", str(folder / "tokenizer.json"))


def spm(folder: Path, body: bytes) -> OurTokenizer:
    """Written to disk and loaded."""
    (folder / "tiny.model").write_bytes(body)
    return load_tokenizer("sentencepiece", str(folder / "tiny.model"))


def kinds(folder: Path) -> dict[str, OurTokenizer]:
    """One good tokenizer of every kind."""
    return {
        "byte": load_tokenizer("byte"),
        "byte level": hf(folder / "byte-level", byte_level_bpe()),
        "llama": hf(folder / "llama", llama_like()),
        "sentencepiece": spm(folder, sentencepiece_model()),
        "unigram": load_tokenizer("sentencepiece", _write(folder / "unigram.model", sentencepiece_model("unigram"))),
    }


def _write(path: Path, body: bytes) -> str:
    path.write_bytes(body)
    return str(path)
