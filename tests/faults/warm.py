"""A server of warm commands: reads one request a line, forks, and lets the child be `rt2data` with these arguments.

It has imported everything before, and starts no thread. A child can be told to die before its n-th change of a name in the file
system (a file made, renamed or removed, a folder made or removed), or to do some mischief before a certain name is given.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import Any, NoReturn

import rt2data.beam.run
import rt2data.beam.work
import rt2data.cli.build
import rt2data.look.verify
import rt2data.read.rlds.source
import rt2data.read.units
import rt2data.read.vqav2.source
from rt2data.cli import app

LIMIT_S = 60.0
RENAMES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir"}


def rehearse(folder: str) -> None:
    """Build once in this very process, so that what is imported late is there too."""
    os.chdir(folder)
    sys.argv = ["rt2data", "build-mixture", "--workers", "0", "--quiet"]
    with redirect_stdout(sys.stderr), suppress(SystemExit):
        app.main()


def serve() -> None:
    """Answer requests until there are no more."""
    for line in sys.stdin:
        asked = json.loads(line)
        started = time.monotonic()
        pid = os.fork()
        if pid == 0:
            be_the_command(asked)
        code, rss = wait_for(pid)
        print(json.dumps({"code": code, "rss": rss, "seconds": time.monotonic() - started}), flush=True)


def wait_for(pid: int) -> tuple[int | None, int]:
    """Exit code and peak memory of a child; no code where it had to be killed after a minute."""
    until = time.monotonic() + LIMIT_S
    while time.monotonic() < until:
        done, status, usage = os.wait4(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status), usage.ru_maxrss * 1024
        time.sleep(0.002)
    os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return None, 0


def be_the_command(asked: dict[str, Any]) -> NoReturn:
    """Become `rt2data`, as far as a fork can."""
    os.setsid()
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["env"])
    for number, name in ((1, asked["out"]), (2, asked["err"])):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.argv = ["rt2data", *asked["argv"]]
    plan_mischief(asked)
    code: Any = 1
    try:
        app.main()
    except SystemExit as stop:
        code = stop.code or 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def plan_mischief(asked: dict[str, Any]) -> None:
    """What is to happen while the command works."""
    if asked["die_at"]:
        at_change(asked["die_at"], die)
    if asked["before"]:
        before_name(**asked["before"])


def die() -> None:
    """As the kernel would have it."""
    os.kill(os.getpid(), signal.SIGKILL)


def at_change(number: int, act: Callable[[], None]) -> None:
    """Act before the n-th change of a name."""
    left = [number]

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in RENAMES or (event == "open" and isinstance(arguments[2], int) and arguments[2] & os.O_CREAT):
            left[0] -= 1
            if left[0] == 0:
                act()

    sys.addaudithook(hook)


def before_name(name: str, what: str, path: str = "", event: str = "os.rename", nth: int = 1) -> None:
    """Do something once, before the n-th file whose name begins so gets that name (or loses it: os.remove)."""
    waiting = [nth]

    def hook(heard: str, arguments: tuple[Any, ...]) -> None:
        if waiting[0] and heard == event and Path(arguments[event == "os.rename"]).name.startswith(name):
            waiting[0] -= 1
            if not waiting[0]:
                MISCHIEF[what](Path(path))

    sys.addaudithook(hook)


def append(path: Path) -> None:
    """A file grows."""
    with path.open("ab") as file:
        file.write(b"\0" * 64)


def replace(path: Path) -> None:
    """Another file of the same bytes takes the name."""
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    other.replace(path)


def edit(path: Path) -> None:
    """One bit changes; size and time of the file do not."""
    stat = path.stat()
    with path.open("r+b") as file:
        file.seek(stat.st_size // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def fill(path: Path) -> None:
    """The disk gets full: `path` takes what is left."""
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(b"\0" * 4096):
            pass


def come_back(path: Path) -> None:
    """A file that was away is here again."""
    path.with_suffix(".away").rename(path)


def fail_to_read(path: Path) -> None:
    """The disk of the sources fails: from now on reading by position does."""

    def preadv(*arguments: Any) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    os.preadv = preadv


MISCHIEF: dict[str, Callable[[Path], object]] = {
    "append": append,
    "replace": replace,
    "edit": edit,
    "fill": fill,
    "delete": Path.unlink,
    "touch": Path.touch,
    "die": lambda _: die(),
    "come back": come_back,
    "fail to read": fail_to_read,
}


if __name__ == "__main__":
    rt2data.read.units.UNIT_BYTES = 400_000  # each of the log's four files is a unit
    for place in sys.argv[1:]:
        rehearse(place)
    serve()
