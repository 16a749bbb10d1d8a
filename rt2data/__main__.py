"""The command. Worker processes import the file that started the program, so it imports nothing at its top."""

from __future__ import annotations


def main() -> None:
    """Run a command; its failure becomes one line and an exit code."""
    from rt2data.engines.outcome import collect_seldom

    collect_seldom()  # while modules are imported too
    from rt2data.cli.app import main

    main()


if __name__ == "__main__":
    main()
