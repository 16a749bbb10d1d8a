"""Each kind of table gives what another library reads of the same file, in parts of any size; what is damaged is said."""

from __future__ import annotations

import csv
import io
import json
import re
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import webdataset

from rt2data.errors import DataError
from rt2data.io.json_stream import JsonFault
from rt2data.io.location import read_range
from rt2data.read import units
from rt2data.read.corpus import csv_tables
from rt2data.read.corpus.draft import Embedded
from rt2data.read.corpus.table import RawRow, Table, open_table
from tests.damage import footer_flips
from tests.objects.here import used_here
from tests.objects.stand_in import stand_in
from tests.read.corpus.writing import write_tar

pytestmark = pytest.mark.long

RANDOM = np.random.default_rng(7)
HELD = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
PAIR = pa.list_(pa.binary(), 2)
SCHEMA = pa.schema([("image", HELD), ("images", pa.list_(HELD)), ("raw", pa.binary()), ("pair", PAIR), ("n", pa.int64())])


def held(number: int, path: str | None = None) -> dict[str, Any]:
    return {"bytes": RANDOM.bytes(number), "path": path}


def a_row(n: int) -> dict[str, Any]:
    return {"image": held(n, f"{n}.jpg"), "images": [held(3)] * (n % 3), "raw": RANDOM.bytes(n), "pair": [b"", b"x"], "n": n}


ROWS: list[dict[str, Any]] = [
    *map(a_row, range(90)),
    {"image": None, "images": None, "raw": None, "pair": [None, None], "n": None},
    {"image": {"bytes": None, "path": "far.jpg"}, "images": [None], "raw": b"", "pair": [None, b"y"], "n": 0},
]


def read(table: Table) -> list[RawRow]:
    return [row for part in table.parts() for row in table.rows(part.start, part.stop)]


def plain(value: Any) -> Any:
    """Without our types; bytes that have a place are those in the file."""
    if isinstance(value, Embedded):
        content = bytes(value.content)  # type: ignore[arg-type]
        assert value.place is None or read_range(*value.place) == content
        return content
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, list) else value


def values(rows: list[RawRow]) -> list[Any]:
    return [row.values if isinstance(row.values, JsonFault) else plain(dict(row.values)) for row in rows]


def reasons(rows: list[RawRow]) -> list[str]:
    """Of rows that cannot be read; `row` for the others."""
    return [row.values.reason if isinstance(row.values, JsonFault) else "row" for row in rows]


def as_parquet(path: Path, table: pa.Table) -> Path:
    pq.write_table(table, path.with_suffix(".parquet"), row_group_size=20)
    return path.with_suffix(".parquet")


def _as_arrow(open_writer: Callable[..., Any], options: pa.ipc.IpcWriteOptions | None, path: Path, table: pa.Table) -> Path:
    with pa.OSFile(str(path.with_suffix(".arrow")), "wb") as file, open_writer(file, table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=20)
    return path.with_suffix(".arrow")


def as_stream(path: Path, table: pa.Table) -> Path:
    return _as_arrow(pa.ipc.new_stream, None, path, table)


def as_file(path: Path, table: pa.Table) -> Path:
    return _as_arrow(pa.ipc.new_file, None, path, table)


def as_packed(path: Path, table: pa.Table) -> Path:
    return _as_arrow(pa.ipc.new_stream, pa.ipc.IpcWriteOptions(compression="zstd"), path, table)


COLUMNS = (as_parquet, as_stream, as_file, as_packed)


@pytest.mark.parametrize("write", COLUMNS)
@pytest.mark.parametrize("size", [1, 1 << 26])
def test_columns_hold_what_pyarrow_wrote(write: Any, size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(units, "UNIT_BYTES", size)
    table = open_table(str(write(tmp_path / "a", pa.Table.from_pylist(ROWS, SCHEMA))))
    found = read(table)
    assert values(found) == ROWS
    assert [row.at for row in found] == [str(number) for number in range(len(ROWS))]
    assert table.count() == len(ROWS)
    assert len(table.parts()) == (5 if size == 1 else 1)
    first = table.first()
    assert first is not None and values([first]) == ROWS[:1]


@pytest.mark.parametrize("write", COLUMNS)
def test_only_columns_that_are_asked_for_are_read(write: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "a", pa.Table.from_pylist(ROWS, SCHEMA))
    assert values(read(open_table(str(path), ("n", "absent")))) == [{"n": row["n"]} for row in ROWS]


def test_images_of_an_arrow_file_are_where_they_lie(tmp_path: Path) -> None:
    for write, there in ((as_stream, True), (as_file, True), (as_packed, False)):
        row = open_table(str(write(tmp_path / "a", pa.Table.from_pylist(ROWS, SCHEMA)))).first()
        assert row is not None and isinstance(row.values, dict)
        assert (row.values["image"]["bytes"].place is not None) == there


def test_dictionaries_of_an_arrow_stream_are_read(tmp_path: Path) -> None:
    words = pa.chunked_array([pa.array(["a", "b", "a"]).dictionary_encode()])
    path = as_stream(tmp_path / "a", pa.table({"word": words, "raw": [b"1", b"2", b"3"]}))
    assert values(read(open_table(str(path)))) == [{"word": w, "raw": r} for w, r in (("a", b"1"), ("b", b"2"), ("a", b"3"))]


@pytest.mark.parametrize("write", COLUMNS)
def test_a_file_that_is_cut_is_refused(write: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "a", pa.Table.from_pylist(ROWS, SCHEMA))
    whole = path.read_bytes()
    for length in {*range(0, len(whole), 211), len(whole) - 1}:
        path.write_bytes(whole[:length])
        with pytest.raises(DataError):
            read(open_table(str(path)))


@pytest.mark.parametrize("write", COLUMNS)
def test_flipped_bits_never_crash(write: Any, tmp_path: Path) -> None:
    """They are refused, or the rows are as many as before: neither format has a checksum unless its writer asks for one."""
    path = write(tmp_path / "a", pa.Table.from_pylist(ROWS, SCHEMA))
    whole, random = path.read_bytes(), np.random.default_rng(2)
    refused = 0
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[random.integers(len(whole))] ^= 1 << int(random.integers(8))
        path.write_bytes(damaged)
        try:
            assert len(read(open_table(str(path)))) == len(ROWS)
        except DataError:
            refused += 1
    assert refused


def test_a_damaged_footer_ends_no_process_and_loses_no_row(tmp_path: Path) -> None:
    path = as_parquet(tmp_path / "a", pa.Table.from_pylist(ROWS, SCHEMA))
    refused = read_anyway = 0
    for damaged in footer_flips(path.read_bytes(), every=43):
        path.write_bytes(damaged)
        try:
            assert len(read(open_table(str(path)))) == len(ROWS)
            read_anyway += 1
        except DataError:
            refused += 1
    assert refused and read_anyway


@pytest.mark.parametrize("write", [as_stream, as_file])
def test_no_record_batch_is_lost_where_its_header_is_damaged(write: Any, tmp_path: Path) -> None:
    """Any bit of the last one's: a batch of another kind would be skipped."""
    path = write(tmp_path / "a", pa.Table.from_pylist(ROWS, SCHEMA))
    whole = path.read_bytes()
    messages = [each.end() for each in re.finditer(b"\xff\xff\xff\xff(?!\0{4})", whole)]
    length = int.from_bytes(whole[messages[-1] : messages[-1] + 4], "little")
    fewer = 0
    for bit in range(8 * length):
        damaged = bytearray(whole)
        damaged[messages[-1] + 4 + bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        try:
            if open_table(str(path)).count() != len(ROWS):
                fewer += 1
                assert len(read(open_table(str(path)))) == len(ROWS)
        except DataError:
            pass
    assert fewer


def test_a_damaged_row_group_is_named(tmp_path: Path) -> None:
    table = pa.table({"raw": [RANDOM.bytes(1000) for _ in range(20)]})
    path = tmp_path / "a.parquet"
    pq.write_table(table, path, row_group_size=5, write_page_checksum=True, write_statistics=False, use_dictionary=False)
    start = pq.ParquetFile(path).metadata.row_group(2).column(0).data_page_offset
    damaged = bytearray(path.read_bytes())
    damaged[start + 2000] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(DataError, match="row group 2 is damaged"):
        read(open_table(str(path)))


# CSV

CELLS = ("a", 'a "b" c', "x,y", "line\nbreak", "", '"', "é", "a\r\nb", " z ", "|")


@pytest.mark.parametrize("mark", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("size", [1, 300, 1 << 26])
def test_csv_is_what_the_standard_library_wrote(
    mark: str, named: bool, size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [[f"{RANDOM.choice(CELLS)}{n}", str(RANDOM.choice(CELLS))] for n in range(300)]
    path = tmp_path / "a.csv"
    with path.open("w", newline="", encoding=mark) as file:
        csv.writer(file).writerows([*([["caption", "image"]] if named else []), *rows])
    monkeypatch.setattr(units, "UNIT_BYTES", size)
    table = open_table(str(path), header=None if named else ("caption", "image"))
    found = read(table)
    assert values(found) == [{"caption": caption, "image": image} for caption, image in rows]
    assert len({row.at for row in found}) == len(found)
    assert (len(table.parts()) > 1) == (size < 1 << 26)


@pytest.mark.parametrize("size", [1000, 1 << 26])
def test_each_bad_record_of_a_csv_is_told_and_no_other(size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = b'"fine, too",3.jpg\n'
    bad = {
        "bad_csv": b'"unclosed,2.jpg\n',
        "wrong_fields": b"three,f,5\n",
        "bad_text": b"\xff\xfe,6.jpg\n",
        "too_long_text": b"z" * 3_000_000 + b",9.jpg\n",
    }
    path = tmp_path / "a.csv"
    path.write_bytes(b"caption,image\n" + good + good.join(bad.values()) + b"\n" + good)
    monkeypatch.setattr(units, "UNIT_BYTES", size)
    found = reasons(read(open_table(str(path))))
    assert found == ["row", "bad_csv", "row", "wrong_fields", "row", "bad_text", "row", "too_long_text", "row"]


def test_a_quote_without_end_loses_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('caption,image\n"open,0.jpg\n' + "".join(f"plain,{n}.jpg\n" for n in range(1, 50)))
    assert reasons(read(open_table(str(path)))) == ["bad_csv", *["row"] * 49]


def test_quotes_without_end_in_every_line_are_not_followed_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each line closes the quote of the one before it and opens another."""
    monkeypatch.setattr(csv_tables, "_MOST_AGAIN", 1 << 20)
    path = tmp_path / "a.csv"
    path.write_text("caption,image\n" + 'a","""\n' * 2000)
    with pytest.raises(DataError, match="quotes without end"):
        read(open_table(str(path)))


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
@pytest.mark.parametrize("text", ["caption,image", "caption,image\n", "\n", '"', "\ufeff", "\ufeffcaption\n\n"])
def test_a_heading_alone_has_no_rows(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text.replace(",", "\t" if name == "a.tsv" else ","))
    found = read(open_table(str(tmp_path / name)))
    assert reasons(found) in ([], ["bad_csv"], ["row"])
    assert not found or text == '"'


def test_pairs_without_a_heading_have_numbers_as_columns(tmp_path: Path) -> None:
    """As CC3M's: a caption, a tab, an address. Quotes that are not whole are text."""
    path = tmp_path / "a.tsv"
    path.write_bytes(b'" stop " on a sign\thttp://localhost/1.jpg\n"a ""whole"" one"\t2.jpg\n\nalone\n')
    found = values(read(open_table(str(path), ("caption",))))
    assert found[:2] == [{"0": '" stop " on a sign', "1": "http://localhost/1.jpg"}, {"0": 'a "whole" one', "1": "2.jpg"}]
    assert found[2].reason == "wrong_fields"


@pytest.mark.parametrize("size", [1, 50, 1 << 26])
def test_lines_of_tabs_are_cut_anywhere(size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("image\tcaption\n" + "".join(f"{n}.jpg\tcaption {n}\n" for n in range(60)))
    monkeypatch.setattr(units, "UNIT_BYTES", size)
    assert values(read(open_table(str(path)))) == [{"image": f"{n}.jpg", "caption": f"caption {n}"} for n in range(60)]


def test_utf_16_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("caption,image\na,b\n", encoding="utf-16")
    with pytest.raises(DataError, match="UTF-16"):
        read(open_table(str(path)))


def test_another_separator_is_that_of_the_first_line(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("image_name| comment_number| comment\n1.jpg| 0| Two, or three\n")
    assert values(read(open_table(str(path)))) == [{"image_name": "1.jpg", "comment_number": " 0", "comment": " Two, or three"}]


# tar


def samples(count: int = 5) -> list[tuple[str, bytes]]:
    found: list[tuple[str, bytes]] = []
    for n in range(count):
        members = [
            (f"dir/{n:05d}.jpg", RANDOM.bytes(700 + n)),
            (f"dir/{n:05d}.txt", b"caption"),
            (f"dir/{n:05d}.json", b'{"a": 1}'),
        ]
        found += members if n % 2 else members[::-1]
    return found


def test_samples_are_those_of_webdataset(shared_data: Path) -> None:
    path = str(shared_data / "wds_img2dataset" / "shard-0013.tar")
    found = values(read(open_table(path)))
    expected = list(webdataset.WebDataset(path, shardshuffle=False, empty_check=False))
    assert [row["__key__"] for row in found] == [each["__key__"] for each in expected]
    for row, each in zip(found, expected, strict=True):
        assert row["image"] == row["webp"] == each["webp"]
        assert row["txt"].encode() == each["txt"]
        assert {**row, **json.loads(each["json"])} == row


@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
@pytest.mark.parametrize("size", [1, 5000, 1 << 26])
def test_tar_of_any_kind_is_what_tarfile_reads(kind: int, size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(units, "UNIT_BYTES", size)
    path = tmp_path / "a.tar"
    folder = "é" * 20 + "/" + "long" * 20
    with tarfile.open(path, "w", format=kind) as tar:
        for name, content in samples():
            info = tarfile.TarInfo(f"{folder}/{name}")
            info.size, info.mtime = len(content), 0.5 if kind == tarfile.PAX_FORMAT else 0
            tar.addfile(info, io.BytesIO(content))
    with tarfile.open(path) as tar:
        contents = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
    found = values(read(open_table(str(path))))
    assert [row["__key__"] for row in found] == [f"{folder}/dir/{n:05d}" for n in range(5)]
    assert [row["image"] for row in found] == [contents[f"{row['__key__']}.jpg"] for row in found]
    assert all(row["a"] == 1 and row["txt"] == "caption" for row in found)


def test_several_images_are_in_the_order_of_their_names(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", [(f"k.{n}.jpg", bytes([n])) for n in (10, 2, 1)] + [("k.txt", b"x")])
    assert values(read(open_table(str(path))))[0]["images"] == [b"\1", b"\2", b"\n"]


def test_a_sample_that_is_torn_apart_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_tar(tmp_path / "a.tar", [("1.jpg", b"x"), ("2.jpg", b"y"), ("2.txt", b"t"), ("1.txt", b"t")])
    for size in (1, 1 << 26):
        monkeypatch.setattr(units, "UNIT_BYTES", size)
        assert reasons(read(open_table(str(path)))) == ["torn_sample", "row", "torn_sample"]


def test_links_devices_and_names_that_leave_are_rejected(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as tar:
        for name, kind in (
            ("1.jpg", tarfile.SYMTYPE),
            ("2.jpg", tarfile.LNKTYPE),
            ("3.jpg", tarfile.CHRTYPE),
            ("4.jpg", tarfile.FIFOTYPE),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
        for name in ("../5.jpg", "/6.jpg", "a/../../7.jpg", "8.jpg", "8.jpg"):
            tar.addfile(tarfile.TarInfo(name), io.BytesIO())
    odd = [
        "link_in_tar",
        "link_in_tar",
        "odd_member",
        "odd_member",
        "unsafe_name",
        "unsafe_name",
        "unsafe_name",
        "duplicate_member",
    ]
    assert reasons(read(open_table(str(path)))) == odd


def member(name: bytes, content: bytes = b"", kind: bytes = b"0", size: int | None = None) -> bytes:
    """A member as tar has it, of any name and kind; its header may tell another size."""
    info = tarfile.TarInfo("x")
    info.size = len(content) if size is None else size
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[: len(name)], header[156:157] = name, kind
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + content + bytes(-len(content) % 512)


END = bytes(1024)


@pytest.mark.parametrize("kind", [b"x", b"g", b"L", b"K"])
@pytest.mark.parametrize("before", [b"", member(b"1.txt", b"a")], ids=["first", "later"])
def test_headers_of_headers_are_few(kind: bytes, before: bytes, tmp_path: Path) -> None:
    """tarfile calls itself for each of them."""
    path = tmp_path / "a.tar"
    path.write_bytes(before + member(b"p", b"12 path=a.b\n", kind) * 2000 + member(b"2.txt", b"b") + END)
    with pytest.raises(DataError, match="more than 16 headers"):
        read(open_table(str(path)))


@pytest.mark.parametrize("before", [b"", member(b"p", b"12 path=a.b\n", b"x")], ids=["first", "behind a short one"])
def test_no_header_of_a_header_is_held_that_is_long(before: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with path.open("wb") as file:
        file.write(before + member(b"p", kind=b"x", size=4 << 30))
        file.truncate(5 << 30)
    with pytest.raises(DataError, match="a header of more than 1 MB"):
        read(open_table(str(path)))


def test_a_sparse_member_is_no_end(tmp_path: Path) -> None:
    """Its size counts what is not in the archive."""
    sparse = bytearray(member(b"2.txt", b"z" * 512, b"S"))
    sparse[386:398], sparse[398:410], sparse[483:495] = b"%011o\0" % 0, b"%011o\0" % 512, b"%011o\0" % (1 << 32)
    sparse[148:156] = b" " * 8
    sparse[148:156] = b"%06o\0 " % sum(sparse[:512])
    (tmp_path / "a.tar").write_bytes(member(b"1.txt", b"a") + bytes(sparse) + member(b"3.txt", b"b") + END)
    assert reasons(read(open_table(str(tmp_path / "a.tar")))) == ["row", "odd_member", "row"]


def test_members_whose_names_are_not_unicode_are_rejected(tmp_path: Path) -> None:
    """Each is told in words that can be written."""
    names = (b"caf\xe9.txt", b"\xff/1.txt", b"3.txt")
    (tmp_path / "a.tar").write_bytes(b"".join(member(name, b"a") for name in names) + END)
    found = read(open_table(str(tmp_path / "a.tar")))
    assert reasons(found) == ["unsafe_name", "unsafe_name", "row"]
    assert "caf\\xe9" in found[0].where and "\\xff/1.txt" in found[1].values.detail  # type: ignore[union-attr]


def test_the_texts_of_a_sample_are_bounded_together(tmp_path: Path) -> None:
    members = [(f"1.{n}.txt", b"x" * (1 << 20)) for n in range(3)]
    path = write_tar(tmp_path / "a.tar", [*members, ("2.txt", b"a")])
    assert reasons(read(open_table(str(path)))) == ["too_long_text", "row"]


@pytest.mark.slow
def test_a_sample_of_many_images_takes_no_longer_than_many_samples(tmp_path: Path) -> None:
    seconds = list[float]()
    for name in (b"%d.jpg", b"1.%d.jpg"):
        path = tmp_path / "a.tar"
        path.write_bytes(b"".join(member(name % n, b"x") for n in range(30_000)) + END)
        start = time.process_time()
        assert reasons(read(open_table(str(path))))[-1] == "row"
        seconds.append(time.process_time() - start)
    assert seconds[1] < 2 * seconds[0]


def test_of_a_tar_that_is_cut_whole_samples_are_read(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", samples())
    whole = path.read_bytes()
    starts = [int(row.at) for row in read(open_table(str(path)))]
    for length in range(512, starts[-1] + 2000, 173):
        path.write_bytes(whole[:length])
        found = reasons(read(open_table(str(path))))
        complete = sum(stop <= length for stop in (*starts[1:], starts[-1] + 3 * 512 + 1024 + 1024))
        assert found.count("row") in (complete, complete + 1)  # one more where the cut is between two of its members
        assert found[-1] == "cut_tar" and found.count("cut_tar") == 1


def test_a_damaged_header_is_never_an_end(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", samples())
    whole = path.read_bytes()
    start = int(read(open_table(str(path)))[2].at)
    for at in range(start, start + 512, 7):
        damaged = bytearray(whole)
        damaged[at] ^= 4
        path.write_bytes(damaged)
        with pytest.raises(DataError, match="damaged header"):
            read(open_table(str(path)))


@pytest.mark.parametrize("content", [b"", b"<!DOCTYPE html><html>" * 99, b"\x1f\x8b" + b"x" * 2000])
def test_what_is_no_tar_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(content)
    with pytest.raises(DataError):
        read(open_table(str(tmp_path / "a.tar")))


def test_archives_put_together_are_refused(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", samples())
    path.write_bytes(path.read_bytes() * 2)
    with pytest.raises(DataError, match="behind the mark"):
        read(open_table(str(path)))


def test_the_first_row_is_found_without_reading_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is damaged behind it does not matter."""
    monkeypatch.setattr(units, "UNIT_BYTES", 1)
    write_tar(tmp_path / "a.tar", samples())
    (tmp_path / "a.tar").write_bytes((tmp_path / "a.tar").read_bytes() * 2)
    (tmp_path / "a.csv").write_bytes(b"caption,image\na,b\n" + b"\xff,c\n" * 9)
    for name, column in (("a.tar", "txt"), ("a.csv", "caption")):
        row = open_table(str(tmp_path / name)).first()
        assert row is not None and isinstance(row.values, dict) and row.values[column]


@pytest.mark.parametrize("scheme", ["gs", "s3"])
def test_a_tar_in_an_object_store_is_read_in_few_requests(scheme: str, tmp_path: Path) -> None:
    members = [(f"{n:05d}.{name}", data) for n in range(300) for name, data in (("jpg", RANDOM.bytes(90_000)), ("txt", b"a"))]
    path = write_tar(tmp_path / "a.tar", members)
    with stand_in() as objects, used_here(objects.env(scheme)):
        objects.put("a.tar", path.read_bytes())
        table = open_table(f"{scheme}://bucket/a.tar")
        parts = table.parts()
        objects.reset()
        found = [row for part in parts for row in table.rows(part.start, part.stop)]
        counts = objects.counters()
    assert len(found) == 300 and len(parts) == 1
    assert counts.requests["get"] < 20
    assert counts.bytes_out < 1.2 * path.stat().st_size


# Arrow and Parquet that a library would pass over


FAR: dict[str, pa.Array] = {
    "time": pa.array([1 << 62], pa.timestamp("us")),
    "zone": pa.array([1], pa.timestamp("us", tz="No/Where")),
    "day": pa.array([1 << 30], pa.date32()),
    "stretch": pa.array([1 << 62], pa.duration("s")),
}


def write_arrow(path: Path, table: pa.Table, indexed: bool = False) -> Path:
    with (pa.ipc.new_file if indexed else pa.ipc.new_stream)(str(path), table.schema) as writer:
        writer.write_table(table)
    return path


def write_parquet(path: Path, table: pa.Table) -> Path:
    pq.write_table(table, path)
    return path


@pytest.mark.parametrize("indexed", [False, True])
def test_arrow_files_put_together_are_refused(indexed: bool, tmp_path: Path) -> None:
    """Arrow reads the first of them."""
    path = write_arrow(tmp_path / "a.arrow", pa.table({"n": [1, 2]}), indexed)
    assert len(read(open_table(str(path)))) == 2
    for behind in (path.read_bytes(), b"x" * 40):
        path.write_bytes(write_arrow(tmp_path / "b.arrow", pa.table({"n": [1, 2]}), indexed).read_bytes() + behind)
        with pytest.raises(DataError, match=r"mark of its end|index at its end"):
            open_table(str(path)).parts()


@pytest.mark.parametrize("way", [write_arrow, write_parquet])
def test_two_columns_of_one_name_are_refused(way: Callable[[Path, pa.Table], Path], tmp_path: Path) -> None:
    columns = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"]), pa.array(["c"])], names=["caption", "caption", "n"])
    path = str(way(tmp_path / f"a{'.arrow' if way is write_arrow else '.parquet'}", columns))
    with pytest.raises(DataError, match="two columns are called 'caption'"):
        read(open_table(path))
    assert values(read(open_table(path, ("n",)))) == [{"n": "c"}]


@pytest.mark.parametrize("way", [write_arrow, write_parquet])
@pytest.mark.parametrize("kind", FAR)
def test_a_value_that_python_has_not_is_damage(way: Callable[[Path, pa.Table], Path], kind: str, tmp_path: Path) -> None:
    path = way(tmp_path / f"a{'.arrow' if way is write_arrow else '.parquet'}", pa.table({"caption": FAR[kind]}))
    with pytest.raises(DataError, match="cannot be read"):
        read(open_table(str(path)))


@pytest.mark.slow
def test_many_batches_take_no_time_for_each_pair(tmp_path: Path) -> None:
    seconds = list[float]()
    batch = pa.RecordBatch.from_pydict({"n": [1]})
    for count in (5_000, 40_000):
        with pa.ipc.new_stream(str(tmp_path / "a.arrow"), batch.schema) as writer:
            for _ in range(count):
                writer.write_batch(batch)
        start = time.process_time()
        assert len(read(open_table(str(tmp_path / "a.arrow")))) == count
        seconds.append(time.process_time() - start)
    assert seconds[1] < 16 * seconds[0]


def test_a_value_that_is_often_the_same_is_not_held_as_often(tmp_path: Path) -> None:
    """A dictionary holds it once: a file of 1 MB may be rows of 140 MB."""
    path = write_parquet(tmp_path / "a.parquet", pa.table({"image": [RANDOM.bytes(700_000)] * 200}))
    assert path.stat().st_size < 1_000_000
    before = pa.total_allocated_bytes()
    table = open_table(str(path))
    held = [pa.total_allocated_bytes() - before for part in table.parts() for _ in table.rows(part.start, part.stop)]
    assert len(held) == 200
    assert max(held) < 100 << 20
