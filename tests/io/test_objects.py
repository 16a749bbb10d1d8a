"""Objects by name, over a stand-in for object stores: as many requests as needed, and no byte that is not the object's."""

from __future__ import annotations

import errno
import subprocess
import sys
from collections.abc import Iterator

import pytest

from rt2data.io import location
from rt2data.io.location import traffic
from rt2data.io.location.base import Range
from tests.faults.command import environment

pytest.importorskip("obstore", reason="the extra `cloud` is not installed")

from rt2data.io.location.ahead import Ahead, Heads
from rt2data.io.location.object_file import LARGEST
from rt2data.io.location.requests import tried
from tests.objects.here import used_here
from tests.objects.stand_in import StandIn, stand_in

FORKED = """
import os, sys
from rt2data.errors import UsageError
from rt2data.io import location

location.read_bytes(sys.argv[1])
child = os.fork()
if child == 0:
    try:
        location.read_bytes(sys.argv[1])
    except UsageError as error:
        os._exit(7 if "forkserver" in str(error) else 1)
    os._exit(0)
os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.fixture(scope="module")
def store() -> Iterator[StandIn]:
    with stand_in() as found:
        for number in range(2500):
            found.put(f"many/{number:04d}", b"%d" % number)
        yield found


@pytest.fixture(autouse=True)
def found_here(store: StandIn) -> Iterator[None]:
    store.reset()
    with used_here(store.env("gs")):
        yield


def name(key: str) -> str:
    return f"gs://bucket/{key}"


@pytest.mark.parametrize(("asked", "lists", "heads"), [(3, 0, 3), (2000, 3, 0)])
def test_stats_take_few_requests(store: StandIn, asked: int, lists: int, heads: int) -> None:
    names = [name(f"many/{number:04d}") for number in range(asked)]
    found = location.stats(names)
    assert [stat and stat.size for stat in found] == [len(str(number)) for number in range(asked)]
    assert (store.counters().requests["list"], store.counters().requests["head"]) <= (lists, heads)
    assert location.stats(names[:2]) == found[:2], "the same by another request"


def test_a_large_folder_is_not_listed_for_a_few(store: StandIn) -> None:
    names = [name(f"many/{number:04d}") for number in range(2490, 2499)] + [name("many/gone")]
    found = location.stats(names)
    assert [stat is None for stat in found] == [False] * 9 + [True]
    assert store.counters().requests["list"] <= 2 and store.counters().requests["head"] == 10


def test_an_empty_object(store: StandIn) -> None:
    store.put("empty", b"")
    assert location.read_bytes(name("empty")) == b"" == location.read_head(name("empty"), 10)
    assert Heads([name("empty"), name("many/0007")], 10).read(name("empty")) == b""
    assert location.read_range(name("many/0007"), 5, 3) == b""


def test_a_large_object_is_read_in_parts(store: StandIn) -> None:
    content = bytes(range(251)) * (2 * LARGEST // 251)
    store.put("large", content)
    assert location.read_bytes(name("large")) == content == bytes(location.mapped(name("large")))
    with location.open_file(name("large")) as file:
        assert file.seek(1000) == 1000 and file.read(10**6) == content[1000 : 1000 + 10**6]
        assert file.seek(-5, 2) == len(content) - 5 and file.read() == content[-5:]


def test_what_was_wanted_before_is_given_up(store: StandIn) -> None:
    """A shard that failed leaves ranges that nobody takes: the next one is fetched ahead all the same."""
    ranges = [Range(name(f"many/{number:04d}"), 0, 4) for number in range(1000, 1100)]
    ahead = Ahead()
    ahead.want(ranges[:50])
    assert bytes(ahead.take(ranges[0])) == b"1000"
    ahead.want(ranges[50:])
    assert [bytes(ahead.take(each)) for each in ranges[50:]] == [b"%d" % number for number in range(1050, 1100)]
    read = store.counters().keys_read
    assert max(read[f"bucket/many/{number}"] for number in range(1000, 1100)) == 1, "none was fetched again"
    assert bytes(ahead.take(ranges[3])) == b"1003", "nobody announced it"


def test_a_forked_process_is_told(store: StandIn) -> None:
    command = [sys.executable, "-c", FORKED, name("many/0001")]
    ended = subprocess.run(command, env=environment(dict(store.env("gs"))), timeout=60, capture_output=True, text=True, check=False)
    assert ended.returncode == 7, ended.stderr


def test_requests_are_counted_for_runners(store: StandIn) -> None:
    traffic.taken()
    location.stats([name(f"many/{number:04d}") for number in range(1500)])
    location.read_ranges([Range(name(f"many/{number:04d}"), 0, 1) for number in range(30)])
    asked = store.counters().requests
    assert traffic.taken() == {"requests": asked["list"] + asked["get"] + asked["head"]}
    answers = iter([OSError(errno.EIO, "broken off"), OSError(errno.EIO, "broken off")])

    def call() -> str:
        for error in answers:
            raise error
        return "done"

    assert tried(name("many/0000"), call) == "done"
    assert (traffic.taken(), traffic.taken()) == ({"requests": 1, "retries": 2}, {})
