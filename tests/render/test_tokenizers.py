"""One interface: ids of the library, nothing cut, nothing skipped, no control token out of a text, no network."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer as Library

from rt2data.errors import DataError, SourceChangedError, UsageError
from rt2data.render.tokenizer import Tokenizer, load_tokenizer
from tests.laws import tries
from tests.render import tiny

TEXTS = st.text(st.characters(codec="utf-8"), max_size=40)


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tokenizer]:
    return tiny.kinds(tmp_path_factory.mktemp("tokenizers"))


def test_byte_ids_are_byt5s() -> None:
    byte = load_tokenizer("byte")
    assert byte.encode("A é\n") == [65 + 3, 32 + 3, 0xC3 + 3, 0xA9 + 3, 10 + 3]
    assert (byte.pad_id, byte.eos_id, byte.bos_id, byte.vocab_size) == (0, 1, None, 259)


@tries(50)
@given(TEXTS)
def test_byte_text_comes_back(text: str) -> None:
    byte = load_tokenizer("byte")
    ids = byte.encode(text)
    assert byte.decode(ids) == text
    assert byte.special_ids.isdisjoint(ids)
    assert len(ids) == len(text.encode())


@tries(30)
@given(st.lists(TEXTS, min_size=1, max_size=5))
def test_a_batch_is_its_texts_one_by_one(kinds: dict[str, Tokenizer], texts: list[str]) -> None:
    for tokenizer in kinds.values():
        assert tokenizer.encode_batch(texts) == [tokenizer.encode(text) for text in texts]


@tries(50)
@given(TEXTS)
def test_plain_text_comes_back(kinds: dict[str, Tokenizer], text: str) -> None:
    for name in ("byte level", "llama"):
        assert kinds[name].decode(kinds[name].encode(text.replace("\x00", ""))) == text.replace("\x00", "")


def test_control_tokens_in_a_text_are_characters(kinds: dict[str, Tokenizer]) -> None:
    text = "is </s> or <s> or <|im_end|> or <pad> or <unk> written here?"
    for tokenizer in kinds.values():
        ids = tokenizer.encode(text)
        assert tokenizer.special_ids.isdisjoint(ids)
        assert tokenizer.decode(ids).strip() == text


def test_decode_spells_control_tokens(kinds: dict[str, Tokenizer]) -> None:
    for tokenizer in kinds.values():
        assert tokenizer.eos_id is not None
        end = tokenizer.token(tokenizer.eos_id)
        ids = [tokenizer.eos_id, *tokenizer.encode("yes"), tokenizer.eos_id]
        assert tokenizer.decode(ids).replace(" ", "") == f"{end}yes{end}"


@pytest.mark.parametrize("token_id", [-1, 10_000_000])
def test_unknown_ids_are_refused(kinds: dict[str, Tokenizer], token_id: int) -> None:
    for tokenizer in kinds.values():
        for read in (tokenizer.token, lambda i, t=tokenizer: t.decode([i])):
            with pytest.raises(DataError, match="not in the vocabulary"):
                read(token_id)


def test_lone_surrogates_are_refused_by_name(kinds: dict[str, Tokenizer]) -> None:
    for tokenizer in kinds.values():
        with pytest.raises(DataError, match=r"not valid Unicode .*broken.ud800"):
            tokenizer.encode_batch(["whole", "broken\ud800"])


def test_ids_behind_a_prompt_are_those_of_the_joint_text(kinds: dict[str, Tokenizer]) -> None:
    for tokenizer in kinds.values():
        (ids,) = tokenizer.encode_after("Q: what? A:", [" 1 128 255"])
        assert tokenizer.encode("Q: what? A:") + ids == tokenizer.encode("Q: what? A: 1 128 255")


def test_text_that_merges_into_the_prompt_is_encoded_alone(tmp_path: Path) -> None:
    tokenizer = tiny.hf(tmp_path, tiny.llama_like(merges=((":", "x"),)))
    assert tokenizer.encode_after("A:", ["x"]) == [tokenizer.encode("x")]


def test_limits_of_a_file_are_lifted(tmp_path: Path) -> None:
    library = Library.from_str(tiny.byte_level_bpe())
    library.enable_truncation(4)
    library.enable_padding(length=64)
    tokenizer = tiny.hf(tmp_path, library.to_str())
    text = "what action should the robot take to pick the red cup?"
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_ends_come_from_the_files_own_template(kinds: dict[str, Tokenizer]) -> None:
    assert (kinds["llama"].bos_id, kinds["llama"].eos_id, kinds["llama"].pad_id) == (1, 2, 2)
    assert (kinds["byte level"].bos_id, kinds["byte level"].eos_id) == (None, 0)


def test_ends_come_from_the_configuration_beside(tmp_path: Path) -> None:
    config = {"eos_token": {"content": "<|im_end|>"}, "pad_token": "<|endoftext|>", "bos_token": "<|endoftext|>"}
    said = tiny.hf(tmp_path / "a", tiny.byte_level_bpe(), config)
    assert (said.bos_id, said.eos_id, said.pad_id) == (0, 1, 0)
    unsaid = tiny.hf(tmp_path / "b", tiny.byte_level_bpe(), config | {"add_bos_token": False})
    assert unsaid.bos_id is None
    assert said.sha256 == unsaid.sha256 and said.identity() != unsaid.identity()


def test_reserved_tokens_are_special_whatever_the_file_says(kinds: dict[str, Tokenizer]) -> None:
    assert "<loc0001>" in {kinds["byte level"].token(i) for i in kinds["byte level"].special_ids}
    assert "<loc0000>" in {kinds["sentencepiece"].token(i) for i in kinds["sentencepiece"].special_ids}


def test_identity_does_not_tell_where_the_file_lies(tmp_path: Path) -> None:
    one, two = (tiny.hf(tmp_path / name, tiny.byte_level_bpe()) for name in ("one", "two"))
    assert one.identity() == two.identity()


def test_pickles_as_a_path(kinds: dict[str, Tokenizer]) -> None:
    for tokenizer in kinds.values():
        packed = pickle.dumps(tokenizer)
        assert len(packed) < 1000
        assert pickle.loads(packed).encode("pick it up") == tokenizer.encode("pick it up")


def test_a_changed_file_is_noticed_by_the_next_process(tmp_path: Path) -> None:
    packed = pickle.dumps(tiny.hf(tmp_path, tiny.byte_level_bpe()))
    (tmp_path / "tokenizer.json").write_text(tiny.llama_like(), encoding="utf-8")
    with pytest.raises(SourceChangedError, match="tokenizer changed"):
        pickle.loads(packed)


def test_the_same_file_is_read_once(tmp_path: Path) -> None:
    one = tiny.hf(tmp_path, tiny.byte_level_bpe())
    assert one.path is not None and load_tokenizer("hf", one.path) is one


@pytest.mark.parametrize("kind", ["hf", "sentencepiece"])
@pytest.mark.parametrize("body", [b"", b"{}", b"\x00\xff junk", b'{"version": "1.0", "model": {"type": "None"}}'])
def test_wrong_files_are_refused_with_their_path(tmp_path: Path, kind: str, body: bytes) -> None:
    path = tmp_path / "wrong.bin"
    path.write_bytes(body)
    with pytest.raises(UsageError, match=r"wrong\.bin"):
        load_tokenizer(kind, str(path))  # type: ignore[arg-type]


def test_missing_files_are_never_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    with pytest.raises(UsageError, match=rf"meta-llama/Llama-2-7b.*nothing is downloaded.*{tmp_path}/cache/hub"):
        load_tokenizer("hf", "meta-llama/Llama-2-7b")


def test_a_folder_or_a_device_is_no_tokenizer(tmp_path: Path) -> None:
    for path in (str(tmp_path), "/dev/zero", "/", ""):
        with pytest.raises(UsageError, match="no such tokenizer file"):
            load_tokenizer("sentencepiece", path)


def test_unknown_kinds_and_missing_paths() -> None:
    with pytest.raises(UsageError, match="choose one of byte, hf, sentencepiece"):
        load_tokenizer("bytes")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="needs a path"):
        load_tokenizer("hf")


def test_a_broken_configuration_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tokenizer_config.json").write_text("[" * 100_000)
    with pytest.raises(UsageError, match=r"tokenizer_config\.json"):
        tiny.hf(tmp_path, tiny.byte_level_bpe())


def test_the_library_starts_no_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TOKENIZERS_PARALLELISM", raising=False)
    tiny.hf(tmp_path, tiny.byte_level_bpe())
    assert os.environ["TOKENIZERS_PARALLELISM"] == "false"
