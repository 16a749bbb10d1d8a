"""The command. Worker processes import the program's main file, so it has no imports at the top."""

from __future__ import annotations


def main() -> None:
    """Run a command; a failure becomes one line and an exit code."""
    from rt2data.engines.outcome import collect_seldom

    collect_seldom()  # during the imports too
    from rt2data.cli.app import main

    main()


if __name__ == "__main__":
    main()
