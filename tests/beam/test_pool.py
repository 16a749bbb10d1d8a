"""The pool answers every order, whatever becomes of it: nothing waits for ever."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import Future
from pathlib import Path
from threading import Lock
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from rt2data.beam.pool import Pool, make_pool
from rt2data.errors import DataError, InternalError

KINDS = [("processes", 2), ("threads", 2), ("threads", 0)]


@pytest.fixture(params=KINDS, ids=lambda kind: f"{kind[0]}-{kind[1]}")
def pool(request: pytest.FixtureRequest) -> Any:
    found: Pool = make_pool(*request.param)
    yield found
    found.close()


def outcome(future: Future[Any]) -> Any:
    return future.exception(timeout=30) or future.result()


def refuse(order: str) -> None:
    raise DataError("a cut file", order, "fetch it again")


def raise_what_cannot_travel(order: str) -> None:
    class Local(Exception):  # noqa: N818
        """Of a class that no other process knows."""

    raise Local(order)


def pandas_after_arrow(values: list[int]) -> tuple[int, bool]:
    return pc.sum(pa.array(values)).as_py(), sys.modules.get("pandas") is not None


def test_orders_are_answered_in_any_number(pool: Pool) -> None:
    futures = [pool.submit(len, "x" * n) for n in range(50)]
    assert [future.result(timeout=30) for future in futures] == list(range(50))


def test_worker_processes_leave_out_pandas() -> None:
    """pyarrow imports it wherever it is installed, as it is here for some."""
    pool = make_pool("processes", 1)
    try:
        assert pool.submit(pandas_after_arrow, [1, 2]).result() == (3, False)
    finally:
        pool.close()


def test_errors_come_back_as_they_were_raised(pool: Pool) -> None:
    error = outcome(pool.submit(refuse, "log-00003"))
    assert type(error) is DataError
    assert (error.what, error.where, error.do, error.code) == ("a cut file", "log-00003", "fetch it again", 3)


def test_an_error_that_cannot_travel_is_told(pool: Pool) -> None:
    error = outcome(pool.submit(raise_what_cannot_travel, "here"))
    assert isinstance(error, Exception)
    assert "here" in str(error)
    assert outcome(pool.submit(len, "still working")) == 13


def test_an_order_that_cannot_travel_is_told() -> None:
    """A lock, in the settings of a source of one's own, say."""
    pool = make_pool("processes", 1)
    try:
        error = outcome(pool.submit(id, Lock()))
        assert "pickle" in str(error)
        assert outcome(pool.submit(len, "still working")) == 13
    finally:
        pool.close()


def test_a_result_that_cannot_travel_is_told() -> None:
    pool = make_pool("processes", 1)
    try:
        assert isinstance(outcome(pool.submit(memoryview, b"x")), InternalError)
        assert outcome(pool.submit(len, "still working")) == 13
    finally:
        pool.close()


def test_a_script_that_may_not_start_workers_ends(tmp_path: Path) -> None:
    """Workers import the main module; one that starts a build without asking whether it is main would start them again."""
    script = tmp_path / "script.py"
    script.write_text(
        "from rt2data.beam.pool import make_pool\npool = make_pool('processes', 1)\npool.submit(len, 'abc').result(timeout=30)\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60)
    assert done.returncode
    assert "died 2 times" in done.stderr
