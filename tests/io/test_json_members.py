"""Members of nested JSON objects are found whatever the chunks are, and what is no such file is named with its byte."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rt2data.errors import DataError
from rt2data.io.json_members import json_members
from tests.laws import tries

NAMES = st.text(st.sampled_from('ab"\\{}[]:, \n\té🦾/'), max_size=6)
VALUES = st.recursive(
    st.none() | st.integers() | NAMES, lambda some: st.lists(some, max_size=3) | st.dictionaries(NAMES, some, max_size=3)
)
LEAVES = st.dictionaries(NAMES, VALUES, max_size=3) | st.lists(VALUES, max_size=3)
SPACES: list[dict[str, Any]] = [{}, {"indent": 1}, {"separators": (",", ":")}, {"ensure_ascii": False}]


@tries(150)
@given(st.dictionaries(NAMES, st.dictionaries(NAMES, LEAVES, max_size=3), max_size=3), st.sampled_from(SPACES), st.integers(1, 40))
def test_members_are_those_of_the_objects(
    tmp_path_factory: pytest.TempPathFactory, tree: dict[str, dict[str, Any]], spaces: dict[str, Any], chunk: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "members.json"
    path.write_text(json.dumps(tree, **spaces))
    text = path.read_bytes()
    found = [(each.keys, json.loads(text[each.start : each.stop])) for each in json_members(str(path), 2, chunk)]
    assert found == [((one, other), value) for one, inner in tree.items() for other, value in inner.items()]
    flat = [(each.keys, json.loads(text[each.start : each.stop])) for each in json_members(str(path), 1, chunk)]
    assert flat == [((one,), inner) for one, inner in tree.items()]


@pytest.mark.parametrize(
    ("text", "what", "byte"),
    [
        ("", "the file is cut", 0),
        ('{"a":{"0":{}}', "the file is cut", 13),
        ('{"a":{"0":{"x', "the file is cut", 13),
        ('{"a":[{"0":1}]}', "a list stands where an object belongs", 5),
        ('{"a":{"0":{}}} x', "text after the end", 16),
        ('{"a":{"0":{}}}}', "text after the end", 14),
        ("{} {}", "text after the end", 3),
        ('{"a":{"0":{}},"a" {}}', "objects with a key for each are expected here", 18),
        ('{"a":{"0":{} "1":{}}}', "objects with a key for each are expected here", 17),
        ('{"a":{"0":{},}}', "objects with a key for each are expected here", 13),
        ('{"a":{"0":{}}]', "objects with a key for each are expected here", 13),
        ('{"a":1,"b":{"0":{}}}', "objects with a key for each are expected here", 11),
        ("[]", "objects with a key for each are expected here", 0),
    ],
)
@pytest.mark.parametrize("chunk", [1, 1000])
def test_other_files_are_named_with_the_byte(tmp_path: Path, text: str, what: str, byte: int, chunk: int) -> None:
    path = tmp_path / "members.json"
    path.write_text(text)
    with pytest.raises(DataError, match=what) as raised:
        list(json_members(str(path), 2, chunk))
    assert raised.value.where == f"{path}: byte {byte}"


def test_a_long_value_where_an_object_belongs_is_not_held(tmp_path: Path) -> None:
    path = tmp_path / "members.json"
    path.write_text('{"a": "' + "x" * 1_000_000 + '"}')
    with pytest.raises(DataError, match="a key is too long"):
        list(json_members(str(path), 2))
