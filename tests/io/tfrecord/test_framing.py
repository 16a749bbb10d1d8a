"""TFRecord files: frames both ways, and every way a file can be damaged."""

from __future__ import annotations

import os
import struct
import tracemalloc
from pathlib import Path

import google_crc32c
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rt2data.errors import DataError
from rt2data.io.tfrecord import reading
from rt2data.io.tfrecord.framing import FRAME, HEADER, FrameFault, RecordSpan, frame, mask, masked_crc, payload_length, scan
from rt2data.io.tfrecord.reading import read_records
from tests.laws import tries

PAYLOADS = [bytes([n]) * (50 + 7 * n) for n in range(1, 41)]


def write(path: Path, payloads: list[bytes]) -> Path:
    path.write_bytes(b"".join(map(frame, payloads)))
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write(tmp_path / "x.tfrecord", PAYLOADS)


def whole(path: Path, start: int = 0, stop: int | None = None) -> list[bytes | FrameFault]:
    return [found if isinstance(found, FrameFault) else bytes(found[1]) for found in read_records(str(path), start, stop)]


def flip(path: Path, at: int) -> None:
    raw = bytearray(path.read_bytes())
    raw[at] ^= 0x40
    path.write_bytes(raw)


def test_frame_is_the_published_layout() -> None:
    payload = b"one record"
    length = struct.pack("<Q", 10)
    mask_of = lambda crc: (((crc >> 15) | (crc << 17 & 0xFFFFFFFF)) + 0xA282EAD8) % 2**32  # noqa: E731
    footer = struct.pack("<I", mask_of(google_crc32c.value(payload)))
    assert frame(payload) == length + struct.pack("<I", mask_of(google_crc32c.value(length))) + payload + footer
    assert masked_crc(b"123456789") == mask(0xE3069283)  # the check value of CRC-32C


@given(st.lists(st.binary(max_size=300), max_size=12))
@tries(60)
def test_reading_inverts_framing(tmp_path_factory: pytest.TempPathFactory, payloads: list[bytes]) -> None:
    path = write(tmp_path_factory.mktemp("law") / "x", payloads)
    assert whole(path) == payloads
    index = scan(str(path))
    raw = path.read_bytes()
    assert [raw[span.offset + HEADER : span.stop - 4] for span in index.spans] == payloads
    assert (index.size, index.broken) == (len(raw), None)


def test_offsets_point_at_the_payload(file: Path) -> None:
    raw = file.read_bytes()
    for found in read_records(str(file)):
        assert not isinstance(found, FrameFault)
        offset, payload = found
        assert raw[offset : offset + len(payload)] == payload


def test_ranges_of_whole_records_add_up(file: Path) -> None:
    spans = scan(str(file)).spans
    for cut in (0, 1, 17, 40):
        middle = spans[cut].offset if cut < 40 else None
        size = file.stat().st_size
        assert whole(file, 0, size if middle is None else middle) == PAYLOADS[:cut]
        assert whole(file, size if middle is None else middle) == PAYLOADS[cut:]


def test_a_view_stays_good_for_as_long_as_it_is_held(file: Path) -> None:
    held = [found[1] for found in read_records(str(file)) if not isinstance(found, FrameFault)]
    assert [bytes(view) for view in held] == PAYLOADS
    assert all(view.readonly for view in held)


def test_memory_is_used_again_once_it_is_let_go(tmp_path: Path) -> None:
    path = write(tmp_path / "x", [os.urandom(1 << 20)] * 40)
    tracemalloc.start()
    seen = sum(len(found[1]) for found in read_records(str(path)) if not isinstance(found, FrameFault))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seen == 40 << 20
    assert peak < 8 << 20


@pytest.mark.parametrize("kept", [1, 5, 11])
def test_cut_inside_a_header(file: Path, kept: int) -> None:
    edge = scan(str(file)).spans[7].offset
    os.truncate(file, edge + kept)
    with pytest.raises(DataError, match=rf"cut inside the header of a record .*byte {edge}"):
        scan(str(file))
    with pytest.raises(DataError, match="cut"):
        whole(file)


def test_cut_inside_a_payload(file: Path) -> None:
    span = scan(str(file)).spans[7]
    for size in (span.offset + HEADER, span.offset + HEADER + 3, span.stop - 1):
        os.truncate(file, size)
        with pytest.raises(DataError, match=rf"cut inside a record of {span.length} bytes .*byte {span.offset}"):
            scan(str(file))


def test_cut_between_records_is_seen_by_counting_only(file: Path) -> None:
    os.truncate(file, scan(str(file)).spans[7].offset)
    assert len(scan(str(file)).spans) == 7


def test_flipped_payload_byte_costs_one_record(file: Path) -> None:
    span = scan(str(file)).spans[7]
    flip(file, span.offset + HEADER + 20)
    found = whole(file)
    assert found[7] == FrameFault("bad_crc", span.offset, FRAME + span.length)
    assert found[:7] + found[8:] == PAYLOADS[:7] + PAYLOADS[8:]


@pytest.mark.parametrize("byte", range(HEADER))
def test_flipped_header_byte_costs_one_record(file: Path, byte: int) -> None:
    span = scan(str(file)).spans[7]
    flip(file, span.offset + byte)
    assert scan(str(file)).broken == span.offset
    found = whole(file)
    assert found[7] == FrameFault("bad_length", span.offset, FRAME + span.length)
    assert found[:7] + found[8:] == PAYLOADS[:7] + PAYLOADS[8:]


def test_damaged_last_header_leaves_nothing_to_find(file: Path) -> None:
    span = scan(str(file)).spans[-1]
    flip(file, span.offset)
    assert whole(file)[-1] == FrameFault("bad_length", span.offset, FRAME + span.length)


def test_a_length_of_terabytes_takes_no_memory(file: Path) -> None:
    """Once with its checksum broken by the damage, once forged with a good one."""
    span = scan(str(file)).spans[7]
    raw = bytearray(file.read_bytes())
    raw[span.offset + 5] = 0xFF
    file.write_bytes(raw)
    tracemalloc.start()
    assert len(whole(file)) == 40
    length = bytes(raw[span.offset : span.offset + 8])
    raw[span.offset : span.offset + HEADER] = length + struct.pack("<I", masked_crc(length))
    file.write_bytes(raw)
    with pytest.raises(DataError, match="cut inside a record of"):
        whole(file)
    with pytest.raises(DataError, match="cut inside a record of"):
        scan(str(file))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20


def test_the_search_passes_over_headers_whose_payload_does_not_match(tmp_path: Path) -> None:
    lure = bytearray(frame(b"a payload that was changed"))
    lure[15] ^= 1
    path = tmp_path / "x"
    path.write_bytes(b"\xff" * 100 + bytes(lure) + frame(b"the real one"))
    assert whole(path) == [FrameFault("bad_length", 0, 100 + len(lure)), b"the real one"]


def test_the_search_crosses_its_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_WINDOW", 64)
    path = tmp_path / "x"
    for lead in range(50, 80):
        path.write_bytes(b"\x07" * lead + frame(b"found"))
        assert whole(path) == [FrameFault("bad_length", 0, lead), b"found"]


def test_the_search_gives_up_on_a_file_made_to_lure_it(tmp_path: Path) -> None:
    length = struct.pack("<Q", 1 << 20)
    path = tmp_path / "x"
    path.write_bytes(b"\xff" * 16 + (length + struct.pack("<I", masked_crc(length))) * 200_000)
    assert [found.reason for found in whole(path) if isinstance(found, FrameFault)] == ["bad_length"]


def test_the_search_by_table_agrees_with_the_library() -> None:
    rows = np.random.default_rng(0).integers(0, 256, (500, 8), dtype=np.uint8)
    assert reading._masked_crcs(rows).tolist() == [masked_crc(row.tobytes()) for row in rows]


@given(st.binary(max_size=400))
@tries(150)
def test_any_bytes_end_in_faults_or_a_named_error(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "x"
    path.write_bytes(raw)
    try:
        found = whole(path)
    except DataError as error:
        assert str(path) in error.where
    else:
        assert all(isinstance(one, FrameFault) for one in found)


@given(st.data())
@tries(100)
def test_any_flipped_byte_costs_exactly_one_record(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    payloads = [bytes([n]) * 20 for n in range(1, 9)]
    path = write(tmp_path_factory.mktemp("flip") / "x", payloads)
    flip(path, data.draw(st.integers(0, path.stat().st_size - 1)))
    found = whole(path)
    faults = [one for one in found if isinstance(one, FrameFault)]
    assert len(faults) == 1
    assert len(found) == 8
    assert [one for one in found if not isinstance(one, FrameFault)] == [
        p for n, p in enumerate(payloads) if found[n] is not faults[0]
    ]


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(DataError, match=r"cannot read the file: No such file.*nowhere"):
        scan("/nowhere/x.tfrecord")


def test_header_with_a_wrong_checksum_says_nothing() -> None:
    assert payload_length(frame(b"abc")[:HEADER]) == 3
    assert payload_length(b"\0" * HEADER) is None
    assert RecordSpan(10, 3).stop == 10 + FRAME + 3
