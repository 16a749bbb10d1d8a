"""Readable lines for the facts counted while recordings are read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping


def times_line(facts: Mapping[str, int]) -> str:
    """A line on clock skews and irregular intervals; empty if nothing was counted."""
    return ", ".join(_times(facts))


def _times(facts: Mapping[str, int]) -> Iterator[str]:
    if stamped := facts.get("ros.stamped_messages", 0):
        yield f"messages were logged {facts.get('ros.skew_us', 0) / stamped / 1000:,.1f} ms behind their stamps on average"
    said = {
        "ros.missing_steps": "steps are missing between others",
        "ros.uneven_intervals": "intervals between steps differ from the median by more than a quarter",
        "ros.repeated_times": "messages had the time of another and were left out",
        "ros.late_messages": "messages were logged behind later ones, and sorted",
        "ros.other_joints": "messages were about other joints",
    }
    yield from (f"{facts[name]:,} {words}" for name, words in said.items() if facts.get(name))


def commands_line(facts: Mapping[str, int]) -> str:
    """A line on unused commands if there are more than a fifth of the steps; otherwise empty."""
    steps, unused, repeated = (facts.get(f"ros.{name}", 0) for name in ("steps", "unused_commands", "repeated_commands"))
    said = {"are the action of no step": unused, "are the action of more than one step": repeated}
    return ", ".join(f"{count:,} commands {words}" for words, count in said.items() if count * 5 > steps)
