"""Our tar shards are those of Python's tarfile, byte for byte, and the tools people have read them: tar, tarfile, webdataset."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given

from rt2data.formats.webdataset import WebDataset
from rt2data.io.tar import tar_header
from tests.contract.test_formats import FEW, SEVERAL, Placed, Shard, content, one, robot_record, shards, some, web_record, write
from tests.contract.toy import jpeg
from tests.laws import tries

EXAMPLES = (
    one("arm-e000-000001", "jpg", jpeg(1), robot_record("arm-e000-000001", target="1 128 91")),
    one("qa-q0007-r2", "jpg", jpeg(2), web_record("qa-q0007-r2", target="two")),
    one("k" * 90, "png", content(512 * 40), web_record("k" * 90, target="größer")),
)


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    return write(WebDataset(), tmp_path, EXAMPLES)[0]


def members(examples: tuple[Placed, ...], single: bool = True) -> list[tuple[str, bytes]]:
    """Names and bodies: images have numbers where examples have other than one."""
    found = []
    for each in examples:
        found += [(f"{each.key}.{kind if single else f'image_{slot}.{kind}'}", image) for slot, kind, image in each.images]
        found.append((f"{each.key}.json", each.record))
    return found


def by_tarfile(members: list[tuple[str, bytes]]) -> bytes:
    """What Python's own writer makes of the same members."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, body in members:
            info = tarfile.TarInfo(name)
            info.size, info.mode, info.mtime, info.uid, info.gid = len(body), 0o444, 0, 0, 0
            tar.addfile(info, io.BytesIO(body))
    return out.getvalue()


@tries(60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(examples=shards)
def test_the_bytes_are_those_of_tarfile(tmp_path_factory: pytest.TempPathFactory, examples: Shard) -> None:
    path, _, _ = write(WebDataset(), tmp_path_factory.getbasetemp(), examples[1], examples[0])
    assert path.read_bytes() == by_tarfile(members(examples[1], examples[0].images is None))
    path.unlink()


@pytest.mark.parametrize("size", [0, 1, 8**8 - 1, 8**8, 8**11 - 1])
def test_headers_up_to_the_largest_size(size: int) -> None:
    info = tarfile.TarInfo("n" * 95 + ".json")
    info.size, info.mode, info.mtime = size, 0o444, 0
    assert bytes(tar_header(info.name.encode(), size)) == info.tobuf(tarfile.USTAR_FORMAT)


def test_tarfile_reads_it(shard: Path) -> None:
    with tarfile.open(shard) as tar:
        infos = tar.getmembers()
        assert [(i.name, tar.extractfile(i).read()) for i in infos] == members(EXAMPLES)  # type: ignore[union-attr]
    for info in infos:
        assert info.isreg()
        assert (info.mode, info.mtime, info.uid, info.gid, info.uname, info.gname) == (0o444, 0, 0, 0, "", "")
        assert not info.pax_headers


@pytest.mark.skipif(shutil.which("tar") is None, reason="there is no tar command")
def test_tar_lists_and_extracts_it(shard: Path, tmp_path: Path) -> None:
    listed = subprocess.run(["tar", "tf", shard], capture_output=True, text=True, check=True)
    assert listed.stdout.split() == [name for name, _ in members(EXAMPLES)]
    assert listed.stderr == ""
    (tmp_path / "out").mkdir()
    subprocess.run(["tar", "xf", shard, "-C", tmp_path / "out"], check=True)
    assert {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()} == dict(members(EXAMPLES))


def test_webdataset_reads_every_example(tmp_path: Path) -> None:
    wds = pytest.importorskip("webdataset")
    path = write(WebDataset(), tmp_path, FEW)[0]
    found = [{k: v for k, v in sample.items() if k != "__url__"} for sample in wds.WebDataset(str(path), shardshuffle=False)]
    assert [(s["__key__"], s[e.images[0][1]], s["json"]) for s, e in zip(found, FEW, strict=True)] == [
        (e.key, e.images[0][2], e.record) for e in FEW
    ]


def test_webdataset_reads_examples_of_no_one_and_two_images(tmp_path: Path) -> None:
    wds = pytest.importorskip("webdataset")
    path = write(WebDataset(), tmp_path, some, SEVERAL)[0]
    found = list(wds.WebDataset(str(path), shardshuffle=False))
    for sample, each in zip(found, some, strict=True):
        parts = {name: part for name, part in sample.items() if not name.startswith("__")}
        images = {f"image_{slot}.{kind}": image for slot, kind, image in each.images}
        assert (sample["__key__"], parts) == (each.key, images | {"json": each.record})


def test_webdataset_decodes_pictures_and_records(shard: Path) -> None:
    """In a process of its own, where torch cannot be imported even if it is installed: a reader needs none."""
    pytest.importorskip("webdataset")
    script = """
import json, sys
sys.modules["torch"] = None
import webdataset
tar, found = sys.argv[1], []
for sample in webdataset.WebDataset(tar, shardshuffle=False).decode("rgb8"):
    found.append([sample["__key__"], list(sample["jpg"].shape) if "jpg" in sample else None, sample["json"]["target"]])
    if len(found) == 2:
        break
print(json.dumps([found, "tensorflow" in sys.modules]))
"""
    run = subprocess.run([sys.executable, "-c", script, shard], capture_output=True, text=True, check=True)
    found, tensorflow = json.loads(run.stdout)
    assert found == [["arm-e000-000001", [32, 32, 3], "1 128 91"], ["qa-q0007-r2", [32, 32, 3], "two"]]
    assert not tensorflow


def test_example_bytes_are_exact(tmp_path: Path) -> None:
    form, none = WebDataset(), write(WebDataset(), tmp_path, ())[1]
    assert none == tarfile.RECORDSIZE
    _, size, _ = write(form, tmp_path, EXAMPLES)
    asked = sum(form.example_bytes(e.lengths, len(e.record)) for e in EXAMPLES) + 2 * tarfile.BLOCKSIZE
    assert size == -(-asked // tarfile.RECORDSIZE) * tarfile.RECORDSIZE
