"""`rt2data` where a unit is an episode; `--before NAME WHAT PATH` is `before_name` of faults/warm.py, in this process."""

from __future__ import annotations

import sys

import rt2data.read.units
from rt2data.cli.app import main
from tests.faults.warm import before_name

if __name__ == "__main__":
    rt2data.read.units.UNIT_BYTES = 1
    if "--before" in sys.argv:
        at = sys.argv.index("--before")
        before_name(*sys.argv[at + 1 : at + 4])
        del sys.argv[at : at + 4]
    main()
