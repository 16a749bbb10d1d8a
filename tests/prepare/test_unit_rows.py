"""Rows of a unit that are laid by on the way make the same file as all rows at once."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from rt2data.prepare import unit_rows
from rt2data.prepare.row_builder import RowBuilder
from rt2data.prepare.row_table import UNIT_ROWS, rows_table
from rt2data.prepare.unit_rows import UnitRows
from rt2data.read.source import Source
from rt2data.records import SourceRecord, Step
from tests.contract.toy import ToyRegions, ToyRobot, ToyWeb, write_robot, write_web


@pytest.mark.parametrize("at_once", [1, 5, 1000])
@pytest.mark.parametrize("what", ["robot", "windows", "pool", "web", "regions", "nothing"])
def test_the_file_is_that_of_all_rows_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, at_once: int) -> None:
    source, records = _source(tmp_path / "source", what)
    whole = RowBuilder("toy", source, "blob", io.FileIO("/dev/null", "w"))
    whole.take(records)
    _write_at_once(tmp_path / "whole", whole)
    monkeypatch.setattr(unit_rows, "AT_ONCE", at_once)
    parted = UnitRows("toy", source, "blob", io.FileIO("/dev/null", "w"))
    parted.take(records)
    assert len(parted.columns["key"]) < max(at_once, 9)  # rows of one episode, where they share a pool
    parted.write_fragment(tmp_path / "parted")
    assert (tmp_path / "parted").read_bytes() == (tmp_path / "whole").read_bytes()
    assert [*parted.splits.items()] == [*Counter(whole.columns["split"]).items()]
    assert all(parted.dims(name) == whole.dims(name) for name in ("action", "state"))


def _source(folder: Path, what: str) -> tuple[Source, list[SourceRecord]]:
    if what == "web":
        return _all_of(ToyWeb(path=str(write_web(folder)), holdout=0.5))
    if what == "regions":
        return _all_of(ToyRegions(path=str(write_web(folder))))
    path = str(write_robot(folder, episodes=0 if what == "nothing" else 6))
    if what == "windows":
        return _all_of(ToyRobot(path=path, action_space="generic_nd", horizon=4, history=(0, -2), holdout=0.5))
    if what == "pool":
        words = folder / "words.json"
        words.write_text("{}")
        source, records = _all_of(ToyRobot(path=path, action_space="generic_nd", instructions={"path": str(words)}))
        return source, [*_with_pools(records)]
    return _all_of(ToyRobot(path=path, action_space="generic_nd"))


def _all_of(source: Source) -> tuple[Source, list[SourceRecord]]:
    return source, [record for unit in source.units() for record in source.read(unit)]


def _with_pools(records: Iterable[SourceRecord]) -> Iterable[SourceRecord]:
    """Some steps of an episode have no pool, others one of two."""
    for record in records:
        assert isinstance(record, Step)
        yield replace(record, pool=((), ("lift it", "up"), ("raise it",))[record.step % 3])


def _write_at_once(path: Path, rows: RowBuilder) -> None:
    pq.write_table(
        rows_table(rows.made_columns, UNIT_ROWS),
        path,
        row_group_size=1024,
        compression="lz4",
        use_dictionary=["split"],
        write_statistics=["order"],
        write_page_checksum=True,
    )
