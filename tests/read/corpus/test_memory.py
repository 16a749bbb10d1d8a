"""A corpus takes the same memory at any size."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from rt2data.io import location
from rt2data.io.json_stream import CHUNK
from rt2data.read import units
from rt2data.read.corpus.conversations import Conversations
from rt2data.read.json_shape import HEAD
from rt2data.records import Example
from tests.bench import corpora
from tests.conftest import ROOT


@pytest.mark.slow
def test_conversations_take_the_same_memory_at_any_size(tmp_path: Path) -> None:
    """Far less than what the file has: elements are read one by one, and units by ranges."""
    peaks = []
    for size in (100_000_000, 400_000_000):
        rows = corpora.write(tmp_path / "a.json", size)
        command = [sys.executable, "-m", "tests.bench.corpora", "ours", str(tmp_path / "a.json")]
        found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout)
        assert found["rows"] == rows
        peaks.append(found["peak_mb"])
    assert peaks[1] < 1.1 * peaks[0] < 150


@pytest.mark.parametrize("ending", ["json", "jsonl"])
def test_a_unit_reads_its_own_part_of_a_file(ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """But for the rest of the piece of a file in which it ends."""
    corpora.write(tmp_path / "a.json", 4 << 20)
    rows = json.loads((tmp_path / "a.json").read_text())
    if ending == "jsonl":
        (tmp_path / "a.json").unlink()
        (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    monkeypatch.setattr(units, "UNIT_BYTES", 1 << 20)
    source = Conversations.model_validate({"data": str(tmp_path)})
    parts = source.units()
    assert len(parts) >= 4
    touched: list[tuple[int, int]] = []
    monkeypatch.setattr(location, "open_file", lambda name: _Watched(io.FileIO(str(name)), touched))
    read = 0
    for unit in parts:
        touched.clear()
        read += sum(isinstance(record, Example) for record in source.read(unit))
        held = [span for span in touched if span[1] > HEAD]  # what a file is, is seen by its first bytes
        assert min(start for start, _ in held) >= unit.start - CHUNK
        assert max(stop for _, stop in held) <= unit.stop + CHUNK
    assert read == len(rows)


class _Watched(io.BufferedReader):
    """A file that says which of its bytes are read."""

    def __init__(self, raw: io.FileIO, touched: list[tuple[int, int]]) -> None:
        super().__init__(raw, 1 << 16)
        self._touched = touched

    def read(self, size: int | None = -1) -> bytes:
        return self._seen(super().read(size))

    def readline(self, size: int | None = -1) -> bytes:
        return self._seen(super().readline(size))

    def _seen(self, found: bytes) -> bytes:
        self._touched.append((self.tell() - len(found), self.tell()))
        return found
