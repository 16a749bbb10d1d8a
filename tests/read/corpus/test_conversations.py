"""Conversations: every way of writing them gives the same turns, and what is wrong with one is told by kind."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rt2data.errors import DataError, UsageError
from rt2data.read.corpus.conversations import IMAGES_FIRST, Conversations
from rt2data.read.source import recognize
from rt2data.records import Example, Fact, Image, Reject, Turn
from rt2data.standardize import standardize
from tests.contract.toy import jpeg, write_web
from tests.read.corpus.writing import write_json

TURNS = (Turn("user", "<image>What is it?"), Turn("assistant", "A block."))


def read(folder: Path, **settings: Any) -> list[Example | Reject | Fact]:
    """All records of the tables in a folder, of which the images are there too."""
    source = Conversations.model_validate({"data": str(folder), "image_dirs": (str(folder),), **settings})
    return [record for unit in source.units() for record in source.read(unit)]  # type: ignore[misc]


def one(folder: Path, row: dict[str, Any], **settings: Any) -> Any:
    """The only example or reject of one row."""
    write_json(folder / "rows.json", [row])
    (found,) = [record for record in read(folder, **settings) if not isinstance(record, Fact)]
    return found


def content(image: Image) -> bytes:
    found = image.content()
    assert isinstance(found, bytes | memoryview)
    return bytes(found)


def test_a_real_corpus_agrees_with_an_independent_reading(shared_data: Path) -> None:
    root = shared_data / "llava_json_llamafactory/data"
    source = Conversations.model_validate({"data": f"{root}/mllm_demo.json", "image_dirs": (str(root),)})
    found = [record for unit in source.units() for record in source.read(unit) if isinstance(record, Example)]
    wanted = json.loads((root / "mllm_demo.json").read_text("utf-8"))
    assert [[(turn.role, turn.text) for turn in example.turns] for example in found] == [
        [(turn["role"], turn["content"]) for turn in row["messages"]] for row in wanted
    ]
    assert [[content(image) for image in example.images] for example in found] == [
        [(root / name).read_bytes() for name in row["images"]] for row in wanted
    ]
    assert [image.camera for image in found[0].images] == ["image_0", "image_1"]


def data_uri() -> str:
    return "data:image/jpeg;base64," + base64.b64encode(jpeg(90_000)).decode()


WAYS: dict[str, dict[str, Any]] = {
    "LLaVA": {
        "image": "0000.jpg",
        "conversations": [{"from": "human", "value": "<image>What is it?"}, {"from": "gpt", "value": "A block."}],
    },
    "a list of one": {
        "image": ["0000.jpg"],
        "conversations": [{"from": "human", "value": "<image>What is it?"}, {"from": "gpt", "value": "A block."}],
    },
    "ShareGPT": {
        "images": ["0000.jpg"],
        "messages": [{"role": "user", "content": "<image>What is it?"}, {"role": "assistant", "content": "A block."}],
    },
    "Qwen": {
        "messages": [
            {"role": "user", "content": [{"type": "image", "image": "file://0000.jpg"}, {"type": "text", "text": "What is it?"}]},
            {"role": "assistant", "content": [{"type": "text", "text": "A block."}]},
        ]
    },
    "OpenAI": {
        "messages": [
            {
                "role": "user",
                "content": [{"type": "image_url", "image_url": {"url": data_uri()}}, {"type": "text", "text": "What is it?"}],
            },
            {"role": "assistant", "content": "A block."},
        ]
    },
    "The Cauldron": {
        "images": [{"bytes": None, "path": "0000.jpg"}],
        "texts": [{"user": "<image>What is it?", "assistant": "A block."}],
    },
    "an id": {
        "image": 0,
        "conversations": [{"from": "user", "value": "<image>What is it?"}, {"from": "assistant", "value": "A block."}],
    },
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_of_writing_gives_the_same(way: str, tmp_path: Path) -> None:
    write_web(tmp_path, 2)
    found = one(tmp_path, WAYS[way])
    assert isinstance(found, Example)
    assert found.turns == TURNS
    assert [content(image) for image in found.images] == [jpeg(90_000)]


def test_text_alone_is_a_conversation(tmp_path: Path) -> None:
    source = Conversations.model_validate(
        {"data": str(write_json(tmp_path / "a.json", [{"messages": _said("Hi", "Hello\n\nyou")}]))}
    )
    (found,) = [record for unit in source.units() for record in source.read(unit)]
    assert isinstance(found, Example)
    assert found.images == ()
    assert found.turns[1].text == "Hello\n\nyou"  # lines stay
    assert found.group == found.key


def test_several_images_anywhere_and_a_system(tmp_path: Path) -> None:
    write_web(tmp_path, 3)
    row = {"system": "Be short.", "images": ["0002.jpg", "0001.jpg", "0002.jpg"]}
    found = one(tmp_path, row | {"messages": _said("Compare <image> and <image>.", "No.", "And<image>", "Yes.")})
    assert [turn.role for turn in found.turns] == ["system", "user", "assistant", "user", "assistant"]
    assert [content(image) for image in found.images] == [jpeg(90_002), jpeg(90_001), jpeg(90_002)]
    assert [image.camera for image in found.images] == ["image_0", "image_1", "image_2"]


def test_another_token_stands_for_images(tmp_path: Path) -> None:
    write_web(tmp_path, 1)
    found = one(tmp_path, {"image": "0000.jpg", "messages": _said("<IMG>What is it?", "A block.")}, image_token="<IMG>")
    assert found.turns == TURNS


def test_images_without_a_place_come_first_and_are_counted(tmp_path: Path) -> None:
    write_web(tmp_path, 2)
    row = {"images": ["0000.jpg", "0001.jpg"], "texts": [{"user": "What?", "assistant": "Blocks."}]}
    write_json(tmp_path / "rows.json", [row])
    example, *facts = read(tmp_path)
    assert isinstance(example, Example)
    assert example.turns[0].text == "<image><image>\nWhat?"
    assert Fact(IMAGES_FIRST) in facts
    (reject,) = [record for record in read(tmp_path, without_place="reject") if isinstance(record, Reject)]
    assert reject.reason == "image_places"


def _said(*texts: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(texts)]


WRONG: dict[str, dict[str, Any]] = {
    "missing_image": {"image": "7777.jpg", "messages": _said("<image>", "a")},
    "no_turns": {"image": "0000.jpg"},
    "ambiguous_turns": {"messages": _said("a", "b"), "conversations": [{"from": "human", "value": "a"}]},
    "ambiguous_images": {"image": "0000.jpg", "images": ["0001.jpg"], "messages": _said("<image>a", "b")},
    "unknown_role": {"messages": [{"role": "tool", "content": "a"}]},
    "bad_turn": {"messages": [{"speaker": "me", "content": "a"}]},
    "bad_text": {"messages": _said("a\0b", "c")},
    "too_long_text": {"messages": _said("a" * 40_000, "c")},
    "bad_image": {"image": 1.5, "messages": _said("<image>", "c")},
    "remote_image": {"image": "https://example.com/a.jpg", "messages": _said("<image>", "c")},
    "too_large_file": {"image": "large.jpg", "messages": _said("<image>", "c")},
}
"""Told by the reader."""
LATER: dict[str, dict[str, Any]] = {
    "turn_order": {"messages": [*_said("a", "b"), {"role": "assistant", "content": "c"}]},
    "blank_turn": {"messages": _said("a", "  ")},
    "image_places": {"image": "0000.jpg", "messages": _said("<image><image>a", "b")},
}
"""Told by the rules for conversations."""


@pytest.mark.parametrize("reason", [*WRONG, *LATER])
def test_what_is_wrong_is_told_by_kind(reason: str, tmp_path: Path) -> None:
    write_web(tmp_path, 2)
    (tmp_path / "large.jpg").write_bytes(bytes(4 * 1024 + (1 << 20) + 1))
    write_json(tmp_path / "rows.json", [(WRONG | LATER)[reason]])
    settings = {"data": str(tmp_path), "image_dirs": (str(tmp_path),), "images": {"max_pixels": 1024}}
    source = Conversations.model_validate(settings)
    records = [record for unit in source.units() for record in source.read(unit)]
    (found,) = [record for record in standardize(source, records) if isinstance(record, Reject)]
    assert found.reason == reason
    assert found.fault


def test_a_system_turn_alone_is_no_conversation(tmp_path: Path) -> None:
    source = Conversations.model_validate({"data": str(write_json(tmp_path / "a.json", [{"system": "x", "messages": []}]))})
    (found,) = [record for unit in source.units() for record in source.read(unit)]
    assert isinstance(found, Reject) and found.reason == "no_turns"


def test_folders_in_names_must_be_those_of_the_file(tmp_path: Path) -> None:
    """Two corpora have images of the same names: one must not be taken for the other."""
    write_web(tmp_path / "vg", 1)
    row = {"image": "gqa/0000.jpg", "messages": _said("<image>a", "b")}
    found = one(tmp_path, row)
    assert found.reason == "missing_image"
    assert "vg/0000.jpg" in found.detail and "folders: ignore" in found.detail
    assert isinstance(one(tmp_path, row, folders="ignore"), Example)
    write_web(tmp_path / "gqa", 1)
    assert isinstance(one(tmp_path, row), Example)


def test_one_of_several_images_that_differ_is_not_taken_in_silence(tmp_path: Path) -> None:
    write_web(tmp_path / "a", 1)
    (tmp_path / "b").mkdir()
    (tmp_path / "b/0000.jpg").write_bytes(jpeg(5))
    row = {"image": "0000.jpg", "messages": _said("<image>a", "b")}
    assert one(tmp_path, row).reason == "ambiguous_image"
    dirs = (str(tmp_path / "b"), str(tmp_path / "a"))
    assert content(one(tmp_path, row, image_dirs=dirs, image_conflict="first").images[0]) == jpeg(5)


def test_rows_are_kept_by_other_columns(tmp_path: Path) -> None:
    rows = [{"messages": _said("a", str(n)), "relevance_min": n, "source": "xy"[n % 2]} for n in range(6)]
    write_json(tmp_path / "rows.json", [*rows, {"messages": _said("a", "7"), "source": "x"}])
    found = read(tmp_path, image_dirs=(), where={"relevance_min": {"min": 2}, "source": {"among": ("x",)}})
    assert [record.turns[1].text for record in found if isinstance(record, Example)] == ["2", "4"]
    dropped = [record for record in found if isinstance(record, Reject)]
    assert {record.reason for record in dropped} == {"where_relevance_min", "where_source"}
    assert not any(record.fault for record in dropped)


@pytest.mark.parametrize(
    ("value", "kept"), [("0.31", True), ("0.29", False), ("high", False), (None, False), (True, False), (0.3, True)]
)
def test_numbers_may_be_written_as_text(value: Any, kept: bool, tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", [{"messages": _said("a", "b"), "similarity": value}])
    (found,) = read(tmp_path, image_dirs=(), where={"similarity": {"min": 0.3}})
    assert isinstance(found, Example) == kept


def test_parquet_as_finevision_has_it(tmp_path: Path) -> None:
    """Images in the rows, several turns, a rating of each; text alone beside it."""
    images = [[{"bytes": jpeg(1), "path": None}], [{"bytes": jpeg(2), "path": "a.jpg"}, {"bytes": jpeg(3), "path": None}], []]
    texts = [[{"user": f"What {n}?", "assistant": "This."}, {"user": "And?", "assistant": "That."}] for n in range(3)]
    pq.write_table(pa.table({"images": images, "texts": texts, "relevance_min": [4, 5, 2]}), tmp_path / "train-00000.parquet")
    found = [record for record in read(tmp_path, image_dirs=()) if isinstance(record, Example)]
    assert [[content(image) for image in example.images] for example in found] == [[jpeg(1)], [jpeg(2), jpeg(3)], []]
    assert [example.turns[0].text for example in found] == ["<image>\nWhat 0?", "<image><image>\nWhat 1?", "What 2?"]
    rated = read(tmp_path, image_dirs=(), where={"relevance_min": {"min": 4}})
    assert [type(record) for record in rated][:3] == [Example, Example, Reject]
    suggested = Conversations.recognize(tmp_path)
    assert suggested is not None and suggested.settings == {"data": [str(tmp_path / "train-00000.parquet")]}


def test_keys_stay_when_files_are_added(tmp_path: Path) -> None:
    write_json(tmp_path / "b.json", [{"messages": _said("a", "b")}])
    before = [record.key for record in read(tmp_path, image_dirs=()) if isinstance(record, Example)]
    write_json(tmp_path / "a.json", [{"messages": _said("a", "b")}] * 2)
    (tmp_path / "c").mkdir()
    write_json(tmp_path / "c" / "b.json", [{"messages": _said("a", "b")}])
    after = [record.key for record in read(tmp_path, image_dirs=()) if isinstance(record, Example)]
    assert len(after) == len(set(after)) == 4
    assert before[0] in after


def test_a_key_given_twice_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"messages": [], "messages": [{"role": "user", "content": "a"}]}\n')
    (found,) = read(tmp_path, image_dirs=())
    assert isinstance(found, Reject)
    assert found.reason == "bad_json" and "twice" in found.detail


@pytest.mark.parametrize("ending", [".json", ".jsonl"])
def test_bad_rows_are_rejected_and_the_others_read(ending: str, tmp_path: Path) -> None:
    good = json.dumps({"messages": _said("a", "b")})
    rows = [good, '{"messages": [}]}' if ending == ".jsonl" else '{"messages": oops}', good]
    text = "\n".join(rows) if ending == ".jsonl" else "[" + ",".join(rows) + "]"
    (tmp_path / f"a{ending}").write_text(text)
    found = read(tmp_path, image_dirs=())
    assert [type(record) for record in found] == [Example, Reject, Example]
    assert found[1].reason == "bad_json"  # type: ignore[union-attr]


def test_a_cut_file_is_no_corpus(tmp_path: Path) -> None:
    whole = json.dumps([{"messages": _said("a", "b")}] * 3)
    (tmp_path / "a.json").write_text(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="cut"):
        read(tmp_path, image_dirs=())


def test_lines_under_the_name_of_json_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("\n".join([json.dumps({"messages": _said("a", "b")})] * 3))
    assert len(read(tmp_path, image_dirs=())) == 3


def test_an_array_in_an_object_is_found_and_one_of_several_must_be_named(tmp_path: Path) -> None:
    rows = [{"messages": _said("a", "b")}]
    write_json(tmp_path / "a.json", {"version": 1, "data": rows})
    assert len(read(tmp_path, image_dirs=())) == 1
    write_json(tmp_path / "a.json", {"licenses": [{"id": 1}], "data": rows})
    with pytest.raises(UsageError, match="several arrays: data, licenses"):
        read(tmp_path, image_dirs=())
    assert len(read(tmp_path, image_dirs=(), rows="data")) == 1


@pytest.mark.parametrize("names", [("none.json",), ("*.tsv",), ("a.xml",), ("empty",)])
def test_files_that_are_none_are_told(names: Sequence[str], tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text("<a/>")
    (tmp_path / "empty").mkdir()
    source = Conversations.model_validate({"data": [str(tmp_path / name) for name in names]})
    (found,) = source.invalid_settings()
    assert names[0] in found.message
    with pytest.raises(UsageError):
        source.units()


def test_names_with_wild_cards(tmp_path: Path) -> None:
    for name in ("a-1.json", "a-2.json", "b-1.json"):
        write_json(tmp_path / name, [{"messages": _said(name, "b")}])
    found = read(tmp_path, data=(str(tmp_path / "a-*.json"),), image_dirs=())
    assert [record.turns[0].text for record in found if isinstance(record, Example)] == ["a-1.json", "a-2.json"]


def test_it_is_recognized(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "llava_json_llamafactory/data"
    found = Conversations.recognize(folder)
    assert found is not None
    assert found.settings == {"data": [f"{folder}/mllm_demo.json"], "image_dirs": [str(folder)]}
    write_json(tmp_path / "a.json", [{"question": "?", "answer": "!"}])
    assert Conversations.recognize(tmp_path) is None
    named = recognize(folder / "mllm_demo.json")
    assert named is not None and "kind conversations" in named.do
