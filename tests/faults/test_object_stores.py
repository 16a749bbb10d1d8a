"""The whole build over object stores: recipe, sources, store and output there; the same bytes as on a disk, whatever goes wrong."""

from __future__ import annotations

import hashlib
import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

import rt2data as package
from rt2data.formats.base import FORMATS
from rt2data.io.generations import CURRENT, KEPT
from tests.faults.command import Ended, Warm, running
from tests.faults.conftest import INLINE, RECIPE, Place, make_place

pytest.importorskip("obstore", reason="the extra `cloud` is not installed")

from tests.objects.here import FAILING, find_here
from tests.objects.stand_in import StandIn, stand_in

pytestmark = pytest.mark.long
slow = pytest.mark.slow
SCHEMES = ("gs", "s3")
PAGE = 10
"""Objects in one answer of a listing."""
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
one = pytest.mark.parametrize("far", [SCHEMES[0], *(pytest.param(each, marks=slow) for each in SCHEMES[1:])], indirect=True)
"""Both, but one of them is enough for a quick look."""


@both
def test_the_same_bytes(far: Far, warm: Warm, built: Place) -> None:
    run(warm, far).succeeded()
    far.same_as(built.out)
    far.objects.reset()
    far.objects.set(page=PAGE)
    try:
        again = run(warm, far)
    finally:
        far.objects.set(page=1000)
    again.succeeded()
    assert "nothing to do" in again.err
    counters = far.objects.counters()
    read = [key for key in counters.keys_read if key.endswith((".tar", ".jpg", ".bin")) or ".tfrecord" in key]
    assert not read, "a build that finds nothing new reads no payload"
    pages = -(-len(far.objects.list("data/web/images/")) // PAGE)
    assert 3 < pages <= counters.listed["bucket/data/web/images/"] <= pages + 2, "listed once; two pages see whether it is there"


def test_a_build_that_was_killed_before_its_last_change(far: Far, warm: Warm, built: Place) -> None:
    run(warm, far).succeeded()
    far.objects.put(f"{far.name}/mixture/{far.generation}/job.json", b"{}")
    far.objects.delete(f"{far.name}/mixture/{CURRENT}")
    run(warm, far).succeeded()
    far.same_as(built.out)


@slow
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
@both
@pytest.mark.parametrize("form", [name for name in FORMATS if name != "webdataset"])
def test_every_format(form: str, far: Far, warm: Warm, built: Place, tmp_path: Path) -> None:
    near = make_place(tmp_path / "near", built.data)
    chosen = ("--set", f"shards.format={form}", "--set", "shards.bytes=1MB")
    warm(near.folder, "build-mixture", "--workers", "0", *chosen).succeeded()
    with far.objects.faults(**FAILING, seed=len(form)):
        run(warm, far, *chosen).succeeded()
        warm(far.here, "verify", far.out, "--workers", "0", env=far.env).succeeded()
    far.same_as(near.out)


@slow
@both
def test_datasets_of_episodes(far: Far, warm: Warm, built: Place, tmp_path: Path) -> None:
    near = make_place(tmp_path / "near", built.data)
    warm(near.folder, "write-rlds", "--workers", "0", "-o", "mixture").succeeded()
    with far.objects.faults(**FAILING, seed=1):
        warm(far.here, "write-rlds", far.build[1], "-o", far.out, "--workers", "0", env=far.env).succeeded()
        warm(far.here, "verify", far.out, "--workers", "0", env=far.env).succeeded()
    far.same_as(near.out)


@slow
@one
def test_requests_fail(far: Far, warm: Warm, built: Place) -> None:
    """Nothing is lost and nothing comes twice."""
    with far.objects.faults(**BAD, seed=5):
        run(warm, far).succeeded()
        assert sum(far.objects.counters().faults.values()) > 20
    far.same_as(built.out)


@pytest.fixture
def own_far(far: Far) -> Iterator[Far]:
    """Over data of its own, that may be changed; a store that is slow enough to be watched."""
    for key in far.objects.list("data/"):
        far.objects.put(f"{far.name}/{key}", far.objects.get(key))
    recipe = f"{far.name}/mixture.yaml"
    far.objects.put(recipe, far.objects.get(recipe).replace(b"bucket/data", f"bucket/{far.name}/data".encode()))
    far.objects.set(delay_ms=5)
    yield far
    far.objects.set(delay_ms=0)


@contextmanager
def replacing(far: Far, pattern: str, when: str, count: int = 1) -> Iterator[list[str]]:
    """Change a bit of the first object of this pattern as soon as there are so many objects of another one; its key."""
    replaced: list[str] = []
    over = Event()

    def watch() -> None:
        while not over.wait(0.005):
            keys = [key.removeprefix(f"{far.name}/") for key in far.objects.list(f"{far.name}/")]
            found = next((key for key in keys if fnmatchcase(key, pattern)), None)
            if found and len([key for key in keys if fnmatchcase(key, when)]) >= count:
                content = far.objects.get(f"{far.name}/{found}")
                middle = len(content) // 2
                far.objects.put(f"{far.name}/{found}", content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
                replaced.append(found)
                return

    thread = Thread(target=watch)
    thread.start()
    try:
        yield replaced
    finally:
        over.set()
        thread.join()


SHARD, QUESTIONS, IMAGE = "data/log/*.tfrecord*", "data/web/questions.json", "data/web/images/*7.jpg"
RESIZED = ("--set", "web.qa.images.resize=32")
"""So that the pictures are blobs of the store."""


@slow
@pytest.mark.parametrize(
    ("pattern", "when", "more"),
    [
        (QUESTIONS, "store/units/log-*/fragment-*", ()),
        pytest.param(SHARD, "mixture/*/shard-*", (), marks=slow),
        pytest.param(SHARD, "store/units/log-*/fragment-*", (), marks=slow),
        pytest.param(IMAGE, "mixture/*/shard-*", (), marks=slow),
        pytest.param(IMAGE, "store/units/qa-*", (), marks=slow),
        pytest.param(QUESTIONS, "store/units/qa-*", (), marks=slow),
        pytest.param(QUESTIONS, "mixture/*/shard-*", (), marks=slow),
        pytest.param("store/units/qa-*/blobs-*", "mixture/*/shard-*", RESIZED, marks=slow),
        pytest.param("store/units/qa-*/blobs-*", "store/units/qa-*/unit-*", RESIZED, marks=slow),
    ],
)
def test_an_object_is_replaced_midway(own_far: Far, warm: Warm, pattern: str, when: str, more: tuple[str, ...]) -> None:
    """While sources are prepared, or shards written: the build ends, names it, and publishes nothing."""
    with replacing(own_far, pattern, when) as replaced:
        ended = run(warm, own_far, *more)
    ended.failed(7, *(Path(key).name for key in replaced))
    assert replaced and f"{own_far.name}/mixture/{CURRENT}" not in own_far.objects.list(own_far.name)
    own_far.objects.set(delay_ms=0)
    run(warm, own_far, *more, "--restart", "--allow-bad").succeeded()
    warm(own_far.here, "verify", own_far.out, "--workers", "0", env=own_far.env).succeeded()


@slow
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


@pytest.mark.slow
def test_one_build_at_a_time(far: Far, warm: Warm) -> None:
    lease = f"{far.name}/mixture/.lease"
    held = {"owner": "other", "host": "elsewhere", "process": 1, "until": time.time() + 600}
    far.objects.put(lease, json.dumps(held).encode())
    run(warm, far).failed(6, far.out)
    far.objects.put(lease, json.dumps(held | {"until": time.time() - 1}).encode())
    run(warm, far).succeeded()
    assert lease not in far.objects.list(far.name)


@slow
def test_generations(far: Far, warm: Warm, built: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """An output that is replaced stays for those that read it; a few are kept; what is no output of ours is never written into."""
    find_here(far.objects.env(far.scheme), monkeypatch)
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


@pytest.mark.slow
def test_what_may_not_be_touched(far: Far, warm: Warm) -> None:
    warm(far.here, *far.build[:-1], f"{far.scheme}://denied/m", "--workers", "0", env=far.env).failed(3, "denied")
    warm(far.here, *far.build[:-1], f"{far.scheme}://nothing/m", "--workers", "0", env=far.env).failed(5, "no such bucket")
    warm(far.here, "verify", f"{far.scheme}://nothing/m", env=far.env).failed(2, "no such folder")
    for root in ("://bucket", "://bucket/"):
        whole = warm(far.here, *far.build[:-1], f"{far.scheme}{root}", "--workers", "0", env=far.env)
        whole.failed(2, "an output needs a name below the bucket", f"write {far.scheme}://bucket/NAME")
    page = warm(far.here, "report", f"{far.scheme}://bucket/data/web", "-o", f"{far.scheme}://bucket", env=far.env)
    page.failed(2, "an output needs a name below the bucket")


@slow
def test_stores_are_listed_and_pruned(far: Far, warm: Warm, built: Place) -> None:
    """What no build will use again goes, with its units; not what a build holds, and not the stores of others."""

    def store(*words: str) -> dict[str, Any]:
        told = warm(far.here, "store", *words, "--store", far.uri("store"), "--json", env=far.env)
        told.succeeded()
        found: dict[str, Any] = json.loads(told.out)
        return found

    def states() -> dict[str, str]:
        return {each["name"]: each["state"] for each in store("list")["stores"]}

    run(warm, far).succeeded()
    assert states() == {"log": "complete", "qa": "complete"} and store("prune", "--yes")["removed"] == []
    log = next(key for key in far.objects.list(f"{far.name}/store/log-") if key.endswith("/source.json"))
    far.objects.delete(log)  # as while it grows
    assert states() == {"log": "partial", "qa": "complete"}
    lease = str(Path(log).parent.with_name(f".{Path(log).parent.name}.lock"))
    far.objects.put(lease, json.dumps({"owner": "o", "host": "elsewhere", "process": 1, "until": time.time() + 600}).encode())
    assert [each["name"] for each in store("prune", "--yes")["in_use"]] == ["log"]
    far.objects.delete(lease)
    assert [each["name"] for each in store("prune", "--yes")["removed"]] == ["log"]
    assert {key.split("/")[2].rpartition("-")[0] for key in far.objects.list(f"{far.name}/store/")} == {"qa", ""}
    units = {key.split("/")[3].rpartition("-")[0] for key in far.objects.list(f"{far.name}/store/units/")}
    assert units == {"qa"}
    run(warm, far).succeeded()
    far.same_as(built.out)
    assert {each["name"] for each in store("prune", "--all", "--yes")["removed"]} == {"log", "qa"}
    assert not far.objects.list(f"{far.name}/store/")


@slow
def test_load_reads_the_same(far: Far, warm: Warm, built: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    find_here(far.objects.env(far.scheme), monkeypatch)
    run(warm, far).succeeded()
    near, there = (list(package.load(place, decode="jpeg")) for place in (built.out, far.out))
    assert [example["key"] for example in near] == [example["key"] for example in there]
    assert all(bytes(one["image"]) == bytes(other["image"]) for one, other in zip(near, there, strict=True))


SPILL = ("--set", "compact=spill")


@one
@slow
def test_compacted(far: Far, warm: Warm, built: Place) -> None:
    """The images are copied into the store in the order of its rows, whatever goes wrong; the mixture has the same bytes."""
    with far.objects.faults(**BAD, seed=6):
        run(warm, far, *SPILL).succeeded()
    far.same_as(built.out)
    kept = [key for key in far.objects.list(f"{far.name}/store/") if "-compact/images-" in key]
    assert kept and not [key for key in far.objects.list(f"{far.name}/store/") if "/spills-" in key]
    far.objects.reset()
    run(warm, far, *SPILL, "--overwrite", "--seed", "1").succeeded()
    read = far.objects.counters().keys_read
    assert any("/images-" in key for key in read)
    assert not [key for key in read if key.endswith(".jpg") or ".tfrecord" in key], "a re-mix reads no source"


@slow
def test_a_killed_compaction_goes_on(far: Far, warm: Warm, built: Place) -> None:
    with running(far.here, *far.build, *SPILL, "--workers", "1", env=far.env) as command:
        until = time.monotonic() + 40
        while not any("/spill-" in key for key in far.objects.list(f"{far.name}/store/")) and time.monotonic() < until:
            time.sleep(0.005)
        command.send(signal.SIGKILL)
        command.wait()
    run(warm, far, *SPILL).succeeded()
    far.same_as(built.out)
