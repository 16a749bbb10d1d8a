"""What goes wrong when the stand-in is asked to, and what obstore makes of it."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.objects.conftest import Open
from tests.objects.faults import APPLIES, Dice, Faults
from tests.objects.stand_in import StandIn

obs = pytest.importorskip("obstore", reason="obstore is not installed: nothing to test the stand-in with")
errors = pytest.importorskip("obstore.exceptions")

MB = 2**20


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
