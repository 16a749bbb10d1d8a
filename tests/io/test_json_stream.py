"""One array of a JSON file: the same elements as json.loads at any chunk size, and every fault with its byte."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rt2data.errors import DataError
from rt2data.io import json_stream
from rt2data.io.json_stream import JsonArray, JsonFault, JsonObject
from tests.laws import tries


class Row(msgspec.Struct):
    id: Any = None
    text: Any = None


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.lists(st.dictionaries(st.text() | st.sampled_from(['"rows": [', "\\", '\\"']), VALUES, max_size=4), max_size=6)


def write(path: Path, text: str | bytes) -> str:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def rows(path: str, **sizes: int) -> list[Any]:
    return [found for _, found in JsonArray(path, "rows", Row, **sizes).objects()]


@tries(80)
@given(OBJECTS, VALUES, st.integers(1, 40), st.booleans(), st.sampled_from([None, 1]), st.booleans())
def test_it_reads_what_json_reads(
    tmp_path_factory: pytest.TempPathFactory,
    wanted: list[Any],
    other: Any,
    chunk: int,
    ascii_only: bool,
    indent: int | None,
    bare: bool,
) -> None:
    whole = wanted if bare else {"before": other, "rows": wanted, "after": [other, {"rows": []}]}
    path = tmp_path_factory.getbasetemp() / "law.json"
    text = json.dumps(whole, ensure_ascii=ascii_only, indent=indent)
    write(path, text)
    array = JsonArray(str(path), "rows", dict, chunk=chunk)
    assert [json.loads(found.text or b"") for found in array.slices()] == wanted
    assert [found for _, found in array.objects()] == wanted
    for start, stop, piece, _ in array.slices():
        assert text.encode()[start:stop] == piece


@tries(60)
@given(st.lists(st.fixed_dictionaries({"id": st.integers(0, 9), "text": st.text()}), min_size=1, max_size=9), st.data())
def test_ranges_tile_the_array(tmp_path_factory: pytest.TempPathFactory, wanted: list[Any], data: st.DataObject) -> None:
    path = write(tmp_path_factory.getbasetemp() / "ranges.json", json.dumps({"rows": wanted}))
    array = JsonArray(path, "rows", dict, chunk=data.draw(st.integers(1, 50)))
    spans = [(found.start, found.stop) for found in array.slices()]
    cut = data.draw(st.integers(0, len(spans) - 1))
    ranges = [(spans[0][0], spans[cut][0]), (spans[cut][0], spans[-1][1])]
    assert [found for within in ranges for _, found in array.objects(within)] == wanted


@tries(100)
@given(st.binary(max_size=200) | st.text(alphabet='{}[]",:\\ rows1eNan\n', max_size=80).map(str.encode), st.integers(1, 30))
def test_any_bytes_give_rows_or_one_error(tmp_path_factory: pytest.TempPathFactory, noise: bytes, chunk: int) -> None:
    path = tmp_path_factory.getbasetemp() / "noise.json"
    for text in (noise, b'{"rows": [' + noise, b'{"rows": [{"id": ' + noise + b"}]}"):
        try:
            rows(write(path, text), chunk=chunk)
        except DataError as error:
            assert "byte" in error.where


@tries(80)
@given(st.data())
def test_a_cut_file_is_never_whole(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    text = json.dumps({"info": {"a": [1]}, "rows": [{"id": 1, "text": "[{\\"}, {"id": 2}], "end": {"b": 1}}).encode()
    cut = data.draw(st.integers(0, len(text) - 1))
    path = write(tmp_path_factory.getbasetemp() / "cut.json", text[:cut])
    with pytest.raises(DataError, match=r"cut|not a JSON") as caught:
        rows(path, chunk=data.draw(st.integers(1, 99)))
    assert f"byte {cut}" in caught.value.where


BROKEN: dict[str, tuple[str | bytes, str, int]] = {
    "nan": ('{"rows": [{"id": 1}, {"id": NaN}]}', "NaN is not JSON", 21),
    "infinity": ('{"rows": [{"id": -Infinity}]}', "-Infinity is not JSON", 10),
    "duplicate_key": ('{"rows": [{"id": 1, "id": 2}]}', "'id' is given twice", 10),
    "deep": ('{"rows": [{"id": ' + "[" * 100_000 + "]" * 100_000 + "}]}", "nested too deeply", 10),
    "deep_and_unread": ('{"rows": [{"x": ' + '{"a":' * 100_000 + "1" + "}" * 100_000 + "}]}", "nested too deeply", 10),
    "scalars": ('{"rows": [1, 2, {"id": 3}]}', "not an object", 16),
    "nested_array": ('{"rows": [[{"id": 3}]]}', "not an object", 10),
    "no_comma": ('{"rows": [{"id": 3} {"id": 4}]}', "comma", 20),
    "trailing_comma": ('{"rows": [{"id": 3},]}', "does not end properly", 20),
    "wrong_end": ('{"rows": [{"id": 3}}', "does not end properly", 19),
    "wrong_pair": ('{"rows": [{"id": [3}]}', "not valid JSON", 19),
    "garbage_behind": ('{"rows": []} x', "text after the end", 13),
    "two_documents": ('{"rows": []}\n{"rows": []}', "text after the end", 13),
    "array_twice": ('{"rows": [], "rows": []}', "'rows' is given twice", 21),
    "no_such_key": ('{"row": [], "x": {"rows": []}, "y": "\\"rows\\": ["}', "no array named 'rows'", 0),
    "not_json": ("<!DOCTYPE html><html>{}</html>", "not a JSON object or array", 0),
    "utf16": ('{"rows": []}'.encode("utf-16"), "not a JSON object or array", 0),
    "empty": ("", "cut", 0),
    "control_character": ('{"rows": [{"text": "a\nb"}]}', "control character", 21),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_grammar_is_an_error_with_its_byte(tmp_path: Path, name: str) -> None:
    text, what, byte = BROKEN[name]
    path = write(tmp_path / "x.json", text)
    for chunk in (7 if len(text) < 1000 else 4099, 1 << 18):
        with pytest.raises(DataError) as caught:
            rows(path, chunk=chunk)
        assert what in caught.value.what
        assert caught.value.where == f"{path}: byte {byte}"
        assert caught.value.code == 3


FAULTS = {
    "not_utf8": (b'{"text": "a\xff"}', "bad_text"),
    "lone_surrogate": (b'{"text": "a\\ud800 b"}', "bad_text"),
    "encoded_surrogate": (b'{"text": "\xed\xa0\x80"}', "bad_text"),
    "huge_number": (b'{"id": ' + b"9" * 5000 + b"}", "bad_number"),
    "huge_float": (b'{"id": 1e999}', "bad_number"),
    "too_long": (b'{"text": "' + b"[{" * 5000 + b'"}', "too_long_text"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_one_bad_element_is_a_fault_and_the_next_is_read(tmp_path: Path, name: str) -> None:
    element, reason = FAULTS[name]
    path = write(tmp_path / "x.json", b'{"rows": [{"id": 1}, ' + element + b', {"id": 2, "text": "\xc3\xa9"}]}')
    for chunk in (11, 1 << 18):
        (_, first), (offset, fault), (_, last) = JsonArray(path, "rows", Row, max_element=8192, chunk=chunk).objects()
        assert (first, last) == (Row(1), Row(2, "é"))
        assert isinstance(fault, JsonFault)
        assert (fault.reason, offset) == (reason, 21)


def test_what_is_legal_is_read(tmp_path: Path) -> None:
    strange = b'\xef\xbb\xbf \n{"x": "]", "rows"\n:\t[ {"id": 1, "text": "id\\": [ \\\\"} , {"text": "id"}\n] }\n\n'
    assert rows(write(tmp_path / "x.json", strange), chunk=3) == [Row(1, 'id": [ \\'), Row(None, "id")]
    assert rows(write(tmp_path / "y.json", '{"rows": []}')) == []


MEASURE = """
import re, sys
from pathlib import Path
from rt2data.io import json_stream
from rt2data.io.json_stream import JsonArray, JsonFault, JsonObject

def peak():  # of this program alone; ru_maxrss remembers the one that started it
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

before, rows, faults = peak(), 0, 0
for _, found in JsonArray(sys.argv[1], "rows", dict).objects():
    rows, faults = rows + 1, faults + isinstance(found, JsonFault)
print(rows, faults, peak() - before)
"""
HAS_PROC = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")


def measured(path: Path) -> list[int]:
    """Elements, faults, and kilobytes that memory grew by."""
    command = [sys.executable, "-c", MEASURE, str(path)]
    return list(map(int, subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()))


@HAS_PROC
def test_an_element_of_100_mb_is_passed_over_without_being_held(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    with path.open("wb") as file:
        file.write(b'{"rows": [{"id": 1}, {"text": "')
        for _ in range(100):
            file.write(b"a{" * (1 << 19))
        file.write(b'"}, {"id": 2}]}')
    elements, faults, kilobytes = measured(path)
    assert (elements, faults) == (3, 1)
    assert kilobytes < 30_000


@HAS_PROC
def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    write(tmp_path / "x.json", json.dumps({"rows": [{"id": i, "text": "x" * 300} for i in range(100_000)]}))
    elements, faults, kilobytes = measured(tmp_path / "x.json")
    assert (elements, faults) == (100_000, 0)
    assert kilobytes < 15_000


# An object of objects


def members(path: str, within: tuple[int, int] | None = None, **sizes: int) -> list[tuple[Any, Any]]:
    found = JsonObject(path, "", dict, strict=False, once=("id",), **sizes)
    return [(place.key, value) for place, value in found.located(within)]


NAMED = st.dictionaries(
    st.text() | st.sampled_from(['"a": {', "\\", '\\"', "}", "{"]), st.dictionaries(st.text(), VALUES), max_size=6
)


@tries(80)
@given(NAMED, st.integers(1, 40), st.booleans(), st.sampled_from([None, 1]))
def test_an_object_of_objects_is_what_json_reads(
    tmp_path_factory: pytest.TempPathFactory, wanted: dict[str, Any], chunk: int, ascii_only: bool, indent: int | None
) -> None:
    text = json.dumps(wanted, ensure_ascii=ascii_only, indent=indent)
    path = write(tmp_path_factory.getbasetemp() / "members.json", text)
    assert members(path, chunk=chunk) == list(wanted.items())
    for place in JsonObject(path, "", dict, chunk=chunk).slices():
        whole = text.encode()[place.start : place.stop]
        assert json.loads(b"{" + whole + b"}") == {place.key: wanted[str(place.key)]}
        assert place.text and whole.endswith(place.text)


@tries(60)
@given(st.dictionaries(st.text(), st.fixed_dictionaries({"id": st.text()}), min_size=1, max_size=9), st.data())
def test_ranges_tile_an_object(tmp_path_factory: pytest.TempPathFactory, wanted: dict[str, Any], data: st.DataObject) -> None:
    path = write(tmp_path_factory.getbasetemp() / "parts.json", json.dumps(wanted, indent=data.draw(st.sampled_from([None, 2]))))
    chunk = data.draw(st.integers(1, 50))
    spans = [(place.start, place.stop) for place in JsonObject(path, "", dict, chunk=chunk).slices()]
    cut = data.draw(st.integers(0, len(spans) - 1))
    ranges = [(spans[0][0], spans[cut][0]), (spans[cut][0], spans[-1][1])]
    assert [found for within in ranges for found in members(path, within, chunk=chunk)] == list(wanted.items())


@tries(80)
@given(st.data())
def test_a_cut_object_is_never_whole(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    text = json.dumps({"a": {"id": [1]}, 'b"{': {"id": "[{\\"}, "c": {}}).encode()
    path = write(tmp_path_factory.getbasetemp() / "cut.json", text[: data.draw(st.integers(0, len(text) - 1))])
    with pytest.raises(DataError, match=r"cut|not a JSON"):
        members(path, chunk=data.draw(st.integers(1, 99)))


@tries(100)
@given(st.binary(max_size=200) | st.text(alphabet='{}[]",:\\ a1eNan\n', max_size=80).map(str.encode), st.integers(1, 30))
def test_any_bytes_give_members_or_one_error(tmp_path_factory: pytest.TempPathFactory, noise: bytes, chunk: int) -> None:
    path = tmp_path_factory.getbasetemp() / "noise.json"
    for text in (noise, b'{"a": {}' + noise, b'{"a": {"id": ' + noise + b"}}"):
        try:
            members(write(path, text), chunk=chunk)
        except DataError as error:
            assert "byte" in error.where


BROKEN_MEMBERS: dict[str, tuple[str, str, int]] = {
    "array": ('[{"id": 1}]', "not a JSON object", 0),
    "number": ('{"a": {}, "b": 1, "c": {}}', "a value is not an object", 23),
    "array_inside": ('{"a": {}, "b": [{}]}', "a value is not an object", 15),
    "no_key": ('{"a": {}, {}}', "a value is not an object", 10),
    "no_comma": ('{"a": {} "b": {}}', "comma", 14),
    "two_commas": ('{"a": {},, "b": {}}', "comma", 16),
    "comma_first": ('{, "a": {}}', "comma", 8),
    "trailing_comma": ('{"a": {}, }', "does not end properly", 10),
    "wrong_end": ('{"a": {}]', "does not end properly", 8),
    "behind": ('{"a": {}} x', "text after the end", 10),
    "twice": ('{"a": {"id": 1}, "b": {}, "a": {"id": 2}}', "the key 'a' is given twice", 26),
    "twice_spelled_otherwise": ('{"a": {}, "\\u0061": {}}', "the key 'a' is given twice", 10),
    "bad_escape": ('{"a\\x": {}}', "escape", 1),
}


@pytest.mark.parametrize("name", BROKEN_MEMBERS)
def test_broken_objects_are_an_error_with_its_byte(tmp_path: Path, name: str) -> None:
    text, what, byte = BROKEN_MEMBERS[name]
    path = write(tmp_path / "x.json", text)
    for chunk in (7, 1 << 18):
        with pytest.raises(DataError) as caught:
            members(path, chunk=chunk)
        assert what in caught.value.what
        assert caught.value.where == f"{path}: byte {byte}"


def test_equal_hashes_alone_are_no_key_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_stream, "_hash", lambda key: 7)
    assert len(members(write(tmp_path / "x.json", '{"a": {}, "b": {}}'))) == 2
    with pytest.raises(DataError, match="'b' is given twice"):
        members(write(tmp_path / "x.json", '{"a": {}, "b": {}, "b": {}}'))


def test_a_fault_of_a_member_is_in_its_place(tmp_path: Path) -> None:
    text = '{"a": {"id": 1}, "\\ud800": {"id": 2}, "c": {"id": 1, "id": 2}, "d": {"x": tru}, "e": {"id": 1, "x": {"id": "id"}}}'
    first, surrogate, twice, broken, last = members(write(tmp_path / "x.json", text))
    assert (first, last) == (("a", {"id": 1}), ("e", {"id": 1, "x": {"id": "id"}}))
    assert isinstance(surrogate[0], JsonFault) and surrogate[0].reason == "bad_text"
    assert [fault.reason for _, fault in (twice, broken)] == ["bad_json", "bad_json"]
    assert "given twice" in twice[1].detail
