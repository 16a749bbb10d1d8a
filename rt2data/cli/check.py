"""`rt2data check`: whether a raw robot log follows its declared conventions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from rt2data.cli.console import say_json, table, talk
from rt2data.errors import DataError, UsageError, command
from rt2data.io.words import choose, plural
from rt2data.look.check import Checked, Log, read_log
from rt2data.look.check import check as judge
from rt2data.look.inspect import recognize
from rt2data.look.inspect.raw import InspectedSource
from rt2data.look.inspect.spaces import guess_space
from rt2data.plan.recipe import read_recipe
from rt2data.read.source import RobotSource
from rt2data.read.text import one_line

SHOWN = 200
"""Maximum characters of a sentence about a finding."""


class Subject(NamedTuple):
    """A source to check."""

    name: str
    where: str
    source: RobotSource
    seed: int = 0


def check(path: Path, only: str | None, space: str | None, episodes: int, as_json: bool) -> int:
    """Check each robot source and print what was measured; the exit code is 3 if a check fails, else 0.

    `episodes` is the maximum read from each, 0 for all. Raises UsageError for a path that is neither a robot log nor a recipe.
    """
    found = [_checked(subject, episodes, as_json) for subject in subjects(path, only, space)]
    failed = any(each.status == "FAIL" for _, _, checks in found for each in checks)
    if as_json:
        say_json({"ok": not failed, "sources": [_plain(*each) for each in found]})
    return DataError.code if failed else 0


def _checked(subject: Subject, episodes: int, quietly: bool) -> tuple[Subject, Log, Sequence[Checked]]:
    log = read_log(subject.source, subject.where, episodes or None, subject.seed)
    checks = judge(log)
    if not quietly:
        show(subject, log, checks, episodes)
    return subject, log, checks


# What is checked


def subjects(path: Path, only: str | None, space: str | None) -> list[Subject]:
    """The robot sources of a recipe, or the log at a path."""
    if path.suffix in (".yaml", ".yml"):
        return list(_of_recipe(path, only, space))
    seen = recognize(path)
    if not isinstance(seen, InspectedSource) or not isinstance(seen.source, RobotSource):
        raise UsageError(f"only raw robot logs are checked, and this is a {seen.kind}", str(path), command("stats", path))
    if only not in (None, seen.name):
        raise UsageError(f"there is no source {only!r} here: --source chooses one of a recipe", str(path), f"it is {seen.name}")
    return [Subject(seen.name, str(seen.settings.get("path", path)), _with_space(seen.source, space or _guess(seen)))]


def _of_recipe(path: Path, only: str | None, space: str | None) -> Iterator[Subject]:
    recipe = read_recipe(path, check=True)
    robots = {name: source for name, source in recipe.sources.items() if isinstance(source, RobotSource)}
    if not robots:
        raise UsageError("the recipe has no robot source", str(path))
    if only is not None and only not in robots:
        raise UsageError(f"there is no robot source {only!r}", str(path), choose(only, list(robots)))
    for name, source in robots.items():
        if only in (None, name):
            where = str(getattr(source, "path", name))
            yield Subject(name, where, _with_space(source, space) if space else source, recipe.seed)


def _with_space(source: RobotSource, space: str) -> RobotSource:
    return source.model_copy(update={"action_space": space})


def _guess(seen: InspectedSource) -> str:
    """The action space that fits a log, reported to the user: nothing is chosen silently."""
    found = guess_space(seen.name, seen.facts())
    talk(f"action space {found.space}, {f'by {found.why}' if found.why else 'for no known one fits'}: --action-space names another")
    return found.space


# Output


def show(subject: Subject, log: Log, checks: Sequence[Checked], most: int) -> None:
    """Print a table with one row per check, then a sentence for each that did not pass."""
    some = f"{most:,} of them at most, by seed {subject.seed}" if most and len(log.episodes) >= most else "all of them"
    print(f"{one_line(subject.name)}: {plural(len(log.episodes), 'episode')} ({some}), action space {one_line(log.space.name)}")
    rows = [[each.status, each.check, one_line(_measured(each))] for each in checks]
    table(["", "check", "measured"], rows, left=3, wrap="measured")
    for each in sorted(checks, key=lambda each: each.status):
        if each.status in ("FAIL", "WARN"):
            print(f"{each.status} {each.check}: {one_line(each.what, SHOWN)} -> {one_line(each.do, SHOWN)}")
    counts = {status: sum(each.status == status for each in checks) for status in ("PASS", "WARN", "FAIL", "SKIP")}
    print(", ".join(f"{count} {status}" for status, count in counts.items()))


def _measured(found: Checked) -> str:
    return found.what if found.status == "SKIP" else found.measured


def _plain(subject: Subject, log: Log, checks: Sequence[Checked]) -> dict[str, Any]:
    return {
        "name": subject.name,
        "path": subject.where,
        "action_space": log.space.name,
        "episodes": len(log.episodes),
        "steps": len(log.steps),
        "checks": msgspec.to_builtins(list(checks)),
    }
