"""How much the command says: -q and -v, which every command has."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Verbosity:
    """`quiet`: results, warnings and failures only. `verbose`: the trace of a failure too, and what libraries say."""

    quiet: bool = False
    verbose: bool = False


verbosity = Verbosity()
