"""What we ask of object stores, on the stand-in and on servers that others wrote; and a whole build over each of those."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rt2data.build import Site, build_plainly
from rt2data.errors import OutputError, SourceChangedError
from rt2data.io import location
from rt2data.io.generations import current
from rt2data.io.location.base import Range
from rt2data.io.location.folders import remove_folder
from rt2data.look.verify import verify
from rt2data.plan.recipe import read_recipe
from tests.bench.generate import write_corpus, write_log
from tests.faults.conftest import RECIPE

pytest.importorskip("obstore", reason="the extra `cloud` is not installed")

from rt2data.io.location.objects import object_store
from tests.objects.here import used_here
from tests.objects.servers import SERVERS, Server

MB = 2**20
OTHERS = ("moto", "azurite")


@pytest.fixture(scope="module", params=[pytest.param(name, marks=pytest.mark.slow) if name in OTHERS else name for name in SERVERS])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with SERVERS[request.param]() as found, used_here(found.env):
        yield found


@pytest.fixture
def base(server: Server, request: pytest.FixtureRequest) -> str:
    """A folder of the test's own: this process remembers what it opened by name."""
    return server.uri(f"{request.node.originalname}-{request.node.callspec.params['server']}")


def test_an_object_has_one_version_however_it_is_asked_for(base: str) -> None:
    names = [f"{base}/{number}" for number in range(9)]
    for name in names:
        location.write_whole(name, name.encode())
    stats = [location.stat(name) for name in names]
    assert dict(location.files_below(base)) == dict(zip(names, stats, strict=True))
    assert location.stats(names) == stats == location.stats(names[:2]) + stats[2:]
    assert location.stats([*names, f"{base}/none"])[-1] is None
    location.write_whole(names[0], names[0].encode()[::-1])
    assert location.stat(names[0]) != stats[0]


def test_reads_of_one_version(base: str) -> None:
    name = f"{base}/x"
    location.write_whole(name, b"0123456789")
    for version in (location.stat(name).version, dict(location.files_below(base))[name].version):
        assert bytes(object_store(name).read_range(Range(name, 2, 3, version))) == b"234"
    location.write_whole(name, b"9876543210")
    with pytest.raises(SourceChangedError):
        object_store(name).read_range(Range(name, 2, 3, version))


def test_ranges(base: str) -> None:
    name, empty = f"{base}/x", f"{base}/empty"
    location.write_whole(name, b"01234")
    location.write_whole(empty, b"")
    asked = [(0, 5), (3, 1), (3, 30), (5, 3), (50, 3)]
    assert [location.read_range(name, *each) for each in asked] == [b"01234", b"3", b"34", b"", b""]
    assert location.read_bytes(empty) == b"" == location.read_head(empty, 4)
    assert location.stat(empty).size == 0


@pytest.mark.parametrize("key", ["with space+plus", "ü%2F&<>[]#?", "a/b/c.tar"])
def test_names(base: str, key: str) -> None:
    name = f"{base}/{key}"
    location.write_whole(name, b"x")
    assert location.read_bytes(name) == b"x" and name in dict(location.files_below(base))
    assert location.exists(name) and location.is_file(name) and not location.is_folder(name)


def test_folders(base: str) -> None:
    for key in ("d/one", "d/e/two", "dd"):
        location.write_whole(f"{base}/{key}", b"x")
    assert {(entry.name, entry.is_dir()) for entry in location.children(base)} == {("d", True), ("dd", False)}
    assert location.is_folder(f"{base}/d") and not location.exists(f"{base}/e")
    remove_folder(location.absolute(f"{base}/d"))
    assert [name for name, _ in location.files_below(base)] == [f"{base}/dd"]
    with pytest.raises(FileNotFoundError):
        list(location.children(f"{base}/d"))


def test_large_objects(base: str) -> None:
    content = bytes(range(251)) * (24 * MB // 251)
    location.write_whole(f"{base}/x", content)
    assert location.stat(f"{base}/x").size == len(content)
    assert location.read_bytes(f"{base}/x") == content


def test_one_writer_of_eight_makes_an_object(base: str) -> None:
    store = object_store(base)
    for turn in range(5):
        with ThreadPoolExecutor(8) as pool:
            won = list(pool.map(lambda writer: store.put_new(f"{base}/{turn}", b"%d" % writer), range(8)))  # noqa: B023
        assert won.count(True) == 1 and location.read_bytes(f"{base}/{turn}") == b"%d" % won.index(True)


def test_one_writer_of_eight_replaces_a_version(base: str) -> None:
    name, before = f"{base}/x", b"first"
    location.write_whole(name, before)
    for turn in range(5):
        with ThreadPoolExecutor(8) as pool:
            fresh = [b"%d %d" % (turn, writer) for writer in range(8)]
            won = list(pool.map(lambda content: object_store(name).replace(name, content, before), fresh))  # noqa: B023
        assert won.count(True) == 1
        before = fresh[won.index(True)]
        assert location.read_bytes(name) == before
    assert not object_store(name).replace(name, b"late", b"first")
    assert not object_store(name).replace(f"{base}/none", b"late", b"first")


def test_what_is_not_there(base: str, server: Server) -> None:
    location.delete(f"{base}/none")
    with pytest.raises(FileNotFoundError):
        location.stat(f"{base}/none")
    with pytest.raises(FileNotFoundError):
        list(location.files_below(f"{server.scheme}://nothing/x"))
    with pytest.raises(OutputError, match="no such bucket"):
        location.write_whole(f"{server.scheme}://nothing/x", b"x")
    assert not location.exists(f"{server.scheme}://nothing/x")


@pytest.mark.slow
def test_a_whole_build(server: Server, base: str, tmp_path: Path) -> None:
    """From objects to objects, twice: the same shards as from and to a disk, and the second time there is nothing to do."""
    write_log(tmp_path / "data" / "log", 320 * 4000, 4000, 320 * 1000)
    write_corpus(tmp_path / "data" / "web", 80, 4000)
    for path in (tmp_path / "data").rglob("*"):
        if path.is_file():
            location.write_whole(f"{base}/{path.relative_to(tmp_path)}", path.read_bytes())
    (tmp_path / "mixture.yaml").write_text(RECIPE.format(data=tmp_path / "data"))
    build_plainly(read_recipe(tmp_path / "mixture.yaml"), Site(tmp_path / "mixture"))
    text = RECIPE.format(data=f"{base}/data").replace("store: store", f"store: {base}/store")
    location.write_whole(f"{base}/mixture.yaml", text.encode())
    far = Site(location.absolute(f"{base}/mixture"))
    build_plainly(read_recipe(location.absolute(f"{base}/mixture.yaml")), far)
    assert verify(far.out).ok
    before = dict(location.files_below(base))
    build_plainly(read_recipe(location.absolute(f"{base}/mixture.yaml")), far)
    assert dict(location.files_below(base)) == before
    shards = sorted((tmp_path / "mixture").glob("shard-*"))
    assert len(shards) > 1
    for path in shards:
        assert location.read_bytes(current(far.out) / path.name) == path.read_bytes()
