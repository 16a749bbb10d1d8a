"""Every action word comes back from its ids and from its text, or the build is refused by name."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rt2data.errors import DataError, InternalError, UsageError
from rt2data.render.action_tokens import ActionWords, action_pairs, check_action_words, word_faults
from rt2data.render.tokenizer import Tokenizer, load_tokenizer
from tests.laws import tries
from tests.render import tiny

ACTIONS = st.lists(st.lists(st.integers(0, 255), min_size=7, max_size=7), min_size=1, max_size=4)
BYTE = load_tokenizer("byte")


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tokenizer]:
    return tiny.kinds(tmp_path_factory.mktemp("tokenizers"))


def row(*bins: int) -> np.ndarray:
    return np.array([bins], np.int32)


def test_digits_are_rt2s_string() -> None:
    texts, ids = ActionWords("digits", BYTE).spell(row(1, 128, 91, 241, 5, 101, 127, 255))
    assert texts == ["1 128 91 241 5 101 127 255"]
    assert ids == [[byte + 3 for byte in b" 1 128 91 241 5 101 127 255"]]


def test_last_n_is_openvlas_id(kinds: dict[str, Tokenizer]) -> None:
    """OpenVLA writes digit d = bin + 1 as id vocab_size - d: of 32000, 31872 is zero and 31744 is one."""
    llama = kinds["llama"]
    texts, ids = ActionWords("last_n", llama, "Out:").spell(row(0, 127, 255))
    assert [llama.vocab_size - i for i in ids[0]] == [1, 128, 256]
    assert texts == [tiny.LAST[255] + tiny.LAST[128] + tiny.LAST[0]]


@tries(30)
@given(ACTIONS)
def test_actions_come_back(kinds: dict[str, Tokenizer], actions: list[list[int]]) -> None:
    for tokenizer in kinds.values():
        words = ActionWords("digits", tokenizer)
        texts, ids = words.spell(np.array(actions, np.int32))
        assert [words.parse(text) for text in texts] == actions
        assert [words.parse(each) for each in ids] == actions
        assert ids == words.encode(texts)


@tries(30)
@given(ACTIONS)
def test_last_ids_come_back(kinds: dict[str, Tokenizer], actions: list[list[int]]) -> None:
    for name in ("llama", "byte level"):
        words = ActionWords("last_n", kinds[name], "Out:")
        texts, ids = words.spell(np.array(actions, np.int32))
        assert texts == [kinds[name].decode(each) for each in ids]
        assert [words.parse(each) for each in ids] == actions
        assert [words.parse(text) for text in texts] == actions


def test_tokens_across_two_numbers_are_found(tmp_path: Path) -> None:
    tokenizer = tiny.hf(tmp_path, tiny.llama_like(merges=(("1", "▁"),)))
    words = ActionWords("digits", tokenizer)
    _, ids = words.spell(row(1, 21, 5))
    assert ids == [tokenizer.encode("A: 1 21 5")[2:]]  # one token `1▁`, which no word has by itself
    assert "1▁" in [tokenizer.token(i) for i in ids[0]]
    check_action_words(words, 8)


@pytest.mark.parametrize("width", [1, 2, 7, 8, 56])
def test_every_pair_stands_in_some_action(width: int) -> None:
    found = action_pairs(width)
    assert found.shape[1] == width
    pairs = {pair for each in found.tolist() for pair in pairwise(each)}
    assert len(pairs) == (256 * 256 if width > 1 else 0)
    assert np.array_equal(np.unique(found), np.arange(256))


@pytest.mark.parametrize("name", ["byte", "byte level", "llama", "sentencepiece", "unigram"])
def test_digits_survive_everywhere(kinds: dict[str, Tokenizer], name: str) -> None:
    check_action_words(ActionWords("digits", kinds[name]), 8)


@pytest.mark.parametrize("name", ["byte level", "llama"])
def test_rare_last_tokens_survive(kinds: dict[str, Tokenizer], name: str) -> None:
    check_action_words(ActionWords("last_n", kinds[name], "Out:"), 7)


def with_last(place: int, *tokens: str) -> tuple[str, ...]:
    """The last 256 tokens with some replaced; bin 255 - place is the first of these."""
    return tiny.LAST[:place] + tokens + tiny.LAST[place + len(tokens) :]


def test_a_character_that_is_normalised_away_is_refused(tmp_path: Path) -> None:
    """What Llama 2's U+202D does to OpenVLA."""
    tokenizer = tiny.hf(tmp_path, tiny.llama_like(with_last(137, "\u202d"), dropped="\u202d"))
    words = ActionWords("last_n", tokenizer, "Out:")
    with pytest.raises(UsageError) as refused:
        check_action_words(words, 7)
    assert "1 of 256" in refused.value.what
    assert rf"bin 118 = id {tokenizer.vocab_size - 119} '\u202d' reads back as ids (none)" in refused.value.what
    assert refused.value.where.endswith("tokenizer.json")
    assert "rt2" in refused.value.do and "`ids`" in refused.value.do
    check_action_words(words, 7, "ids")


@pytest.mark.parametrize("rule", ["text", "ids"])
@pytest.mark.parametrize("token", ["<loc0003>", "<seg127>", "<image>", "<start_of_image>"])
def test_special_tokens_are_refused_by_both_rules(tmp_path: Path, token: str, rule: str) -> None:
    tokenizer = tiny.hf(tmp_path, tiny.llama_like(with_last(255, token)))
    (fault,) = word_faults(ActionWords("last_n", tokenizer, "Out:"), 7, rule)  # type: ignore[arg-type]
    assert fault.bins == (0,)
    assert "special token" in fault.why and token in fault.why


def test_words_that_melt_into_the_prompts_space_are_refused(tmp_path: Path) -> None:
    """Most of Qwen's last tokens do."""
    tokenizer = tiny.hf(tmp_path, tiny.llama_like(merges=(("▁", tiny.LAST[250]),)))
    faults = word_faults(ActionWords("last_n", tokenizer, "Out:"), 7)
    assert [fault.bins for fault in faults] == [(5,)]


def test_words_that_melt_into_each_other_are_refused(tmp_path: Path) -> None:
    tokenizer = tiny.hf(tmp_path, tiny.llama_like(merges=((tiny.LAST[7], tiny.LAST[9]),)))
    faults = word_faults(ActionWords("last_n", tokenizer, "Out:"), 7)
    assert len(faults) == 1 and (248, 246) in pairwise(faults[0].bins)
    with pytest.raises(UsageError, match="1 combinations of action words"):
        check_action_words(ActionWords("last_n", tokenizer, "Out:"), 7)


def test_a_vocabulary_without_a_number_is_refused(tmp_path: Path) -> None:
    tokenizer = tiny.hf(tmp_path, tiny.number_words(range(255)))
    with pytest.raises(UsageError, match=r"1 of 256 .* bin 255 = id 0 '255' is the special token '\[UNK\]'"):
        check_action_words(ActionWords("digits", tokenizer), 8)


def test_whole_numbers_as_words_survive(tmp_path: Path) -> None:
    words = ActionWords("digits", tiny.hf(tmp_path, tiny.number_words(range(256))))
    check_action_words(words, 8)
    assert words.spell(row(0, 255))[1] == [[3, 258]]


def test_a_small_vocabulary_has_no_last_words(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="too few ids"):
        ActionWords("last_n", tiny.hf(tmp_path, tiny.number_words(range(10))))


def test_bytes_are_no_text() -> None:
    faults = word_faults(ActionWords("last_n", BYTE), 7)
    assert [fault.bins for fault in faults] == [(b,) for b in range(128)]  # bytes 255 to 128
    assert word_faults(ActionWords("last_n", BYTE), 7, "ids") == []


@pytest.mark.parametrize("text", ["256", "-1", "01", "1 x", "1,2", "１"])
def test_what_is_no_number_is_not_parsed(text: str) -> None:
    with pytest.raises(DataError, match="not an action word"):
        ActionWords("digits", BYTE).parse(text)


def test_what_is_no_last_id_is_not_parsed(kinds: dict[str, Tokenizer]) -> None:
    words = ActionWords("last_n", kinds["llama"], "Out:")
    for wrong in ([kinds["llama"].vocab_size], [kinds["llama"].vocab_size - 257], "abc"):
        with pytest.raises(DataError, match="not an action word"):
            words.parse(wrong)


@pytest.mark.parametrize("bins", [(-1, 0), (0, 256)])
def test_bins_outside_are_a_bug(bins: tuple[int, ...]) -> None:
    with pytest.raises(InternalError, match="bins outside"):
        ActionWords("digits", BYTE).spell(row(*bins))
