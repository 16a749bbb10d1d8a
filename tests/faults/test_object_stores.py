"""The whole build over object stores: recipe, sources, store and output there; the same bytes as on a disk, whatever goes wrong."""

from __future__ import annotations

import hashlib
import json
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import rt2data as package
from rt2data.formats.base import FORMATS
from rt2data.io.generations import CURRENT, KEPT
from tests.faults.command import Ended, Warm, running
from tests.faults.conftest import INLINE, RECIPE, Place, make_place

pytest.importorskip("obstore", reason="the extra `cloud` is not installed")

from tests.objects.stand_in import StandIn, stand_in

slow = pytest.mark.slow
SCHEMES = ("gs", "s3")
BAD = {"unavailable": 0.02, "reset": 0.02, "cut": 0.02, "done_unavailable": 0.02, "done_reset": 0.01}
"""Of a hundred requests nine go wrong."""


@dataclass(frozen=True)
class Far:
    """A recipe, a store and an output in a bucket, over the common data there."""

    objects: StandIn
    scheme: str
    name: str
    here: Path  # a local folder, in which nothing should appear

    def uri(self, key: str) -> str:
        return self.objects.uri(self.scheme, f"{self.name}/{key}")

    @property
    def out(self) -> str:
        return self.uri("mixture")

    @property
    def build(self) -> tuple[str, ...]:
        return "build-mixture", self.uri("mixture.yaml"), "-o", self.out

    @property
    def env(self) -> dict[str, str | None]:
        return {**self.objects.env(self.scheme)}

    def keys(self, below: str) -> dict[str, str]:
        """sha256 of the objects of a folder, by name."""
        prefix = f"{self.name}/{below}/"
        return {key.removeprefix(prefix): self.sha256(key) for key in self.objects.list(prefix)}

    def sha256(self, key: str) -> str:
        return hashlib.sha256(self.objects.get(key)).hexdigest()

    @property
    def generation(self) -> str:
        return str(json.loads(self.objects.get(f"{self.name}/mixture/{CURRENT}"))["generation"])

    def same_as(self, built: Path) -> None:
        """Fails unless every file is there as it is on the disk, but for the paths in the manifest, and no other."""
        far, near = self.keys(f"mixture/{self.generation}"), hashes(built)
        assert (far.pop("manifest.json", ""), near.pop("manifest.json", "")) > ("", "")
        assert far == near
        assert not [path for path in self.here.rglob("*") if path.is_file()]

    @property
    def shards_appear(self) -> bool:
        return sum("/shard-" in key for key in self.objects.list(f"{self.name}/mixture/")) >= 2


def hashes(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def objects(data: Path) -> Iterator[StandIn]:
    with stand_in(buckets=("bucket",), denied=("denied",)) as found:
        found.upload(data, "data/")
        yield found


@pytest.fixture
def far(objects: StandIn, tmp_path: Path, request: pytest.FixtureRequest) -> Far:
    scheme = getattr(request, "param", "gs")
    name = hashlib.sha256(request.node.name.encode()).hexdigest()[:12]
    (tmp_path / "cwd").mkdir()
    recipe = RECIPE.format(data=objects.uri(scheme, "data")).replace("store: store", f"store: {scheme}://bucket/{name}/store")
    objects.put(f"{name}/mixture.yaml", recipe.encode())
    return Far(objects, scheme, name, tmp_path / "cwd")


def run(warm: Warm, far: Far, *more: str) -> Ended:
    return warm(far.here, *far.build, "--workers", "0", *more, env=far.env)


both = pytest.mark.parametrize("far", SCHEMES, indirect=True)


@both
def test_the_same_bytes(far: Far, warm: Warm, built: Place) -> None:
    run(warm, far).succeeded()
    far.same_as(built.out)
    far.objects.reset()
    again = run(warm, far)
    again.succeeded()
    assert "nothing to do" in again.err
    read = [key for key in far.objects.counters().keys_read if key.endswith((".tar", ".jpg", ".bin")) or ".tfrecord" in key]
    assert not read, "a build that finds nothing new reads no payload"


def test_an_image_without_bytes_is_rejected_for_the_same_reason(far: Far, own: Place, warm: Warm) -> None:
    image = sorted((own.data / "web" / "images").iterdir())[3]
    image.write_bytes(b"")
    warm(own.folder, *INLINE, "--allow-bad").succeeded()
    far.objects.put(f"{far.name}/mixture.yaml", far.objects.get(f"{far.name}/mixture.yaml").replace(b"/data/web", b"/own/web"))
    far.objects.upload(own.data, "own/")
    run(warm, far, "--allow-bad").succeeded()
    near = json.loads((own.out / "manifest.json").read_bytes())["rejects"]
    assert near["qa"] and near == json.loads(far.objects.get(f"{far.name}/mixture/{far.generation}/manifest.json"))["rejects"]


@slow
@both
def test_with_workers(far: Far, built: Place) -> None:
    with running(far.here, *far.build, "--workers", "2", env=far.env) as command:
        command.wait().succeeded()
    far.same_as(built.out)


@slow
@pytest.mark.parametrize("form", [name for name in FORMATS if name != "webdataset"])
def test_every_format(form: str, far: Far, warm: Warm, built: Place, tmp_path: Path) -> None:
    near = make_place(tmp_path / "near", built.data)
    chosen = ("--set", f"shards.format={form}", "--set", "shards.bytes=1MB")
    warm(near.folder, "build-mixture", "--workers", "0", *chosen).succeeded()
    run(warm, far, *chosen).succeeded()
    far.same_as(near.out)
    warm(far.here, "verify", far.out, "--workers", "0", env=far.env).succeeded()


@slow
def test_datasets_of_episodes(far: Far, warm: Warm, built: Place, tmp_path: Path) -> None:
    near = make_place(tmp_path / "near", built.data)
    warm(near.folder, "write-rlds", "--workers", "0", "-o", "mixture").succeeded()
    warm(far.here, "write-rlds", far.build[1], "-o", far.out, "--workers", "0", env=far.env).succeeded()
    far.same_as(near.out)
    warm(far.here, "verify", far.out, "--workers", "0", env=far.env).succeeded()


@both
def test_requests_fail(far: Far, warm: Warm, built: Place) -> None:
    """Nothing is lost and nothing comes twice."""
    with far.objects.faults(**BAD, seed=5):
        run(warm, far).succeeded()
        assert sum(far.objects.counters().faults.values()) > 20
    far.same_as(built.out)


def test_an_object_is_replaced_midway(far: Far) -> None:
    shard = next(key for key in far.objects.list("data/log/") if ".tfrecord" in key)
    content = far.objects.get(shard)
    with running(far.here, *far.build, "--workers", "1", "--set", "size.num_examples=20000", env=far.env) as command:
        until = time.monotonic() + 40
        while not far.shards_appear and time.monotonic() < until:
            time.sleep(0.02)
        try:
            far.objects.replace(shard, content[:-1] + bytes([content[-1] ^ 1]))
            ended = command.wait()
        finally:
            far.objects.replace(shard, content)
    ended.failed(7, Path(shard).name)
    assert f"{far.name}/mixture/{CURRENT}" not in far.objects.list(far.name)


def test_a_killed_build_goes_on(far: Far, warm: Warm, built: Place) -> None:
    with running(far.here, *far.build, "--workers", "1", env=far.env) as command:
        until = time.monotonic() + 40
        while not far.shards_appear and time.monotonic() < until:
            time.sleep(0.005)
        command.send(signal.SIGKILL)
        command.wait()
    again = run(warm, far)
    again.succeeded()
    assert "from an earlier run" in again.err or "nothing to do" in again.err
    far.same_as(built.out)


def test_one_build_at_a_time(far: Far, warm: Warm) -> None:
    lease = f"{far.name}/mixture/.lease"
    held = {"owner": "other", "host": "elsewhere", "process": 1, "until": time.time() + 600}
    far.objects.put(lease, json.dumps(held).encode())
    run(warm, far).failed(6, far.out)
    far.objects.put(lease, json.dumps(held | {"until": time.time() - 1}).encode())
    run(warm, far).succeeded()
    assert lease not in far.objects.list(far.name)


def test_generations(far: Far, warm: Warm, built: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """An output that is replaced stays for those that read it; a few are kept; what is no output of ours is never written into."""
    for name, value in far.objects.env(far.scheme).items():
        monkeypatch.setenv(name, value)
    run(warm, far).succeeded()
    reading = iter(package.load(far.out, decode=None))
    keys, names = [next(reading)["key"]], [far.generation]
    run(warm, far, "--set", "seed=1").failed(2, far.out, "--overwrite")
    for seed in range(1, KEPT + 1):
        assert run(warm, far, "--set", f"seed={seed}", "--overwrite").code == 0
        names.append(far.generation)
        keys += [example["key"] for example in reading]
    assert keys == [example["key"] for example in package.load(built.out, decode=None)]
    kept = {key.split("/")[2] for key in far.objects.list(f"{far.name}/mixture/")}
    assert kept == {CURRENT, *names[-KEPT:]}
    before = far.objects.counters().requests["put"]
    assert run(warm, far, "--set", f"seed={KEPT - 1}", "--overwrite").code == 0, "an earlier one is read again"
    assert far.generation == names[-2] and far.objects.counters().requests["put"] - before < 12
    far.objects.put(f"{far.name}/other/notes.txt", b"mine")
    warm(far.here, *far.build[:-1], far.uri("other"), "--workers", "0", env=far.env).failed(2, "something else", "notes.txt")


def test_what_may_not_be_touched(far: Far, warm: Warm) -> None:
    warm(far.here, *far.build[:-1], f"{far.scheme}://denied/m", "--workers", "0", env=far.env).failed(3, "denied")
    warm(far.here, *far.build[:-1], f"{far.scheme}://nothing/m", "--workers", "0", env=far.env).failed(5, "no such bucket")
    warm(far.here, "verify", f"{far.scheme}://nothing/m", env=far.env).failed(2, "no such folder")


def test_load_reads_the_same(far: Far, warm: Warm, built: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in far.objects.env(far.scheme).items():
        monkeypatch.setenv(name, value)
    run(warm, far).succeeded()
    near, there = (list(package.load(place, decode="jpeg")) for place in (built.out, far.out))
    assert [example["key"] for example in near] == [example["key"] for example in there]
    assert all(bytes(one["image"]) == bytes(other["image"]) for one, other in zip(near, there, strict=True))
