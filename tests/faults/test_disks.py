"""Full and read-only disks, places that are no folder: one line that says so, nothing half written, and it goes on afterwards."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.command import Ended, Warm, rt2data
from tests.faults.conftest import INLINE, Place

pytestmark = pytest.mark.long

Disk = Callable[..., Path]
slow = pytest.mark.slow


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """Mounts a file system in memory: options as in mount(8)."""
    mounted: list[Path] = []

    def mount(options: str) -> Path:
        folder = tmp_path / f"disk{len(mounted)}"
        folder.mkdir()
        if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", folder], capture_output=True).returncode:
            pytest.skip("mounting a file system is not permitted here")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "-l", folder], check=True)


def grow(folder: Path) -> None:
    """Give a mounted disk as much room as it needs."""
    subprocess.run(["mount", "-o", "remount,size=100m,nr_inodes=10000", folder], check=True)


def full(place: Place, ended: Ended, where: Path) -> None:
    """It says what and where, and nothing of its own takes the room that is left."""
    ended.failed(5, "No space left on device", str(where), "free some space")
    assert not [name for name in place.litter() if name.endswith(".tmp")]
    assert not list(where.rglob("*.tmp"))


@pytest.mark.parametrize("workers", ["0", pytest.param("2", marks=slow)])
def test_full_in_a_shard(prepared: Place, built: Place, warm: Warm, disk: Disk, workers: str) -> None:
    target = disk("size=4300k")  # enough for what the plan foretells, too little for 40 shards with what lies beside them
    out = target / "mixture"
    options = ("build-mixture", "--workers", workers, "--out", str(out))
    ended = warm(prepared.folder, *options) if workers == "0" else rt2data(prepared.folder, *options)
    full(prepared, ended, target)
    assert not out.exists()
    grow(target)
    again = warm(prepared.folder, *options[:1], "--workers", "0", *options[3:])
    again.succeeded()
    assert "from an earlier run" in again.err
    assert Place(target, built.data).bytes_built.split("{")[0] == built.bytes_built.split("{")[0]


def test_too_little_room_is_said_before_anything_is_written(prepared: Place, warm: Warm, disk: Disk) -> None:
    """The output and the store may lie on two disks: both are looked at, the figures are told."""
    small = disk("size=2m")
    refused = warm(prepared.folder, *INLINE, "--out", str(small / "mixture"))
    refused.failed(5, "the output (4.26 MB) will not fit: 4.26 MB are needed and 2.10 MB are free", str(small), "free some space")
    assert list(small.iterdir()) == []
    many = ("--set", "size.epochs=100000", "--set", "shards.bytes=1GB")
    planned = warm(prepared.folder, "plan", "--set", f"store={small}", *many)
    assert re.search(r"^error: the output .* will not fit.*\[disk_space\]$", planned.err, re.MULTILINE)


@pytest.mark.parametrize(
    ("event", "name", "message"),
    [
        ("os.remove", "info-000026", "manifest.json"),
        pytest.param("os.rename", "job.json", "shard-000000", marks=slow),
        pytest.param("os.rename", "shard-000026", "-000026", marks=slow),
        pytest.param("os.rename", "info-000027", "dataset_statistics.json", marks=slow),
    ],
)
def test_full_at_the_end(prepared: Place, built: Place, warm: Warm, disk: Disk, event: str, name: str, message: str) -> None:
    target = disk("size=50m")
    before = {"event": event, "name": name, "what": "fill", "path": str(target / "filler")}
    options = (*INLINE, "--out", str(target / "mixture"))
    ended = warm(prepared.folder, *options, before=before)
    full(prepared, ended, target)
    assert message in ended.complaint
    assert not (target / "mixture").exists()
    (target / "filler").unlink()
    warm(prepared.folder, *options).succeeded()
    assert Place(target, built.data).bytes_built.split("{")[0] == built.bytes_built.split("{")[0]


@pytest.mark.parametrize("options", ["size=172k", pytest.param("size=50m,nr_inodes=12", marks=slow)])
def test_full_in_the_store(place: Place, built: Place, warm: Warm, disk: Disk, options: str) -> None:
    store = disk(options)
    ended = warm(place.folder, *INLINE, "--set", f"store={store}")
    full(place, ended, store)
    assert not place.out.exists()
    grow(store)
    warm(place.folder, *INLINE, "--set", f"store={store}").succeeded()
    assert place.bytes_built.split("{")[0] == built.bytes_built.split("{")[0]


@slow
def test_full_in_the_blobs_of_a_store(place: Place, warm: Warm, disk: Disk) -> None:
    """Pictures that had to be made take room: a part of one is none."""
    store = disk("size=1500k")
    resized = ("--set", f"store={store}", "--set", "web.qa.images.resize=224", "--set", "robot.log.images.resize=224")
    full(place, warm(place.folder, *INLINE, *resized), store)
    grow(store)
    warm(place.folder, *INLINE, *resized).succeeded()
    warm(place.folder, "verify", "--workers", "0").succeeded()


def test_full_while_another_is_replaced(prepared: Place, warm: Warm, disk: Disk) -> None:
    target = disk("size=7200k")
    out = ("--out", str(target / "mixture"))
    warm(prepared.folder, *INLINE, *out, "--set", "size.num_examples=400").succeeded()
    older = Place(target, prepared.data).bytes_built
    full(prepared, warm(prepared.folder, *INLINE, *out, "--overwrite"), target)
    assert Place(target, prepared.data).bytes_built == older
    warm(prepared.folder, "verify", str(target / "mixture"), "--workers", "0").succeeded()


@pytest.mark.parametrize("which", ["out", "store"])
def test_a_read_only_disk(place: Place, warm: Warm, disk: Disk, which: str) -> None:
    target = disk("ro,size=1m")
    option = ("--out", str(target / "mixture")) if which == "out" else ("--set", f"store={target}")
    ended = warm(place.folder, *INLINE, *option)
    ended.failed(5, "Read-only file system", str(target), "choose another place")
    assert ended.seconds < 3
    assert not (place.folder / "store").exists(), "nothing was read before"
    assert not place.litter()


@slow
def test_a_shared_store_may_be_read_only(built: Place, place: Place, warm: Warm, disk: Disk) -> None:
    shelf = disk("size=20m")
    shutil.copytree(built.folder / "store", shelf, dirs_exist_ok=True)
    subprocess.run(["mount", "-o", "remount,ro", shelf], check=True)
    warm(place.folder, *INLINE, "--set", f"store={shelf}").succeeded()


@pytest.mark.parametrize("name", ["file", "file/mixture", "file/deep/mixture"])
def test_a_file_is_in_the_way(place: Place, warm: Warm, name: str) -> None:
    (place.folder / "file").write_text("precious")
    ended = warm(place.folder, *INLINE, "--out", name)
    ended.failed(5, "file", "choose another place")
    assert ended.seconds < 3
    assert (place.folder / "file").read_text() == "precious"
    assert sorted(path.name for path in place.folder.iterdir()) == ["file", "mixture.yaml"]


@pytest.mark.parametrize("options", [(), ("--overwrite",), ("--restart",)])
def test_a_folder_of_somebody_else(place: Place, warm: Warm, options: tuple[str, ...]) -> None:
    place.out.mkdir()
    (place.out / "thesis.txt").write_text("precious")
    warm(place.folder, *INLINE, *options).failed(2, "something else", str(place.out))
    assert sorted(path.name for path in place.folder.iterdir()) == ["mixture", "mixture.yaml"]
    assert (place.out / "thesis.txt").read_text() == "precious"


def test_links_in_a_circle(place: Place, warm: Warm) -> None:
    place.out.symlink_to(place.out)
    warm(place.folder, *INLINE).failed(5, "mixture")


def test_a_link_leads_to_the_output(prepared: Place, built: Place, warm: Warm, tmp_path: Path) -> None:
    """It is followed once; what it leads to later does not matter."""
    (tmp_path / "elsewhere").mkdir()
    prepared.out.symlink_to(tmp_path / "elsewhere")
    warm(prepared.folder, *INLINE).succeeded()
    assert prepared.out.is_symlink()
    assert prepared.bytes_built == built.bytes_built
