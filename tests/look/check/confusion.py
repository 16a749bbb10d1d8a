"""The table of seeded faults and of the checks that flag them, as docs/checks.md has it:
`python -m tests.look.check.confusion FOLDER` prints it.
"""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path

from rt2data.images.ready import ImageRule
from rt2data.look.check import Checked, Log, check
from rt2data.look.check.episode import episode_of
from rt2data.read.action_space import load_space
from tests.look.check.faults import FAULTS, Fault, Steps
from tests.look.check.logs import SETS, load

FLAGS = ("WARN", "FAIL")


def log_of(name: str, data: Path, fault: Fault | None = None) -> Log:
    """A set, with a fault seeded into it."""
    found = load(name, data)
    space = load_space(SETS[name][1]).sized(len(found[0][0].action))
    changed: list[Steps] = fault.change(found, space) if fault else found
    declared = fault.space(space) if fault else space
    episodes = [episode_of(each, ImageRule(), declared) for each in changed]
    return Log(episodes, declared, f"{name}/bridge_dataset" if name == "bridge" else name, space.control_hz)


def statuses(log: Log) -> dict[str, Checked]:
    return {each.check: each for each in check(log)}


def flagged(before: dict[str, Checked], after: dict[str, Checked]) -> dict[str, str]:
    """What a fault has made worse: check and status."""
    rank = {"SKIP": 0, "PASS": 0, "WARN": 1, "FAIL": 2}
    return {name: now.status for name, now in after.items() if rank[now.status] > rank[before[name].status]}


def finding(name: str, data: Path, fault: Fault) -> dict[str, str]:
    """What a fault makes worse in a set, by check. Raises IndexError where the set cannot have the fault."""
    return flagged(right(name, data), statuses(log_of(name, data, fault)))


@cache
def right(name: str, data: Path) -> dict[str, Checked]:
    """What is said of an unaltered set."""
    return statuses(log_of(name, data))


def cell(name: str, data: Path, fault: Fault) -> str:
    """What the fault's own check says (`.`: nothing) and the others that it sets off; `n/a` where the set cannot have it."""
    try:
        found = finding(name, data, fault)
    except IndexError:
        return "n/a"
    own = found.pop(fault.check, ".")
    return own + "".join(f" +{other}" for other in found)


def main(data: Path) -> None:
    print("| fault | its check |", " | ".join(SETS), "|")
    print("|---|---|" + "---|" * len(SETS))
    for fault in FAULTS:
        print(f"| {fault.kind} | {fault.check} |", " | ".join(cell(name, data, fault) for name in SETS), "|", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
