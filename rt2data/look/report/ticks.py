"""Which conventions of a robot source were checked, with or without a finding, and which only `rt2data check` can check."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

from rt2data.look.check.log import FEW
from rt2data.look.check.table import CHECKS
from rt2data.look.stats.model import SourceStats, Stats

Mark = Literal["right", "found", "not checked"]


class Tick(NamedTuple):
    """One check of one source."""

    title: str
    mark: Mark


class Rule(NamedTuple):
    """The warnings that correspond to a check, and whether a source's statistics contain what it needs."""

    codes: frozenset[str]
    can: Callable[[SourceStats], bool]


def _moves(source: SourceStats) -> bool:
    """Whether enough steps pair its actions with its state."""
    return any(each.steps > FEW for each in source.actions.motion) if source.actions else False


def _always(source: SourceStats) -> bool:
    return True


RULES: dict[str, Rule] = {
    "finite": Rule(frozenset({"not_finite"}), _always),
    "lengths": Rule(frozenset({"short_episodes"}), lambda source: source.episodes is not None),
    "delta": Rule(frozenset({"absolute_as_delta", "delta_as_absolute"}), _moves),
    "lag": Rule(frozenset({"lag"}), _moves),
    "gripper_sign": Rule(
        frozenset({"inverted_gripper"}),
        lambda source: bool(source.actions and source.actions.gripper and source.actions.gripper.agrees is not None),
    ),
    "gripper_values": Rule(
        frozenset({"gripper_never_moves", "gripper_chatters"}), lambda source: bool(source.actions and source.actions.gripper)
    ),
    "wrap": Rule(frozenset({"wraps"}), lambda source: bool(source.state)),
    "dimensions": Rule(frozenset({"dead_dimension", "sparse_dimension"}), _always),
    "rate": Rule(frozenset({"jitter"}), lambda source: bool(source.episodes and source.episodes.fps)),
    "idle": Rule(frozenset({"noops"}), _always),
    "language": Rule(frozenset({"blank_text", "one_instruction"}), _always),
    "cameras": Rule(frozenset({"black_camera", "flat_camera", "same_image"}), lambda source: bool(source.cameras)),
}
"""Checks of `look.check` that statistics of prepared rows can also answer; the others need the raw log."""


def ticks(stats: Stats, source: SourceStats) -> list[Tick]:
    """One for each check of a robot source, in the order of `rt2data check`; none of a web source."""
    codes = {warn.code for warn in stats.warnings if warn.source == source.name}
    return [Tick(check.title, _mark(RULES.get(check.name), codes, source)) for check in CHECKS] if source.has_actions else []


def _mark(rule: Rule | None, codes: set[str], source: SourceStats) -> Mark:
    if rule is None:
        return "not checked"
    return "found" if rule.codes & codes else "right" if rule.can(source) else "not checked"


def by_source(stats: Stats) -> Iterator[tuple[SourceStats, dict[Mark, list[str]]]]:
    """The titles of each robot source's checks, by mark."""
    for source in stats.sources:
        found: dict[Mark, list[str]] = {"right": [], "found": [], "not checked": []}
        for tick in ticks(stats, source):
            found[tick.mark].append(tick.title)
        if source.has_actions:
            yield source, found
