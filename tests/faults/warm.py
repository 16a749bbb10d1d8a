"""A server of warm commands: reads one request a line, forks, and lets the child be `rt2data` with these arguments.

It has imported everything before, and starts no thread. A child can be told to do something at its n-th change of a name in the
file system (a file made, renamed or removed, a folder made or removed): to die there, or to change a file of a source first.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import rt2data.beam.run
import rt2data.cli.build
import rt2data.sources.rlds
import rt2data.sources.vqav2
import rt2data.verify
import rt2data.work  # noqa: F401
from rt2data.cli import app

LIMIT_S = 60.0
RENAMES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir"}


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
        at_change(asked["die_at"], lambda: os.kill(os.getpid(), signal.SIGKILL))
    for where, what in (asked["on_change"] or {}).items():
        before_name(where, lambda what=what: change(**what))


def at_change(number: int, act: Callable[[], None]) -> None:
    """Act before the n-th change of a name."""
    left = [number]

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in RENAMES or (event == "open" and isinstance(arguments[2], int) and arguments[2] & os.O_CREAT):
            left[0] -= 1
            if left[0] == 0:
                act()

    sys.addaudithook(hook)


def before_name(part: str, act: Callable[[], None]) -> None:
    """Act once, before the first file whose path holds `part` is renamed to that name."""
    waiting = [True]

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if waiting[0] and event == "os.rename" and part in str(arguments[1]):
            waiting[0] = False
            act()

    sys.addaudithook(hook)


def change(path: str, how: str) -> None:
    """Change a file of a source: append, replace, edit in place at the same size, delete, touch."""
    file = Path(path)
    if how == "append":
        with file.open("ab") as out:
            out.write(b"\0" * 64)
    elif how == "replace":
        other = file.with_suffix(".other")
        other.write_bytes(file.read_bytes())
        other.replace(file)
    elif how == "edit":
        with file.open("r+b") as out:
            out.seek(file.stat().st_size // 2)
            byte = out.read(1)
            out.seek(-1, os.SEEK_CUR)
            out.write(bytes([byte[0] ^ 1]))
    elif how == "delete":
        file.unlink()
    elif how == "touch":
        os.utime(file)
    else:
        raise ValueError(how)


if __name__ == "__main__":
    serve()
