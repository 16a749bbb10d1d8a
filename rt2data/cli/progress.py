"""Progress: a live line on a terminal, a plain line every ten seconds elsewhere, with rate, rejects and time left."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from rt2data.build import Preparation, Waiting
from rt2data.cli.commands import verbosity
from rt2data.cli.console import insist, talk
from rt2data.engines.base import Stopping
from rt2data.formats.rlds.dataset import RldsPlan
from rt2data.io.words import size
from rt2data.plan.model import Plan
from rt2data.prepare.unit import UnitSummary
from rt2data.write.shard import ShardInfo

EVERY_S = 10.0


@dataclass
class Count:
    """Progress of one kind of work."""

    name: str
    started: float = field(default_factory=time.monotonic)
    total: int = 0
    done: int = 0
    kept: int = 0  # from an earlier run
    examples: int = 0
    bytes: int = 0
    rejects: int = 0
    reported: bool = False  # as complete

    def line(self) -> str:
        """Units, rates, rejects and time left."""
        spent = max(time.monotonic() - self.started, 1e-3)
        fresh = self.done - self.kept
        parts = [f"{self.done}/{self.total}"]
        parts += (
            [f"{self.examples / spent:,.0f} examples/s", f"{size(self.bytes / spent)}/s"] if self.examples or self.bytes else []
        )
        parts += [f"{fresh / spent:.3g}/s"] if fresh and not (self.examples or self.bytes) else []
        parts += [f"{self.rejects:,} rejects"] if self.rejects else []
        parts += [f"{self.kept:,} from an earlier run"] if self.kept else []
        parts += [f"{spent / fresh * (self.total - self.done):.0f} s left"] if fresh and self.done < self.total else []
        parts += [f"{spent:.1f} s"] if self.done == self.total else []
        return f"{self.name:<8} " + "  ".join(parts)


class Progress:
    """Shows the results of a run as they arrive."""

    def __init__(self, quiet: bool = False) -> None:
        self.quiet, self.tty = quiet, sys.stderr.isatty()
        self.counts: dict[str, Count] = {}
        self.plan: Plan | None = None
        self._shown = time.monotonic()
        self._since = time.monotonic()
        self._lock = Lock()

    def __call__(self, result: Any) -> None:
        """Count one result: the work to do, a unit, a file of rows, a plan or a shard."""
        with self._lock:
            self._take(result)
            self._show()

    def _take(self, result: Any) -> None:
        match result:
            case UnitSummary():
                lost = sum(entry.count for entry in result.rejects)
                self._count("prepare", result.fresh, sum(result.rows.values()), result.bytes_read, lost)
            case ShardInfo():
                self._count("write", result.fresh, result.examples, result.bytes, 0)
            case Plan():
                self.plan = result
                self._begin("write", result.shards)
            case RldsPlan():
                self._begin("write", result.shards)
            case Waiting():
                talk(f"waiting for the store of {result.name}, which another build is preparing")
            case Stopping():
                insist("stopping: finishing work in progress (interrupt again to stop at once); run the same command to resume")
            case [*todo]:
                self._begin("prepare", sum(len(p.units) for p in todo if isinstance(p, Preparation)))

    def _begin(self, name: str, total: int) -> None:
        """Record that work begins now."""
        if total:
            self.counts[name] = Count(name, total=total)

    def _begun(self, name: str, total: int) -> None:
        """Record work that is not announced before its first result: it began when the previous work ended."""
        if name not in self.counts:
            self.counts[name] = Count(name, started=self._since, total=total)

    def _count(self, name: str, fresh: bool, examples: int, count: int, rejects: int) -> None:
        here = self.counts.setdefault(name, Count(name))
        here.done, here.kept, here.rejects = here.done + 1, here.kept + (not fresh), here.rejects + rejects
        if fresh:
            here.examples, here.bytes = here.examples + examples, here.bytes + count
        if here.done == here.total:
            self._since = time.monotonic()

    def _show(self) -> None:
        now = time.monotonic()
        if self.quiet or not self.counts:
            return
        last = list(self.counts.values())[-1]
        complete = last.done == last.total
        if complete and last.reported:
            return
        last.reported = complete
        if self.tty and (complete or now - self._shown > 0.1):
            sys.stderr.write("\r\x1b[2K" + last.line() + ("\n" if complete else ""))
            sys.stderr.flush()
        elif not self.tty and (complete or now - self._shown > EVERY_S):
            talk(last.line())
        else:
            return
        self._shown = now


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Silence Beam, which warns about optional packages and logs failures that are reported here anyway."""
    import logging

    if verbosity.verbose:
        yield
        return
    before = logging.root.level
    logging.root.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logging.root.setLevel(before)
