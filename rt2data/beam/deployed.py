"""What the mains of deployed pipelines have in common: our own options beside Beam's, failures as one line and an exit code."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

from rt2data.errors import RtError
from rt2data.io.words import closest


def our_parser(description: str | None) -> argparse.ArgumentParser:
    """A parser that shows the description as it is written and takes no abbreviations: those may be Beam's own options."""
    return argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )


def parse_ours(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Our own options, and the rest, which are Beam's.

    Beam passes over options that it does not know: a slip in one of ours would do something else than was asked for.
    """
    ours, beams = parser.parse_known_args(arguments)
    known = [option for action in parser._actions for option in action.option_strings]
    for name in (each.split("=")[0] for each in beams if each.startswith("--")):
        if near := closest(name, known, cutoff=0.8):
            parser.error(f"unknown option {name}: did you mean {near}?")
    return ours, beams


def main(name: str, run: Callable[[Sequence[str]], None]) -> None:
    """Run with the command line's arguments; leaves with the exit code of what fails."""
    try:
        run(sys.argv[1:])
    except RtError as error:
        sys.stderr.write(f"{name}: {error}\n")
        sys.exit(error.code)
