"""Reads the numbers in pickles, in a separate process (`unpickle`) that can do nothing else."""

from __future__ import annotations

import json
import signal
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rt2data.read.recorded import EpisodeFault

Columns = dict[str, NDArray[Any]]
"""Arrays by name, with one entry per step."""
MAX_BYTES = 64 << 20
"""Maximum size of a pickle; those of BridgeData have a few hundred kilobytes."""
_PROGRAM = str(Path(__file__).with_name("unpickle.py"))
_TIMEOUT = 120  # seconds of wall time; the process limits itself to 20 s of CPU time


def unpickle(first: bytes, second: bytes) -> tuple[Columns, Columns]:
    """The content of two pickles. Raises EpisodeFault: refused_pickle, damaged_pickle."""
    given = struct.pack(">QQ", len(first), len(second)) + first + second
    command = [sys.executable, "-I", "-S", _PROGRAM]  # isolated from the environment and installed packages
    try:
        done = subprocess.run(command, input=given, capture_output=True, timeout=_TIMEOUT, env={}, check=False)
    except subprocess.TimeoutExpired:
        raise EpisodeFault("refused_pickle", f"it was not read in {_TIMEOUT} s") from None
    if done.returncode:
        raise EpisodeFault("refused_pickle", f"reading it was stopped: {_ending(done.returncode)}")
    line, _, rest = done.stdout.partition(b"\n")
    said = json.loads(line)
    if "columns" not in said:
        reason = "refused_pickle" if "refused" in said else "damaged_pickle"
        raise EpisodeFault(reason, "; ".join(said.values()))
    arrays, at = [], 0
    for described in said["columns"]:
        found = {}
        for name, (dtype, shape, in_columns, size) in described.items():
            found[name] = np.frombuffer(rest, np.dtype(dtype), size // np.dtype(dtype).itemsize, at).reshape(
                shape, order="F" if in_columns else "C"
            )
            at += size
        arrays.append(found)
    return arrays[0], arrays[1]


def _ending(code: int) -> str:
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"exit code {code}"
