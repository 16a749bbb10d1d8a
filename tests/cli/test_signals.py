"""A signal stops a command wherever it arrives."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

IN_A_CALLBACK = """
import os, signal, time, weakref
from rt2data.cli.running import run

signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background job ignores


class Thing: ...

def app(standalone_mode):
    thing = Thing()
    kept = weakref.ref(thing, lambda _: os.kill(os.getpid(), {number}))
    del thing
    time.sleep(10)

run(app)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_a_callback_is_not_lost(number: int) -> None:
    """Python ignores an exception that is raised in a finalizer or in a callback of a weak reference."""
    program = IN_A_CALLBACK.format(number=int(number))
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 128 + number
    assert ended.stderr == ""
