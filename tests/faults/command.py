"""The real command, run from outside: its exit code, its words, and every process it started."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LIMIT_S = 60.0
"""No command may take longer: a hang is a failure."""
COMMAND = (sys.executable, "-m", "rt2data")
ROOT = str(Path(__file__).parents[2])


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int  # negative: the signal it died of
    out: str
    err: str
    seconds: float
    rss_bytes: int = 0  # peak of the process itself; only told of warm runs

    @property
    def complaint(self) -> str:
        """The one line that says what is wrong. Fails where there is none, or more, or a trace."""
        lines = [line for line in self.err.splitlines() if line.startswith("rt2data: ")]
        assert len(lines) == 1 and "Traceback" not in self.err, self.err
        return lines[0]

    def failed(self, code: int, *words: str) -> None:
        """Fails unless the command ended with this code, and one line that holds all these words."""
        assert self.code == code, (self.code, self.err[-3000:], self.out[-500:])
        missing = [word for word in words if word not in self.complaint]
        assert not missing, (missing, self.complaint)

    def succeeded(self) -> None:
        """Fails unless all went well."""
        assert self.code == 0, (self.code, self.err[-3000:])


def environment(changes: Mapping[str, str | None] | None = None) -> dict[str, str]:
    """This process's environment with some variables changed; None takes one out."""
    found = {**os.environ, "PYTHONPATH": ROOT, "PYTHONWARNINGS": "ignore"}
    for name, value in (changes or {}).items():
        found.pop(name, None)
        if value is not None:
            found[name] = value
    return found


@dataclass
class Running:
    """A command under way, in a session of its own: whatever it starts can be found by that."""

    process: subprocess.Popen[str]
    started: float

    @property
    def pid(self) -> int:
        return self.process.pid

    def family(self) -> list[int]:
        """The processes of this run that live."""
        return sorted(pid for pid, session, state in _processes() if session == self.pid and state != "Z")

    def children(self) -> list[int]:
        """The family without its head."""
        return [pid for pid in self.family() if pid != self.pid]

    def send(self, *signals: int) -> None:
        """Send signals to the main process, if it lives."""
        for number in signals:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def wait(self, limit_s: float = LIMIT_S) -> Ended:
        """Wait until it has ended. Fails where it hangs."""
        try:
            out, err = self.process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            places = _where_they_hang(self.family())
            self.end()
            raise AssertionError(f"still running after {limit_s} s: {places}") from None
        return Ended(self.process.returncode, out, err, time.monotonic() - self.started)

    def orphans(self, within_s: float = 5.0) -> list[str]:
        """What is left of the family after a while."""
        until = time.monotonic() + within_s
        while (left := self.family()) and time.monotonic() < until:
            time.sleep(0.02)
        return _where_they_hang(left)

    def end(self) -> None:
        """Leave nothing behind, whatever happened."""
        for pid in self.family():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _processes() -> Iterator[tuple[int, int, str]]:
    """Process id, session and state of every process."""
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, IndexError):
            fields = (folder / "stat").read_text().rsplit(")", 1)[1].split()
            yield int(folder.name), int(fields[3]), fields[0]


def _where_they_hang(pids: list[int]) -> list[str]:
    found = []
    for pid in pids:
        with suppress(OSError):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()[:200]
            found.append(f"{pid} in {Path(f'/proc/{pid}/wchan').read_text()}: {words}")
    return found


@contextmanager
def running(
    folder: Path,
    *arguments: str,
    env: Mapping[str, str | None] | None = None,
    command: Sequence[str] = COMMAND,
    **options: Any,
) -> Iterator[Running]:
    """Start the command in a folder; whatever is left of it at the end is killed."""
    pipes: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    found = subprocess.Popen(
        [*command, *arguments],
        cwd=folder,
        env=environment(env),
        text=True,
        errors="replace",
        start_new_session=True,
        **(pipes | options),
    )
    run = Running(found, time.monotonic())
    try:
        yield run
    finally:
        run.end()
        found.wait()
        for pipe in (found.stdout, found.stderr):
            if pipe is not None:
                pipe.close()


def rt2data(folder: Path, *arguments: str, env: Mapping[str, str | None] | None = None, **options: Any) -> Ended:
    """Run the command in a folder, from the interpreter's start to its end."""
    with running(folder, *arguments, env=env, **options) as run:
        ended = run.wait()
        assert not run.orphans(), "the command left processes behind"
        return ended


class Warm:
    """The same command in a process forked from one that has imported it all: half a minute of imports is saved by each test.

    Nothing else differs: `main()` reads its arguments, works and exits. With `die_at` it is killed before its n-th change of a
    name in the file system, with `before` something happens to it (see warm.py).
    """

    def __init__(self, folder: Path, rehearsal: Path | None = None) -> None:
        """What commands say goes to `folder`; the server first builds in `rehearsal`, if there is one."""
        self._folder, self._count = folder, 0
        command = [sys.executable, "-m", "tests.faults.warm", *([str(rehearsal)] if rehearsal else [])]
        with (folder / "server").open("w") as said:
            self._server = subprocess.Popen(
                command, cwd=ROOT, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, text=True
            )

    def __call__(
        self,
        folder: Path,
        *arguments: str,
        env: Mapping[str, str | None] | None = None,
        die_at: int = 0,
        before: Mapping[str, str | int] | None = None,
    ) -> Ended:
        """Run the command. `before` is what `before_name` of warm.py takes: name, what, path, event, nth."""
        self._count += 1
        out, err = (self._folder / f"{self._count}.{name}" for name in ("out", "err"))
        asked = {"argv": arguments, "cwd": str(folder), "env": environment(env), "out": str(out), "err": str(err)}
        answer = self._ask(asked | {"die_at": die_at, "before": before})
        told, complained = (path.read_text(errors="replace") for path in (out, err))
        return Ended(answer["code"], told, complained, answer["seconds"], answer["rss"])

    def _ask(self, asked: dict[str, Any]) -> dict[str, Any]:
        assert self._server.stdin is not None and self._server.stdout is not None
        self._server.stdin.write(json.dumps(asked) + "\n")
        self._server.stdin.flush()
        found: dict[str, Any] = json.loads(self._server.stdout.readline())
        assert found["code"] is not None, f"still running after {LIMIT_S} s: {asked['argv']}"
        return found

    def close(self) -> None:
        """End the server."""
        assert self._server.stdin is not None and self._server.stdout is not None
        self._server.stdin.close()
        self._server.wait(LIMIT_S)
        self._server.stdout.close()
