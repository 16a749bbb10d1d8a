"""MosaicML's streaming opens our MDS folders by itself and gives the examples that the tar shards hold."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rt2data.errors import UsageError
from rt2data.formats import mds
from rt2data.formats.base import Sizes
from rt2data.formats.flat import filled
from rt2data.formats.mds import Mds, make_fields
from rt2data.plan.recipe import Recipe, RecipeError
from rt2data.render.fields import FIELDS
from rt2data.render.record import decode_record
from rt2data.seal.manifest import read_manifest
from tests.contract.test_formats import LETTERS, SINGLE, content, one, robot_record, web_record, write
from tests.formats.conftest import examples

PYTHON = os.environ.get("RT2DATA_STREAMING_PYTHON", sys.executable)
"""mosaicml-streaming wants an older xxhash than ours (below 4): it may have a Python of its own."""
IMPORT = """
import sys, types
sys.modules["streaming.vision"] = types.ModuleType("vision")  # CIFAR and the like, which alone need torchvision
import streaming
"""
READ = """
import hashlib, json, sys
import numpy as np
from streaming import StreamingDataset

def plain(value):
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value

found = []
dataset = StreamingDataset(remote=sys.argv[1], local=sys.argv[2], batch_size=1, validate_hash="xxh3_128")
for example in (dataset[at] for at in range(len(dataset))):
    picture = example.pop("image")
    sha, size = hashlib.sha256(picture.fp.getvalue()).hexdigest(), picture.convert("RGB").size
    found.append([sha, size, {name: plain(value) for name, value in example.items()}])
print(json.dumps(found))
"""
WRITE = """
import json, sys
import numpy as np
from streaming import MDSWriter

columns, samples = json.loads(sys.stdin.read())
with MDSWriter(out=sys.argv[1], columns=columns, hashes=["xxh3_128"], size_limit=None) as out:
    for sample in samples:
        for name, encoding in columns.items():
            if encoding.startswith("ndarray"):
                sample[name] = np.array(sample[name], encoding.split(":")[1])
            elif encoding == "bytes":
                sample[name] = bytes.fromhex(sample[name])
        out.write(sample)
"""


def by_streaming(script: str, *args: Any, given: str = "") -> str:
    if subprocess.run([PYTHON, "-c", IMPORT], capture_output=True).returncode:
        pytest.skip("mosaicml-streaming is not installed; $RT2DATA_STREAMING_PYTHON may name a Python that has it")
    run = subprocess.run([PYTHON, "-c", IMPORT + script, *map(str, args)], input=given, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_streaming_gives_the_examples_of_the_tar_shards(mixture: Callable[[str], Path], tmp_path: Path) -> None:
    """It fetches each shard to a folder of its own and checks our hash of it."""
    found = json.loads(by_streaming(READ, mixture("mds"), tmp_path).splitlines()[-1])
    wanted = examples(mixture("mds"))
    assert len(found) == len(wanted) == 90
    assert {record.key for _, record in wanted} == {record.key for _, record in examples(mixture("webdataset"))}
    for (sha, size, values), (image, record) in zip(found, wanted, strict=True):
        assert sha == hashlib.sha256(image).hexdigest()
        assert min(size) > 0
        assert values.pop("image_format") == "jpg"
        assert values == json.loads(json.dumps(filled(record, Sizes(7, 1))))


def test_the_bytes_are_those_of_its_own_writer(tmp_path: Path) -> None:
    """Shards and index, but for the encoding of the picture: its writer would compress one anew that is called `jpeg`."""
    placed = tuple(one(f"k{n}", "jpg", content(300 * n + 1), robot_record(f"k{n}", text=LETTERS * n)) for n in range(5))
    path = write(Mds(), tmp_path, placed)[0]
    columns = {field.name: field.encoding for field in make_fields(SINGLE).fields} | {"image": "bytes"}
    samples = [
        filled(decode_record(each.record), SINGLE) | {"image": each.images[0][2].hex(), "image_format": "jpg"} for each in placed
    ]
    for sample in samples:
        sample["terminate"], sample["action_mask"] = int(sample["terminate"]), [int(flag) for flag in sample["action_mask"]]
    by_streaming(WRITE, tmp_path / "theirs", given=json.dumps([columns, samples]))
    theirs, ours = (tmp_path / "theirs" / "shard.00000.mds").read_bytes(), path.read_bytes()
    first = int.from_bytes(ours[4:8], "little")
    there = int.from_bytes(theirs[4:8], "little")
    assert theirs[there:] == ours[first:]
    names, table = ("column_encodings", "column_names", "column_sizes", "format", "version", "hashes"), 4 * (len(placed) + 2)
    said, wanted = json.loads(ours[table:first]), json.loads(theirs[table:there])
    said["column_encodings"] = ["bytes" if each == "jpeg" else each for each in said["column_encodings"]]
    assert {name: said[name] for name in names} == {name: wanted[name] for name in names}
    assert said.keys() == wanted.keys()


def test_an_index_lists_shards_sizes_and_hashes(mixture: Callable[[str], Path]) -> None:
    out = mixture("mds")
    index, shards = json.loads((out / "index.json").read_text()), read_manifest(out).shards
    assert [each["raw_data"] for each in index["shards"]] == [
        {"basename": shard.name, "bytes": shard.bytes, "hashes": {"xxh3_128": shard.xxh3_128}} for shard in shards
    ]
    assert [each["samples"] for each in index["shards"]] == [shard.examples for shard in shards]
    encodings = {encoding for each in index["shards"] for encoding in each["column_encodings"]}
    assert encodings == {"jpeg", "str", "json", "int", "uint8", "ndarray:int32", "ndarray:uint8", "ndarray:float32"} | {
        "ndarray:float32:7",
        "ndarray:float32:1,7",
        "ndarray:uint8:1",
        "float32",
        "float64",
        "ndarray:uint8:7",
    }


def test_columns_are_those_of_the_record_by_name() -> None:
    names = [field.name for field in make_fields(SINGLE).fields]
    assert names == sorted([*(field.name for field in FIELDS), "image", "image_format"])


def test_a_shard_that_its_offsets_cannot_reach_is_refused(
    tmp_path: Path, toy_recipe: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RecipeError, match="mds shards may have at most 2GiB"):
        toy_recipe(shards__format="mds", shards__bytes="3GB")
    assert toy_recipe(shards__format="webdataset", shards__bytes="3GB").shards.bytes == 3 * 10**9
    monkeypatch.setattr(mds, "LARGEST", 100_000)
    few = tuple(one(f"k{n}", "jpg", content(30_000), web_record(f"k{n}")) for n in range(4))
    assert write(Mds(), tmp_path, few[:3])[1] <= 100_000
    with pytest.raises(UsageError, match="would pass 4 GiB"):
        write(Mds(), tmp_path, few)
