"""Annotations that are made to break a reader: each is told in one line, in little time and memory."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rt2data.errors import DataError
from rt2data.read.annotations import contents
from rt2data.read.annotations.contents import EpisodeNotes, read_notes
from rt2data.read.annotations.index import build_index
from rt2data.read.annotations.settings import ECoT, StepTable


def notes(joined: ECoT | StepTable) -> EpisodeNotes:
    """Those of the first episode."""
    index = build_index(joined)
    return read_notes(joined, index.places(index.find(("a",)) if isinstance(joined, StepTable) else index.find(("f", "1"))))


def steps(path: Path, text: str) -> EpisodeNotes:
    path.write_text(text)
    return notes(StepTable(path=str(path)))


def test_a_row_nested_deeply_is_damage(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nested too deeply"):
        steps(tmp_path / "a.jsonl", f'{{"episode": "a", "step": 1, "note": {"[" * 200_000}{"]" * 200_000}}}')


@pytest.mark.parametrize("column", ["step", "start"])
def test_a_number_of_thousands_of_digits_is_none(column: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no number"):
        steps(tmp_path / "a.csv", f"episode,{column},note\na,{'9' * 5000},x\n")


def test_a_step_of_thousands_of_digits_is_unusable(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(f'{{"f": {{"1": {{"reasoning": {{"{"9" * 5000}": {{"task": "x"}}}}}}}}}}')
    assert notes(ECoT(path=str(tmp_path / "a.json"))).unusable


def test_few_bytes_are_not_about_millions_of_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = '{{"episode": "a", "start": {}, "stop": {}, "note": "x"}}\n'
    with pytest.raises(DataError, match="a stretch of 100,000,000 steps"):
        steps(tmp_path / "a.jsonl", row.format(0, 100_000_000))
    monkeypatch.setattr(contents, "MOST_STEPS", 100)
    with pytest.raises(DataError, match="more than 100 steps"):
        steps(tmp_path / "a.jsonl", row.format(0, 60) + row.format(60, 120))
    assert len(steps(tmp_path / "b.jsonl", row.format(0, 60) + row.format(30, 100)).steps) == 100


def test_a_quote_without_end_is_not_copied_for_each_line(tmp_path: Path) -> None:
    """16 MB in lines of 16 bytes: copied for each they would be 8 TB."""
    with pytest.raises(DataError, match="a quote is not closed"):
        steps(tmp_path / "a.csv", 'episode,step,note\n"' + f"{'x' * 15}\n" * (1 << 20))


@pytest.mark.parametrize("kind", ["text", "time"])
def test_a_value_that_python_has_not_is_damage(kind: str, tmp_path: Path) -> None:
    offsets, text = pa.array([b"\xff"]).buffers()[1:]
    column = (
        pa.Array.from_buffers(pa.string(), 1, [None, offsets, text]) if kind == "text" else pa.array([1 << 62], pa.timestamp("us"))
    )
    pq.write_table(pa.table({"episode": ["a"], "step": [1], "note": column}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="annotations cannot be read"):
        notes(StepTable(path=str(tmp_path / "a.parquet")))


def test_a_pipe_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.jsonl")
    (problem,) = StepTable(path=str(tmp_path / "a.jsonl")).invalid()
    assert problem.startswith("is no file")
