"""Headers and members of our tar shards; tests/formats/test_webdataset.py compares whole shards with Python's tarfile."""

from __future__ import annotations

import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rt2data.errors import DataError
from rt2data.io.tar import BLOCK, end_bytes, members, padded, read_header, tar_header

CONTENTS = st.lists(st.binary(max_size=2 * BLOCK), max_size=4)


def archive(contents: list[bytes]) -> bytes:
    parts = [tar_header(b"%d.bin" % n, len(each)) + each.ljust(padded(len(each)), b"\0") for n, each in enumerate(contents)]
    size = sum(map(len, parts))
    return b"".join((*parts, bytes(end_bytes(size))))


@given(CONTENTS)
def test_members_invert_headers_and_tarfile_reads_them(contents: list[bytes]) -> None:
    whole = archive(contents)
    assert [(name, bytes(each)) for name, each in members("x.tar", memoryview(whole))] == [
        (f"{number}.bin", each) for number, each in enumerate(contents)
    ]
    with tarfile.open(fileobj=io.BytesIO(whole)) as tar:
        assert [member.size for member in tar] == [len(each) for each in contents]


@given(st.integers(0, BLOCK - 1), st.integers(0, 7))
def test_no_flipped_bit_of_a_header_goes_unnoticed(at: int, bit: int) -> None:
    raw = bytearray(tar_header(b"key.jpg", 1234))
    assert read_header(bytes(raw)) == ("key.jpg", 1234)
    raw[at] ^= 1 << bit
    with pytest.raises(ValueError, match=r"."):
        read_header(bytes(raw))


@pytest.mark.parametrize("cut", [1, BLOCK, 3 * BLOCK, -1])
def test_a_cut_or_longer_archive_is_refused(cut: int) -> None:
    whole = archive([b"x" * 700])
    with pytest.raises(DataError, match="build it again"):
        list(members("x.tar", memoryview(whole[:-cut] if cut > 0 else whole + b"\0")))
