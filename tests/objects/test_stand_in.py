"""The stand-in against obstore, the client it is for: what the stores promise, how it is run, what it costs."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.objects.buckets import Bucket, Buckets, Memory, Object, RefusedError
from tests.objects.conftest import Open
from tests.objects.stand_in import StandIn, stand_in

pytestmark = pytest.mark.long

obs = pytest.importorskip("obstore", reason="obstore is not installed: nothing to test the stand-in with")
errors = pytest.importorskip("obstore.exceptions")

MB = 2**20


def keys(found: Any) -> list[str]:
    return [each["path"] for each in found.collect()]


# What the stores promise


@pytest.mark.parametrize("key", ["a", "a/b/c.tar", "with space+plus", "ü%2F&<>[]#?"])
def test_objects_come_back(key: str, bucket: Any, store: StandIn) -> None:
    put = obs.put(bucket, key, b"hello")
    head = obs.head(bucket, key)
    assert (head["size"], head["e_tag"], head["version"]) == (5, put["e_tag"], put["version"])
    assert abs(head["last_modified"].timestamp() - time.time()) < 60
    assert bytes(obs.get(bucket, key).bytes()) == store.get(key) == b"hello"
    assert keys(obs.list(bucket)) == list(store.list()) == [key]
    assert obs.list(bucket).collect()[0]["e_tag"] == put["e_tag"] == store.list()[key].etag
    obs.copy(bucket, key, "copy")
    assert store.get("copy") == b"hello"
    obs.delete(bucket, [key, "copy"])
    assert store.list() == {}
    with pytest.raises(FileNotFoundError):
        obs.get(bucket, key)


def test_attributes_come_back(bucket: Any) -> None:
    obs.put(bucket, "x", b"", attributes={"Content-Type": "text/css", "made-by": "a test"})
    told = obs.get(bucket, "x").attributes
    assert told["Content-Type"] == "text/css" and told["made-by"] == "a test"


def test_another_content_is_another_version(bucket: Any, store: StandIn) -> None:
    first = obs.put(bucket, "x", b"1")
    store.replace("x", b"2")
    now = obs.head(bucket, "x")
    assert now["e_tag"] != first["e_tag"] and (now["version"] is None or now["version"] > first["version"])
    with pytest.raises(KeyError):
        store.replace("y", b"")


def test_ranges(bucket: Any, store: StandIn) -> None:
    content = bytes(range(256)) * 4000
    store.put("x", content)
    for start, end in [(0, 1), (5, 300), (len(content) - 1, len(content)), (1000, len(content) + 50), (0, len(content))]:
        assert bytes(obs.get_range(bucket, "x", start=start, end=end)) == content[start:end]
    assert bytes(obs.get(bucket, "x", options={"range": {"suffix": 7}}).bytes()) == content[-7:]
    assert bytes(obs.get(bucket, "x", options={"range": {"offset": 1_023_000}}).bytes()) == content[1_023_000:]
    parts = obs.get_ranges(bucket, "x", starts=[3, 700_000], ends=[9, 700_009], coalesce=0)
    assert [bytes(part) for part in parts] == [content[3:9], content[700_000:700_009]]
    with pytest.raises(errors.GenericError, match="416"):
        obs.get_range(bucket, "x", start=len(content), end=len(content) + 1)


def test_reads_of_one_version(bucket: Any, store: StandIn) -> None:
    version = obs.put(bucket, "x", b"1234")
    pinned = {"range": (1, 3), "if_match": version["e_tag"]}
    assert bytes(obs.get(bucket, "x", options=pinned).bytes()) == b"23"
    with pytest.raises(errors.NotModifiedError):
        obs.get(bucket, "x", options={"if_none_match": version["e_tag"]})
    store.replace("x", b"9999")
    with pytest.raises(errors.PreconditionError):
        obs.get(bucket, "x", options=pinned)
    if version["version"]:
        with pytest.raises(FileNotFoundError):
            obs.get(bucket, "x", options={"version": version["version"]})


def test_20_megabytes_in_parts(bucket: Any, store: StandIn) -> None:
    content = os.urandom(20 * MB + 1)
    put = obs.put(bucket, "x", content, chunk_size=5 * MB)
    assert store.counters().requests == {"create": 1, "part": 5, "complete": 1}
    assert bytes(obs.get(bucket, "x").bytes()) == store.get("x") == content
    assert obs.head(bucket, "x")["e_tag"] == put["e_tag"] and list(store.unfinished()) == []


def test_an_object_is_not_there_before_its_last_part(bucket: Any, store: StandIn) -> None:
    with obs.open_writer(bucket, "x", buffer_size=5 * MB) as file:
        file.write(bytes(11 * MB))
        file.flush()
        assert store.list() == {}
    assert store.list()["x"].size == 11 * MB


def test_an_upload_that_is_given_up(bucket: Any, store: StandIn) -> None:
    with pytest.raises(ZeroDivisionError), obs.open_writer(bucket, "x", buffer_size=5 * MB) as file:
        file.write(bytes(11 * MB))
        raise ZeroDivisionError
    assert store.list() == {} and list(store.unfinished()) == []


def test_lists_in_pages(bucket: Any, store: StandIn) -> None:
    for number in range(25):
        store.put(f"p/{number % 3}/{number}", b"x" * number)
    store.set(page=10)
    assert keys(obs.list(bucket, prefix="p")) == sorted(f"p/{number % 3}/{number}" for number in range(25))
    assert store.counters().requests["list"] == 3  # the upload given up before may still end
    assert keys(obs.list(bucket, prefix="p", offset="p/1/22")) == [key for key in store.list() if key > "p/1/22"]
    store.set(page=2)
    rolled = obs.list_with_delimiter(bucket, prefix="p")
    assert list(rolled["common_prefixes"]) == ["p/0", "p/1", "p/2"] and rolled["objects"] == []
    inside = obs.list_with_delimiter(bucket, prefix="p/2")["objects"]
    assert {each["path"]: each["size"] for each in inside} == {f"p/2/{number}": number for number in range(2, 25, 3)}


@given(st.sets(st.text("ab/", min_size=1, max_size=5)), st.text("ab/", max_size=2), st.sampled_from(["", "/"]), st.integers(1, 4))
def test_pages_of_any_size_are_one_listing(names: set[str], prefix: str, delimiter: str, limit: int) -> None:
    bucket, listed, after = Bucket(), [], ""
    for name in names:
        bucket.set(name, Object(b"", 0, "", 0))
    while True:
        page = bucket.page(prefix, delimiter, after, limit)
        assert len(page.objects) + len(page.prefixes) <= limit
        listed += [key for key, _ in page.objects] + page.prefixes
        if page.token is None:
            break
        after = page.token
    assert len(listed) == len(set(listed))
    assert set(listed) == {_rolled(name, prefix, delimiter) for name in names if name.startswith(prefix)}


def _rolled(name: str, prefix: str, delimiter: str) -> str:
    head, found, _ = name[len(prefix) :].partition(delimiter) if delimiter else (name, "", "")
    return prefix + head + found if found else name


def test_one_writer_makes_an_object(bucket: Any, store: StandIn) -> None:
    for turn in range(10):
        assert sum(_race(bucket, f"{turn}", "create")) == 1
    assert len(store.list()) == 10


def test_one_writer_replaces_a_version(bucket: Any, store: StandIn) -> None:
    obs.put(bucket, "x", b"first")
    for turn in range(10):
        head = obs.head(bucket, "x")
        mode = {name: head[name] for name in ("e_tag", "version") if head[name]}
        won = _race(bucket, "x", mode, f"{turn}")
        assert sum(won) == 1 and store.get("x").decode() == f"{turn} {won.index(True)}"


def _race(bucket: Any, key: str, mode: object, turn: str = "") -> list[bool]:
    """Which of eight writers succeeds."""

    def won(writer: int) -> bool:
        try:
            obs.put(bucket, key, f"{turn} {writer}".encode(), mode=mode)
        except (errors.AlreadyExistsError, errors.PreconditionError):
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(won, range(8)))


def test_a_version_that_is_not_there_cannot_be_replaced(bucket: Any) -> None:
    with pytest.raises(errors.PreconditionError):
        obs.put(bucket, "x", b"", mode={"e_tag": '"0-0"', "version": "1"})


def test_deleting_what_is_not_there(bucket: Any) -> None:
    if "GCS" in repr(type(bucket)):
        with pytest.raises(FileNotFoundError):
            obs.delete(bucket, "no")
    else:
        obs.delete(bucket, "no")


def test_buckets_that_are_not_there_or_closed(opened: Open) -> None:
    with pytest.raises(FileNotFoundError, match="NoSuchBucket"):
        obs.get(opened("no"), "x")
    with pytest.raises(errors.GenericError, match="NoSuchBucket"):
        obs.list(opened("no")).collect()
    with pytest.raises(errors.PermissionDeniedError):
        obs.put(opened("secret"), "x", b"")


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ([(1, "first"), (3, "first")], "InvalidPart"),
        ([(1, "second")], "InvalidPart"),
        ([(2, "second"), (1, "first")], "InvalidPartOrder"),
        ([], "InvalidPartOrder"),
        ([(2, "second"), (3, "third")], "EntityTooSmall"),
    ],
)
def test_parts_that_make_no_object(asked: list[tuple[int, str]], code: str) -> None:
    buckets = Buckets(Memory(), {"bucket": Bucket()})
    upload = buckets.begin("bucket", "x", {})
    contents = {"first": b"12345", "second": b"1", "third": b"123"}
    tags = {name: buckets.put_part(upload, number, content).etag for number, (name, content) in enumerate(contents.items(), 1)}
    with pytest.raises(RefusedError, match=code):
        buckets.complete(upload, [(number, tags[name]) for number, name in asked], least=5)
    assert buckets.bucket("bucket").objects == {}
    assert buckets.complete(upload, [(1, tags["first"]), (3, tags["third"])], least=5).size == 8


# How it is run


@pytest.mark.parametrize("scheme", ["gs", "s3"])
def test_a_process_finds_it_by_its_environment(scheme: str, store: StandIn) -> None:
    script = f"import obstore as o; from obstore.store import from_url; o.put(from_url('{scheme}://bucket/a'), 'b', b'hello')"
    subprocess.run([sys.executable, "-c", script], env=os.environ | store.env(scheme), check=True, timeout=60)
    assert store.get("a/b") == b"hello" and store.uri(scheme, "a/b") == f"{scheme}://bucket/a/b"


def test_a_folder_keeps_objects_and_versions(tmp_path: Path) -> None:
    source, kept = tmp_path / "source", tmp_path / "kept"
    (source / "d").mkdir(parents=True)
    (source / "d" / "x").write_bytes(b"hello")
    with stand_in(kept) as first:
        first.upload(source, "up/")
        first.put("y", b"")
        before = first.list()
    assert list(before) == ["up/d/x", "y"] and (kept / "bucket" / "up" / "d" / "x").read_bytes() == b"hello"
    with stand_in(kept) as second:
        assert second.list() == before
        second.delete("up/d/x")
        second.put("up", b"no folder any more")
        with pytest.raises(RuntimeError, match="no key can be a folder of another key"):
            second.put("up/x", b"")
        assert second.get("up") == b"no folder any more"


def test_many_requests_wait_at_once(bucket: Any, store: StandIn) -> None:
    store.put("x", bytes(1000))
    store.set(delay_ms=100)
    began = time.monotonic()
    with ThreadPoolExecutor(32) as pool:
        list(pool.map(lambda _: obs.get_range(bucket, "x", start=0, end=9), range(64)))
    assert 0.2 <= time.monotonic() - began < 64 * 0.1
    assert 8 < store.counters().most_in_flight <= 32


def test_counters(bucket: Any, store: StandIn) -> None:
    obs.put(bucket, "x", bytes(100))
    obs.get_range(bucket, "x", start=0, end=30)
    obs.get(bucket, "x").bytes()
    obs.head(bucket, "x")
    with pytest.raises(FileNotFoundError):
        obs.get(bucket, "y")
    counters = store.counters()
    assert counters.requests == {"put": 1, "get": 3, "head": 1}
    assert counters.answers == {"200": 3, "206": 1, "404": 1}
    assert counters.keys_read == {"bucket/x": 2} and counters.faults == {}
    assert counters.bytes_in == 100 and 130 < counters.bytes_out < 500
    store.reset()
    assert store.counters().requests == {} and store.counters().bytes_out == 0


# What it costs


@pytest.mark.bench
def test_a_core_is_enough_for_2500_reads_a_second(bucket: Any, store: StandIn) -> None:
    """Ranges of 50 KB, 128 in flight, 30 ms to the first byte: in seconds of the server's own CPU, whoever else is busy."""
    store.put("x", bytes(20 * MB))
    store.set(delay_ms=30)
    server = psutil.Process(store.process)
    before, began = sum(server.cpu_times()[:2]), time.monotonic()
    asyncio.run(_read_at_once(bucket, "x", reads=10_000, at_once=128))
    spent, lasted = sum(server.cpu_times()[:2]) - before, time.monotonic() - began
    print(f"\n{10_000 / lasted:,.0f} reads/s; {spent / 10_000 * 1e6:.0f} us of the server's CPU each")
    assert store.counters().requests == {"get": 10_000} and store.counters().most_in_flight == 128
    assert 10_000 / spent > 2_500


async def _read_at_once(bucket: Any, key: str, reads: int, at_once: int) -> None:
    starts = iter(range(0, reads * 1000, 1000))

    async def read() -> None:
        for start in starts:
            assert len(await obs.get_range_async(bucket, key, start=start, length=50_000)) == 50_000

    await asyncio.gather(*(read() for _ in range(at_once)))
