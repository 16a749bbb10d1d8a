"""Groups of sources in a recipe as written: plain mappings, before validation.

A side, `robot` or `web`, is a mapping of named members; or, if it has its own rules, it holds the members under `sources`. A member
is either a source, which has a `kind`, or a group, which has `sources`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from rt2data.settings import parse_fraction

KeyPath = tuple[str | int, ...]
RULES = ("weighting", "temperature", "maximum", "weights")
"""Settings of a group, or of a side, that decide the shares of its members."""


@dataclass(frozen=True)
class Written:
    """A member of a side or a group, as far as it could be read."""

    path: KeyPath
    name: str
    settings: Any
    weight: Fraction | None  # None if invalid; 0 if the weight of an enclosing group is 0
    around: tuple[str, ...]  # the groups it is in, outermost first

    @property
    def is_group(self) -> bool:
        """Whether it has members."""
        return is_group(self.settings)


def is_group(value: Any) -> bool:
    """Whether a member is a group rather than a source."""
    return isinstance(value, Mapping) and "sources" in value and "kind" not in value


def is_ruled(side: Any) -> bool:
    """Whether a side has its members under `sources`; a source named `sources` has a `kind`."""
    if not isinstance(side, Mapping) or "sources" not in side:
        return False
    inside = side["sources"]
    return not (isinstance(inside, Mapping) and isinstance(inside.get("kind"), str))


def inner_path(side: Any, path: KeyPath) -> KeyPath:
    """Path of the members of a side or a group."""
    return (*path, "sources") if is_ruled(side) else path


def inner(side: Any) -> Any:
    """The members of a side or a group by name; or whatever value stands there, if not a mapping."""
    return side["sources"] if is_ruled(side) else side


def walk(side: Any, path: KeyPath, around: tuple[str, ...] = (), weight: Fraction | None = Fraction(1)) -> Iterator[Written]:
    """Every member of a side or a group, each group before its members."""
    place, members = inner_path(side, path), inner(side)
    for name, settings in members.items() if isinstance(members, Mapping) else ():
        own = weight and _weight(settings)
        found = Written((*place, name), name, settings, own, around)
        yield found
        if found.is_group:
            yield from walk(settings, found.path, (*around, name), own)


def written_sources(side: Any) -> dict[str, Any]:
    """The settings of every source of a side by name, including those in groups."""
    return {each.name: each.settings for each in walk(side, ()) if not each.is_group}


def _weight(settings: Any) -> Fraction | None:
    if not isinstance(settings, Mapping):
        return None
    try:
        return parse_fraction(settings.get("weight", 1))
    except ValueError:
        return None
