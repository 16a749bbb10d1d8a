"""A lock that machines share: an object that says who holds it and until when. It is renewed while it is held.

It only saves work that would be done twice. What two holders write at once is right anyhow: names follow from content, and an
output is published by one compare-and-swap.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from uuid import uuid4

import msgspec

from rt2data.errors import LockedError, OutputError
from rt2data.io import location
from rt2data.io.location.objects import object_store

LEASE_S, RENEWED_S = 60.0, 15.0
_PAUSE_S = 1.0


class Lease(msgspec.Struct, frozen=True):
    """What the object holds."""

    owner: str
    host: str
    process: int
    until: float  # s since 1970

    @property
    def is_over(self) -> bool:
        """Whether it has run out, or its owner was a process of this machine that is gone."""
        return time.time() > self.until or (self.host == socket.gethostname() and not _is_alive(self.process))


@contextmanager
def leased(name: Path, what: str, wait_s: float = 0) -> Iterator[None]:
    """Hold a lease. Raises LockedError where another holds it for longer than `wait_s`, OutputError where it cannot be written."""
    held = _Held(name)
    began = time.monotonic()
    while not held.take():
        if time.monotonic() - began >= wait_s:
            do = f"wait for it to finish; after a build that was killed, {LEASE_S:.0f} s"
            raise LockedError(f"another build is writing {what}", str(name), do)
        time.sleep(_PAUSE_S)
    renewing = Thread(target=held.keep, daemon=True)
    renewing.start()
    try:
        yield
    finally:
        held.over.set()
        renewing.join(RENEWED_S)
        held.give_up()


class _Held:
    """One lease of this process."""

    def __init__(self, name: Path) -> None:
        self._name, self._owner = str(name), uuid4().hex
        self._store = object_store(name)
        self._content = b""
        self.over = Event()

    def take(self) -> bool:
        """Take it if it is free; whether it is ours now."""
        fresh = self._fresh()
        if self._store.put_new(self._name, fresh):
            self._content = fresh
            return True
        found = self._read()
        if found is None or not _decoded(found).is_over or not self._store.replace(self._name, fresh, found):
            return False
        self._content = fresh
        return True

    def keep(self) -> None:
        """Renew it until it is over, or another has taken it."""
        while not self.over.wait(RENEWED_S):
            fresh = self._fresh()
            with suppress(OSError, OutputError):
                if not self._store.replace(self._name, fresh, self._content):
                    return
                self._content = fresh

    def give_up(self) -> None:
        """Remove it, if it is still ours."""
        with suppress(OSError):
            if self._read() == self._content:
                location.delete(self._name)

    def _read(self) -> bytes | None:
        try:
            return location.read_bytes(self._name)
        except FileNotFoundError:
            return None

    def _fresh(self) -> bytes:
        return msgspec.json.encode(Lease(self._owner, socket.gethostname(), os.getpid(), time.time() + LEASE_S))


def _decoded(content: bytes) -> Lease:
    """The lease; one that cannot be read is over."""
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
