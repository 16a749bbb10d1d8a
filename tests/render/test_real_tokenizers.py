"""The tokenizers people train with, where RT2DATA_TOKENIZERS names a folder with tokenizer.json and .model files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rt2data.render.action_tokens import ActionWords, action_pairs, word_faults
from rt2data.render.templates import TEMPLATES
from rt2data.render.tokenizer import Tokenizer, load_tokenizer

FOLDER = os.environ.get("RT2DATA_TOKENIZERS", "")
FILES = sorted(path for path in Path(FOLDER).rglob("*") if path.name == "tokenizer.json" or ".model" in path.name)
FILES = FILES if FOLDER else []

# Words of `last_n` that a text loses, by the start of the file's sha256.
LOST = {
    "dadfd56d766715c6": 0,  # Mistral 7B's first: SentencePiece, 32000 ids
    "c05a3c2174e9edd5": 123,  # Llama 3: 3 are parts of characters, the others melt into the space before them
    "aeb13307a71acd8f": 223,  # Qwen 3: 11 are parts of characters or normalised, the others melt into the space
    "d0d908b4f9326e09": 2,  # Gemma: an image slot and `[toxicity=0]`; its runs of tabs melt into each other, besides
    "7da53ca29fb16f6b": 2,  # Gemma, other names
    "4667f2089529e8e7": 0,  # Gemma 3: ids that were left unused
}

pytestmark = pytest.mark.skipif(not FILES, reason="RT2DATA_TOKENIZERS names no folder with tokenizers")


@pytest.fixture(scope="module", params=FILES, ids=lambda path: "/".join(path.parts[-3:]))
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    path: Path = request.param
    return load_tokenizer("hf" if path.suffix == ".json" else "sentencepiece", str(path))


def test_digits_survive(tokenizer: Tokenizer) -> None:
    assert word_faults(ActionWords("digits", tokenizer, "A:"), 8) == []


def test_last_ids_are_lost_as_known(tokenizer: Tokenizer) -> None:
    if tokenizer.sha256[:16] not in LOST:
        pytest.skip(f"nothing known of {tokenizer.sha256[:16]}")
    assert len(word_faults(ActionWords("last_n", tokenizer, "Out:"), 7)) == LOST[tokenizer.sha256[:16]]


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
def test_ids_are_those_of_the_whole_text(tokenizer: Tokenizer, template) -> None:  # type: ignore[no-untyped-def]
    words = ActionWords("digits", tokenizer, template.before_action)
    texts, ids = words.spell(action_pairs(8)[:50])
    prompt = template.robot_prompt("put the red_cup on the 2nd shelf.")
    if template.action_cue:
        prompt += f" Plan: go. {template.action_cue}"
    for text, target in zip(texts, ids, strict=True):
        assert tokenizer.encode(prompt.rstrip()) + target == tokenizer.encode(prompt + template.gap + text)
