"""The stand-in against obstore, the client it is for: what the stores promise, and what goes wrong when it is asked to."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.objects.buckets import Bucket, Buckets, Memory, Object, RefusedError
from tests.objects.faults import APPLIES, Dice, Faults
from tests.objects.stand_in import StandIn, stand_in

obs = pytest.importorskip("obstore", reason="obstore is not installed: nothing to test the stand-in with")
errors = pytest.importorskip("obstore.exceptions")
from_url = pytest.importorskip("obstore.store").from_url

MB = 2**20
BACKOFF = {"init_backoff": timedelta(milliseconds=2), "max_backoff": timedelta(milliseconds=10), "base": 2}
Open = Callable[..., Any]


@pytest.fixture(scope="module", params=["memory", "folder"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    folder = tmp_path_factory.mktemp("objects") if request.param == "folder" else None
    with stand_in(folder, denied=["secret"]) as running:
        yield running


@pytest.fixture
def store(server: StandIn) -> StandIn:
    """The server as new."""
    for key in server.list():
        server.delete(key)
    server.set(delay_ms=0, page=1000, faults=Faults())
    server.reset()
    return server


@pytest.fixture(params=["gs", "s3"])
def opened(request: pytest.FixtureRequest, store: StandIn, monkeypatch: pytest.MonkeyPatch) -> Open:
    """Opens a bucket with obstore."""
    for name, value in store.env(request.param).items():
        monkeypatch.setenv(name, value)

    def open_bucket(bucket: str = "bucket", retries: int = 8, **client: Any) -> Any:
        retry = {"max_retries": retries, "retry_timeout": timedelta(seconds=20), "backoff": BACKOFF}
        return from_url(f"{request.param}://{bucket}/", client_options={"allow_http": True, **client}, retry_config=retry)

    return open_bucket


@pytest.fixture
def bucket(opened: Open) -> Any:
    return opened()


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
    assert store.counters().requests == {"list": 3}
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


# What goes wrong when it is asked to


@pytest.mark.parametrize("fault", ["unavailable", "reset", "cut"])
def test_reads_recover(fault: str, bucket: Any, store: StandIn) -> None:
    contents = {f"{number}": os.urandom(30_000) for number in range(30)}
    for key, content in contents.items():
        store.put(key, content)
    with store.faults(**{fault: 0.3}, seed=1), ThreadPoolExecutor(8) as pool:
        read = pool.map(lambda key: bytes(obs.get(bucket, key).bytes()), contents)
        assert list(read) == list(contents.values())
    counters = store.counters()
    assert counters.faults[fault] >= 5 and counters.requests["get"] == 30 + counters.faults[fault]
    assert set(counters.faults) == {fault}


@pytest.mark.parametrize("options", [{}, {"range": (10, 900)}])
def test_a_read_that_is_resumed_is_the_same_request(options: dict[str, Any], bucket: Any, store: StandIn) -> None:
    store.put("x", content := os.urandom(1000))
    with store.faults(cut=1.0, times=1):
        assert bytes(obs.get(bucket, "x", options=options).bytes()) == content[slice(*options.get("range", (0, 1000)))]
    assert store.counters().requests == {"get": 2} and store.counters().faults == {"cut": 1}


@pytest.mark.parametrize("fault", ["unavailable", "reset", "cut"])
def test_reads_without_tries_fail(fault: str, opened: Open, store: StandIn) -> None:
    store.put("x", bytes(1000))
    with store.faults(**{fault: 1.0}), pytest.raises(errors.GenericError):
        obs.get(opened(retries=0), "x").bytes()
    assert store.counters().faults == {fault: 1}


@pytest.mark.parametrize("fault", ["unavailable", "reset", "done_unavailable", "done_reset"])
def test_plain_writes_recover(fault: str, bucket: Any, store: StandIn) -> None:
    with store.faults(**{fault: 1.0}, times=1):
        obs.put(bucket, "x", b"hello")
    assert store.get("x") == b"hello" and store.counters().requests == {"put": 2}


@pytest.mark.parametrize(
    ("fault", "error", "is_done"),
    [
        ("reset", errors.GenericError, False),
        ("done_reset", errors.GenericError, True),
        ("done_unavailable", errors.AlreadyExistsError, True),
        ("unavailable", None, True),
    ],
)
def test_what_became_of_a_create_is_not_told(
    fault: str, error: type[Exception] | None, is_done: bool, bucket: Any, store: StandIn
) -> None:
    with store.faults(**{fault: 1.0}, times=1), pytest.raises(error) if error else nullcontext():
        obs.put(bucket, "x", b"hello", mode="create")
    assert ("x" in store.list()) == is_done


def test_parts_recover(bucket: Any, store: StandIn) -> None:
    content = os.urandom(16 * MB)
    with store.faults(unavailable=1.0, times=1):
        obs.put(bucket, "x", content)
    assert store.get("x") == content and store.counters().faults == {"unavailable": 6}


def test_a_completed_upload_cannot_be_completed_again(bucket: Any, store: StandIn) -> None:
    with store.faults(done_unavailable=1.0, times=1, kinds=("complete",)), pytest.raises(FileNotFoundError):
        obs.put(bucket, "x", bytes(6 * MB))
    assert store.list()["x"].size == 6 * MB


def test_faults_of_some_requests(bucket: Any, store: StandIn) -> None:
    with store.faults(unavailable=1.0, times=2, kinds=("get",), names="*/bad*"):
        for key in ("good", "bad"):
            obs.put(bucket, key, b"")
            obs.get(bucket, key)
    assert store.counters().requests == {"put": 2, "get": 4}
    obs.get(bucket, "bad")
    assert store.counters().faults == {"unavailable": 2}


@given(st.integers(0, 5), st.randoms(use_true_random=False))
def test_faults_do_not_depend_on_the_order_of_requests(seed: int, random: Any) -> None:
    asked = [f"GET /bucket/{number}" for number in range(40)] * 3
    assert _drawn(seed, asked) == _drawn(seed, random.sample(asked, len(asked)))


def _drawn(seed: int, asked: list[str]) -> list[tuple[str, list[str | None]]]:
    dice = Dice(Faults(unavailable=0.2, reset=0.1, seed=seed))
    drawn: dict[str, list[str | None]] = {}
    for identity in asked:
        drawn.setdefault(identity, []).append(dice.draw("get", "bucket/x", identity))
    return sorted(drawn.items())


@pytest.mark.parametrize("fault", APPLIES)
def test_shares_of_faults(fault: str) -> None:
    drawn = {}
    for seed in range(2):
        asked: dict[str, Any] = {fault: 0.2, "seed": seed}
        dice = Dice(Faults(**asked))
        kind = "get" if fault == "cut" else "put"
        drawn[seed] = [dice.draw(kind, "bucket/x", f"{number}") for number in range(2000)]
        assert 300 < drawn[seed].count(fault) < 500 and set(drawn[seed]) == {fault, None}
    assert drawn[0] != drawn[1]


def test_shares_above_one() -> None:
    with pytest.raises(ValueError, match="together at most 1"):
        Faults(reset=0.6, cut=0.6)


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
