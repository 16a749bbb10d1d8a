"""Megatron-Energon's metadata: what its own `prepare` would write, and `test_every_reader` has its loader take our outputs."""

from __future__ import annotations

import json
import sqlite3
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from rt2data.build import Site, build_plainly
from rt2data.plan.recipe import Recipe
from rt2data.seal.manifest import read_manifest


@pytest.fixture
def out(toy_recipe: Callable[..., Recipe], tmp_path: Path) -> Path:
    build_plainly(toy_recipe(), Site(tmp_path / "out"))
    return tmp_path / "out"


def test_indexes_say_where_tarfile_finds_the_members(out: Path) -> None:
    for shard in read_manifest(out).shards:
        with tarfile.open(out / shard.name) as tar:
            members = tar.getmembers()
            wanted = [member.offset for member in members[::2]] + [tar.offset]
        index = (out / f"{shard.name}.idx").read_bytes()
        assert list(struct.unpack(f"<{len(index) // 8}Q", index)) == wanted


def test_the_database_holds_every_part(out: Path) -> None:
    names = [shard.name for shard in read_manifest(out).shards]
    with sqlite3.connect(out / ".nv-meta" / "index.sqlite") as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        for number, name in enumerate(names):
            with tarfile.open(out / name) as tar:
                members = tar.getmembers()
            parts = database.execute("SELECT * FROM sample_parts WHERE tar_file_id = ?", (number,)).fetchall()
            wanted = [(number, at // 2, m.name.partition(".")[2], m.offset_data, m.size) for at, m in enumerate(members)]
            assert parts == wanted
            keys = database.execute("SELECT sample_key, byte_offset FROM samples WHERE tar_file_id = ?", (number,)).fetchall()
            assert keys == [(m.name.partition(".")[0], m.offset) for m in members[::2]]


def test_shards_are_counted(out: Path) -> None:
    info = json.loads((out / ".nv-meta" / ".info.json").read_text())
    assert info["shard_counts"] == {shard.name: shard.examples for shard in read_manifest(out).shards}
