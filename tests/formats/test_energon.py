"""Megatron-Energon's metadata: what its own `prepare` would write, and its loader takes our outputs as they are."""

from __future__ import annotations

import json
import sqlite3
import struct
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from rt2data.build import Site, build_plainly
from rt2data.manifest import read_manifest
from rt2data.recipe import Recipe
from tests.formats.conftest import examples
from tests.formats.readers import READERS


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


SCRIPT = """
import json, sys
from megatron.energon import WorkerConfig, get_savable_loader, get_train_dataset
dataset = get_train_dataset(
    sys.argv[1], worker_config=WorkerConfig(rank=0, world_size=1, num_workers=0), batch_size=1,
    shuffle_buffer_size=None, max_samples_per_sequence=None, repeat=False,
)
found = []
for batch in get_savable_loader(dataset):
    found.append([batch.__key__[0], batch.context[0], batch.answers[0], list(batch.image.shape)])
print(json.dumps(found))
"""


def test_energon_loads_it_unprepared(mixture: Callable[[str], Path]) -> None:
    have = subprocess.run([READERS, "-c", "import megatron.energon"], capture_output=True)
    if have.returncode:
        pytest.skip("megatron-energon is not installed; $RT2DATA_READERS_PYTHON may name a Python that has it")
    out = mixture("webdataset")
    run = subprocess.run([READERS, "-c", SCRIPT, out], capture_output=True, text=True, check=True)
    found = {key.rpartition("/")[2]: rest for key, *rest in json.loads(run.stdout.splitlines()[-1])}
    assert len(found) == 90
    for _, record in examples(out):
        context, answers, shape = found[record.key]
        assert (context, answers, shape[1]) == (record.prompt, record.target, 3)
