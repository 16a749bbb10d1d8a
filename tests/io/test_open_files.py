"""Files read by range: exactly the bytes that were prepared, with few files open at a time."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import xxhash

from rt2data.errors import DataError, SourceChangedError
from rt2data.io.location.open_files import OpenFiles, RangeFiles
from rt2data.io.stamps import Stamp

CONTENTS = [bytes([number]) * 50 + bytes(range(100)) for number in range(6)]


@pytest.fixture
def paths(tmp_path: Path) -> list[str]:
    for number, content in enumerate(CONTENTS):
        (tmp_path / str(number)).write_bytes(content)
    return [str(tmp_path / str(number)) for number in range(len(CONTENTS))]


def stamped(paths: list[str], limit: int = 256) -> OpenFiles:
    return OpenFiles("arm", [Stamp.of(path) for path in paths], limit)


def read(files: OpenFiles, file: int, start: int, length: int, digest: int | None = None) -> bytes:
    into = bytearray(length)
    wanted = xxhash.xxh3_64_intdigest(CONTENTS[file][start : start + length]) if digest is None else digest
    files.read_into(memoryview(into), file, start, wanted, "row-1")
    return bytes(into)


@pytest.mark.parametrize("limit", [1, 2, 256])
def test_ranges_are_exact_whatever_is_open(paths: list[str], limit: int) -> None:
    files = stamped(paths, limit)
    for file, start, length in [(0, 0, 150), (5, 60, 3), (1, 149, 1), (0, 40, 20), (3, 0, 0), (5, 1, 1)]:
        assert read(files, file, start, length) == CONTENTS[file][start : start + length]
        assert sum(number in files for number in range(6)) <= limit


def test_what_is_announced_is_opened_up_to_the_limit(paths: list[str]) -> None:
    files = stamped(paths, 3)
    numbers = np.arange(6, dtype=np.int32)
    files.will_need(SimpleNamespace(file=numbers, offset=numbers.astype(np.int64), length=numbers))
    assert [number in files for number in range(6)] == [True] * 3 + [False] * 3


def test_descriptors_are_closed(paths: list[str]) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    files = stamped(paths)
    for file in range(6):
        read(files, file, 0, 10)
    assert len(list(Path("/proc/self/fd").iterdir())) == before + 6
    del files
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize(("start", "length", "digest"), [(0, 10, 1), (140, 20, None)])
def test_other_bytes_and_fewer_bytes_are_a_changed_source(paths: list[str], start: int, length: int, digest: int | None) -> None:
    with pytest.raises(SourceChangedError, match=rf"source arm changed.*byte {start} \(row row-1\)") as caught:
        read(stamped(paths), 0, start, length, digest)
    assert caught.value.code == 7


def test_a_file_with_another_stamp_is_a_changed_source(paths: list[str]) -> None:
    files = stamped(paths)
    Path(paths[2]).write_bytes(CONTENTS[2] + b"more")
    with pytest.raises(SourceChangedError, match="source arm changed"):
        read(files, 2, 0, 10)
    assert 2 not in files and read(files, 1, 0, 10) == CONTENTS[1][:10]


def test_a_missing_file_and_one_that_cannot_be_read(paths: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    files = stamped(paths)
    Path(paths[4]).unlink()
    with pytest.raises(SourceChangedError, match="a file of source arm is gone"):
        read(files, 4, 0, 10)

    def fail(*_: object) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "preadv", fail)
    with pytest.raises(DataError, match=r"source arm cannot be read: Input/output error.*byte 7.*check the disk"):
        read(files, 0, 7, 10)


def test_where_no_more_files_may_be_opened_another_is_closed(paths: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    files, opened = RangeFiles(paths, 10, sequential=True), os.open
    assert files.read(0, 0, 2) == b"\0\0" and files.read(1, 148, 9) == b"bc"

    def full(path: str, flags: int) -> int:
        if 0 in files:
            raise OSError(24, "Too many open files")
        return opened(path, flags)

    monkeypatch.setattr(os, "open", full)
    assert files.read(2, 0, 1) == b"\2"
    assert [number in files for number in range(3)] == [False, True, True]


def test_a_copy_opens_its_own_files(paths: list[str]) -> None:
    files = RangeFiles(paths, 10)
    files.read(0, 0, 1)
    copy = pickle.loads(pickle.dumps(files))
    assert 0 in files and 0 not in copy and copy.read(0, 0, 1) == b"\0"
