"""Work orders as Spark tasks: each phase is one job, each order one partition.

Results arrive through an accumulator as tasks end; a job's own result would arrive only at its end. Spark adds a task's value
exactly once in an action, however often it retries the task.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from importlib import import_module
from typing import Any
from uuid import uuid4

from rt2data.engines.base import Work
from rt2data.engines.outcome import attempt, settled
from rt2data.errors import InternalError, UsageError

pyspark: Any = import_module("pyspark")

LOCAL = "local[*, 4]"
"""All cores of this machine. An order is tried four times, as on a cluster: locally Spark's default is once."""
POLL_S = 0.1


class _Appended(pyspark.AccumulatorParam):  # type: ignore[misc]
    """Adds up by appending."""

    def zero(self, value: list[Any]) -> list[Any]:
        return []

    def addInPlace(self, value1: list[Any], value2: list[Any]) -> list[Any]:  # noqa: N802
        value1 += value2
        return value1


class Spark:
    """Jobs of a Spark context. They run in a thread, so that an interrupt reaches the caller and not a call into Spark."""

    def __init__(self, context: Any, thread: ThreadPoolExecutor) -> None:
        self.context, self._thread, self._tag = context, thread, f"rt2data-{uuid4().hex}"

    def map(self, work: Work, orders: Sequence[Any]) -> Iterator[Any]:
        """The results as they arrive. Raises InternalError for an order that Spark gives up on."""
        if not orders:
            return
        arrived, given = self.context.accumulator([], _Appended()), 0
        job = self._thread.submit(self._run, work, orders, arrived)
        ended = False
        while not ended:
            ended = bool(wait([job], POLL_S).done)
            news = arrived.value[given:]
            given += len(news)
            yield from map(settled, news)
        _require_success(job)

    def _run(self, work: Work, orders: Sequence[Any], arrived: Any) -> None:
        self.context.addJobTag(self._tag)
        self.context.parallelize(orders, len(orders)).foreach(lambda order: arrived.add([attempt(work, order)]))

    def cancel(self) -> None:
        """Stop running jobs."""
        self.context.cancelJobsWithTag(self._tag)


def _require_success(job: Future[None]) -> None:
    try:
        job.result()
    except Exception as error:
        raise InternalError(f"Spark gave up a work order: {_said(error)}", do="look at the logs of its executors") from error


def _said(error: Exception) -> str:
    """The first line, without the trace."""
    return str(getattr(error, "java_exception", None) or error).strip().partition("\n")[0]


@contextmanager
def at_work(context: Any = None) -> Iterator[Spark]:
    """Spark with this context; else with a context from Spark's own configuration, which stops with the build."""
    found = context or _started()
    with ThreadPoolExecutor(1) as thread:
        engine = Spark(found, thread)
        try:
            yield engine
        finally:
            engine.cancel()
            if context is None:
                found.stop()


def _started() -> Any:
    """A context with the master from spark-defaults.conf or MASTER, else on this machine. Raises UsageError."""
    os.environ.setdefault("MASTER", LOCAL)
    settings = pyspark.SparkConf().setAppName("rt2data").set("spark.ui.showConsoleProgress", "false")
    try:
        context = pyspark.SparkContext(conf=settings)
    except Exception as error:
        advice = "it needs Java 17 or newer (JAVA_HOME); its master is that of spark-defaults.conf or MASTER"
        raise UsageError(f"Spark cannot be started: {_said(error)}", "--engine spark", advice) from error
    if context.master.startswith("local") and "PYSPARK_PYTHON" not in os.environ:
        context.pythonExec = sys.executable  # by default the first python3 on PATH, which may lack rt2data
    return context
