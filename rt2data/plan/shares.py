"""Weights become shares: of a side, of its groups, of their sources. Exact fractions that add up to 1.

A power that is not a fraction is rounded to `DIGITS` significant digits, in steps that all machines round alike: the exponent times
the logarithm, and the exponential of that, each correctly rounded to `_GUARD` digits. Whole roots come out whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction

from rt2data.errors import DataError
from rt2data.plan.recipe import Recipe
from rt2data.plan.recipe.model import Group, Side
from rt2data.plan.recipe.presets import Preset, Rule, load_preset
from rt2data.read.source import Source
from rt2data.records import Kind, Warn

DIGITS = 18
"""Significant digits of a rate with a temperature: an error of 1e-17 is negligible, as no mixture exceeds 1e12 examples."""
_GUARD = 60
SIDES: tuple[Kind, ...] = ("robot", "web")


@dataclass(frozen=True)
class SourceShare:
    """A source's share of all examples."""

    name: str
    source: Source
    weight: Fraction
    share: Fraction
    path: tuple[str, ...]  # the groups it is in, outermost first


@dataclass(frozen=True)
class GroupShare:
    """A group's share of all examples, and how it is divided. A side with its own rules is a group too, without a name."""

    side: Kind
    path: tuple[str, ...]
    weight: Fraction
    rule: Rule
    preset: Preset | None
    share: Fraction
    members: tuple[str, ...]


@dataclass(frozen=True)
class Shares:
    """All shares: sources robot first and each side by name, groups before their contents."""

    sources: dict[str, SourceShare]
    groups: tuple[GroupShare, ...]


def side_share(recipe: Recipe, side: Kind) -> Fraction:
    """A side's share of all examples."""
    return recipe.robot_frac if side == "robot" else 1 - recipe.robot_frac


def drawn(side: Side) -> dict[str, Source]:
    """The sources of a side or a group with a nonzero weight, themselves and in all their groups."""
    found: dict[str, Source] = {}
    for name, member in side.sources.items():
        if member.weight:
            found |= drawn(member) if isinstance(member, Side) else {name: member}
    return found


def mixture_shares(recipe: Recipe, rows: Mapping[str, int]) -> Shares:
    """The shares of the sources that are drawn; `rows` holds only those.

    Raises DataError if a side with a share has no source, or one without rows, UsageError if a published mixture cannot be read.
    """
    found: list[SourceShare | GroupShare] = []
    for kind in SIDES:
        if share := side_share(recipe, kind):
            _require_rows(recipe, kind, share, rows)
            side = recipe.side(kind)
            found += _Division(recipe, kind, rows).divide(side, Fraction(1), share, (), None)
    sources = sorted((s for s in found if isinstance(s, SourceShare)), key=lambda s: (SIDES.index(s.source.role), s.name))
    return Shares({s.name: s for s in sources}, tuple(g for g in found if isinstance(g, GroupShare)))


def _require_rows(recipe: Recipe, side: Kind, share: Fraction, rows: Mapping[str, int]) -> None:
    names = sorted(name for name in drawn(recipe.side(side)) if name in rows)
    if not names or not all(rows[name] for name in names):
        empty = ", ".join(name for name in names if not rows[name]) or "none given"
        raise DataError(
            f"the {side} side is to have {float(share):.4g} of the examples but has a source without rows",
            f"split {recipe.split}: {empty}",
            "look at what was rejected or filtered, or leave the source out with weight 0",
        )


@dataclass(frozen=True)
class _Division:
    """Divides the share of one side."""

    recipe: Recipe
    kind: Kind
    rows: Mapping[str, int]

    def divide(
        self, group: Side, weight: Fraction, share: Fraction, path: tuple[str, ...], around: Preset | None
    ) -> Iterator[SourceShare | GroupShare]:
        """The shares inside a group that has `share`, preceded by the group's own; a side without rules is not a group."""
        preset = load_preset(group.weights) if group.weights else None
        rule = rule_of(self.recipe, group, preset, around)
        weights = {name: _weight(name, member, preset) for name, member in group.sources.items() if self._rows(name, member)}
        if path or getattr(self.recipe, self.kind) is group:
            yield GroupShare(self.kind, path, weight, rule, preset, share, tuple(group.sources))
        rates = {name: rate(rule, each, self._rows(name, group.sources[name])) for name, each in weights.items()}
        whole = sum(rates.values(), Fraction(0))
        for name, each in rates.items():
            member, part = group.sources[name], share * each / whole
            if isinstance(member, Side):
                yield from self.divide(member, weights[name], part, (*path, name), preset)
            else:
                yield SourceShare(name, member, weights[name], part, path)

    def _rows(self, name: str, member: Source | Group) -> int:
        """The rows of a source, or the sum over a group; 0 if it is not drawn."""
        if not member.weight:
            return 0
        return sum(self.rows.get(each, 0) for each in (drawn(member) if isinstance(member, Side) else (name,)))


def _weight(name: str, member: Source | Group, preset: Preset | None) -> Fraction:
    found = preset.find(name) if preset else None
    weight: Fraction = found.weight if found else member.weight
    return weight


def rule_of(recipe: Recipe, group: Side, preset: Preset | None, around: Preset | None) -> Rule:
    """How a group divides its share: by its own rule, else that of the mixture around it, else the recipe's."""
    if preset is not None:
        return preset
    if group.weighting is not None:
        return Rule(weighting=group.weighting, temperature=group.temperature, maximum=group.maximum)
    if around is not None and around.inside is not None:
        return around.inside
    return Rule(weighting=recipe.weighting, temperature=recipe.temperature, maximum=recipe.maximum)


def rate(rule: Rule, weight: Fraction, rows: int) -> Fraction:
    """A member's relative rate: the larger, the more often it is drawn."""
    if rule.weighting == "share":
        return weight
    size = weight * rows
    if rule.weighting == "rows":
        return size
    return root(min(size, Fraction(rule.maximum or size)), rule.temperature or Fraction(1))


def root(size: Fraction, temperature: Fraction) -> Fraction:
    """size ** (1 / temperature), the same fraction on every machine. `size` is above 0."""
    if temperature == 1:
        return size
    exact = Context(prec=_GUARD, rounding=ROUND_HALF_EVEN)
    logarithm = exact.ln(_decimal(exact, size))
    power = exact.exp(exact.multiply(logarithm, _decimal(exact, 1 / temperature)))
    return Fraction(Context(prec=DIGITS, rounding=ROUND_HALF_EVEN).plus(power))


def _decimal(context: Context, value: Fraction) -> Decimal:
    return context.divide(Decimal(value.numerator), Decimal(value.denominator))


def lacking_notes(shares: Shares) -> Iterator[Warn]:
    """Notes the members of published mixtures that the recipe lacks."""
    for group in shares.groups:
        lacking = group.preset.lacking(group.members) if group.preset else []
        if group.preset and lacking:
            where = ".".join((group.side, *group.path))
            what = f"{len(lacking)} of {len(group.preset.members)} members of {group.preset.name} are not under {where}"
            yield Warn("mixture_members", "note", "", f"{what}: {', '.join(lacking)}", "the others keep their proportions")
