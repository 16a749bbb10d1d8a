"""Workers of Beam that share nothing with the launcher but the disk: `python -m tests.beam.worker_pool PORT [MISCHIEF PATH]`.

Beam's own pool, in one process, where something can happen at a certain time.
"""

from __future__ import annotations

import resource
import signal
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import rt2data.write.shard

Work = Callable[[Any], Any]


def change(path: Path) -> None:
    """A picture's comment: it stays a picture of the same size."""
    content = bytearray(path.read_bytes())
    content[10] ^= 1
    path.write_bytes(content)


def limit(_: Path) -> None:
    """No file may be as large as a shard, as on a small disk."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, resource.RLIM_INFINITY))


def stumble(_: Path) -> None:
    """A bug."""
    raise ZeroDivisionError("a bug of a worker")


MISCHIEF: dict[str, tuple[Any, str, Callable[[Path], None]]] = {
    "source": (rt2data.write.shard, "write_shard", change),
    "output": (rt2data.write.shard, "write_shard", limit),
    "bug": (rt2data.write.shard, "write_shard", stumble),
}
"""Where it happens, before what, and what."""


def before(module: Any, name: str, happens: Callable[[], None]) -> None:
    """Let something happen before the first call of a function; what arrives from the launcher names it by its module."""
    function: Work = getattr(module, name)
    waiting = [happens]

    @wraps(function)
    def call(order: Any) -> Any:
        while waiting:
            waiting.pop()()
        return function(order)

    setattr(module, name, call)


def main(port: str, mischief: str = "", path: str = "") -> None:
    """Serve until killed."""
    from apache_beam.runners.worker.worker_pool_main import BeamFnExternalWorkerPoolServicer

    if mischief:
        module, name, what = MISCHIEF[mischief]
        before(module, name, lambda: what(Path(path)))
    serving = BeamFnExternalWorkerPoolServicer.start(port=int(port))  # a server that nobody holds ends
    print("ready at", serving[0], flush=True)
    signal.pause()


if __name__ == "__main__":
    main(*sys.argv[1:])
