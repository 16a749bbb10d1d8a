"""A lock shared between machines: an object that states its holder and expiry. It is renewed while held.

It only avoids duplicate work. Concurrent writes by two holders are still correct: names follow from content, and an output is
published by a single compare-and-swap.

A job that runs elsewhere continues if its launcher is killed. So it takes the launcher's claims along, and its workers renew them.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from threading import Event, Thread
from typing import NamedTuple
from uuid import uuid4

import msgspec

from rt2data.errors import LockedError, OutputError
from rt2data.io import location
from rt2data.io.location.objects import object_store

LEASE_S, RENEWED_S = 60.0, 15.0
JOB_S, JOB_RENEWED_S = 300.0, 20.0
"""The same for a job: its workers check the lease between work orders, some of which take minutes."""
_PAUSE_S = 1.0


class Claim(NamedTuple):
    """A lease that is held: its object, and the owner stated in it."""

    name: str
    owner: str


class Lease(msgspec.Struct, frozen=True):
    """The content of the lease object."""

    owner: str
    host: str
    process: int  # the process that took it
    until: float  # in s since 1970
    job: bool = False  # renewed by workers anywhere, even if that process is gone

    @property
    def is_over(self) -> bool:
        """Whether the lease has expired, or its owner was a process on this machine that is gone."""
        gone = not self.job and self.host == socket.gethostname() and not _is_alive(self.process)
        return time.time() > self.until or gone

    @property
    def holder(self) -> str:
        """A description of the holder."""
        return f"{'a job of ' if self.job else ''}process {self.process} on {self.host}"


_held: ContextVar[tuple[Claim, ...]] = ContextVar("_held", default=())


def held_claims() -> tuple[Claim, ...]:
    """The leases currently held in the caller's context."""
    return _held.get()


@contextmanager
def leased(name: Path, what: str, wait_s: float = 0) -> Iterator[None]:
    """Hold a lease. Raises LockedError if another holder keeps it for longer than `wait_s`, OutputError if it cannot be written."""
    claim = Claim(str(name), uuid4().hex)
    began = time.monotonic()
    while not _take(claim):
        if time.monotonic() - began >= wait_s:
            raise _refusal(claim, what)
        time.sleep(_PAUSE_S)
    over = Event()
    renewing = Thread(target=_keep, args=(claim, over), daemon=True)
    renewing.start()
    _held.set((*_held.get(), claim))
    try:
        yield
    finally:
        _held.set(tuple(each for each in _held.get() if each != claim))
        over.set()
        renewing.join(RENEWED_S)
        release(claim)


def release(claim: Claim) -> None:
    """Remove a lease, if it is still ours."""
    with suppress(OSError):
        found = _read(claim.name)
        if found and _decoded(found).owner == claim.owner:
            location.delete(claim.name)


_renewals: dict[Claim, float] = {}
"""When this process last renewed each of a job's leases."""


def renew_for_job(claim: Claim) -> None:
    """Renew a job's lease from any of its workers, if it is due. Raises LockedError if another build has taken it.

    The first call takes it again if the launcher has ended, as it does for a template, before the job begins.
    """
    before = _renewals.get(claim)
    if before is None or time.monotonic() - before >= JOB_RENEWED_S:
        _renewals[claim] = time.monotonic()
        with suppress(OSError, OutputError):  # while it is unreachable, nobody else can take it either
            _renew_for_job(claim, before is None)


def _renew_for_job(claim: Claim, first: bool) -> None:
    found = _read(claim.name)
    lease = _decoded(found or b"")
    if found is None and first:
        object_store(claim.name).put_new(claim.name, _encoded(claim, JOB_S, job=True))
    elif found and lease.owner != claim.owner and not lease.is_over:
        raise LockedError(f"another build took over: {lease.holder}", claim.name, "wait for it to finish")
    elif found and lease.owner == claim.owner and not (lease.job and lease.until - time.time() > JOB_S - JOB_RENEWED_S):
        _replace(claim, msgspec.structs.replace(lease, until=time.time() + JOB_S, job=True), found)


def _take(claim: Claim) -> bool:
    """Take the lease if it is free; returns whether it is ours now."""
    fresh = _encoded(claim, LEASE_S)
    if object_store(claim.name).put_new(claim.name, fresh):
        return True
    found = _read(claim.name)
    return found is not None and _decoded(found).is_over and object_store(claim.name).replace(claim.name, fresh, found)


def _keep(claim: Claim, over: Event) -> None:
    """Renew the lease until `over` is set, or another holder has it."""
    while not over.wait(RENEWED_S):
        with suppress(OSError, OutputError):
            found = _read(claim.name)
            lease = _decoded(found or b"")
            if found is None or lease.owner != claim.owner:
                return
            _replace(claim, msgspec.structs.replace(lease, until=max(lease.until, time.time() + LEASE_S)), found)


def _refusal(claim: Claim, what: str) -> LockedError:
    """The error that names the holder, and when the lease expires unless renewed."""
    lease = _decoded(_read(claim.name) or b"")
    left = max(lease.until - time.time(), 0)
    holder = f" ({lease.holder})" if lease.owner else ""
    do = f"wait for it to finish; after a build that was killed, {left:.0f} s"
    return LockedError(f"another build is writing {what}{holder}", claim.name, do)


def _replace(claim: Claim, lease: Lease, before: bytes) -> None:
    object_store(claim.name).replace(claim.name, msgspec.json.encode(lease), before)


def _read(name: str) -> bytes | None:
    try:
        return object_store(name).read_now(name)
    except FileNotFoundError:
        return None


def _encoded(claim: Claim, seconds: float, job: bool = False) -> bytes:
    return msgspec.json.encode(Lease(claim.owner, socket.gethostname(), os.getpid(), time.time() + seconds, job))


def _decoded(content: bytes) -> Lease:
    """The decoded lease; an unreadable one counts as expired."""
    try:
        return msgspec.json.decode(content, type=Lease)
    except msgspec.MsgspecError:
        return Lease("", "", 0, 0.0)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
