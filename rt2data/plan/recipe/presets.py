"""Published mixtures as data: members' weights by name. Each is a TOML file in schemas/mixtures, or one of your own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationError, model_validator

from rt2data.errors import UsageError
from rt2data.io import location
from rt2data.io.installation import schemas
from rt2data.io.words import closest
from rt2data.read.toml_files import read_toml
from rt2data.settings import Positive, Settings, frozen_lists, short

Weighting = Literal["rows", "share", "temperature"]


def _mild(value: Fraction) -> Fraction:
    if not Fraction(1, 10) <= value <= 1000:
        raise ValueError(f"must be between 0.1 and 1000, got {value}")
    return value


Temperature = Annotated[Positive, AfterValidator(_mild)]
Maximum = Annotated[int, Field(ge=1, le=10**18)]
Words = Annotated[str, Field(max_length=500)]
Name = Annotated[str, Field(min_length=1, max_length=128)]


class Rule(Settings):
    """How the weights of members become shares."""

    weighting: Weighting = "rows"
    """`rows`: a weight multiplies the number of rows; `share`: a weight is a share; `temperature`: min(rows x weight, `maximum`)
    to the power of 1/`temperature`."""
    temperature: Temperature | None = None
    """1 keeps sizes, 2 takes their square roots; the larger it is, the more equal the shares."""
    maximum: Maximum | None = None
    """Upper limit of rows x weight, applied before the power."""

    @model_validator(mode="after")
    def _complete(self) -> Rule:
        if mistake := next(rule_mistakes(self.weighting, self.temperature is not None, self.maximum is not None), None):
            raise ValueError(" ".join(mistake))
        return self

    def __str__(self) -> str:
        most = f", max {self.maximum:,}" if self.maximum else ""
        return self.weighting if self.temperature is None else f"temperature {self.temperature}{most}"


def rule_mistakes(weighting: object, temperature: bool, maximum: bool) -> Iterator[tuple[str, str]]:
    """Setting and message for whatever does not fit a `weighting`; the flags say whether the others are given."""
    if weighting == "temperature" and not temperature:
        yield "weighting", "temperature needs a `temperature`: 1 leaves sizes as they are, 2 takes their square roots"
    if weighting != "temperature":
        given = {"temperature": temperature, "maximum": maximum}
        yield from ((name, "belongs to `weighting: temperature`") for name, is_given in given.items() if is_given)


class Member(Settings):
    """One member of a mixture."""

    name: Name
    """Its name; case and the difference between - and _ do not matter."""
    weight: Positive
    """Its weight, as the mixture's `weighting` reads it."""
    aliases: tuple[Name, ...] = ()
    """Its other names."""


class Preset(Rule):
    """A published mixture."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,127}$")]
    """Its name, as in the name of its file."""
    title: Words
    """What it is, in one line."""
    source: Words
    """Where the numbers come from."""
    notes: tuple[Words, ...] = ()
    """What users should know about it."""
    inside: Rule | None = None
    """The rule of member groups that have none of their own."""
    members: Annotated[tuple[Member, ...], Field(min_length=1)]
    """What it mixes."""

    @model_validator(mode="after")
    def _names_differ(self) -> Preset:
        seen: dict[str, str] = {}
        for member in self.members:
            for name in (member.name, *member.aliases):
                if plain(name) in seen:
                    raise ValueError(f"{name} is given twice: the name of one member is a name of another, or of itself")
                seen[plain(name)] = member.name
        return self

    @cached_property
    def _known(self) -> dict[str, Member]:
        return {plain(name): member for member in self.members for name in (member.name, *member.aliases)}

    def find(self, name: str) -> Member | None:
        """The member with this name or alias."""
        return self._known.get(plain(name))

    def near(self, name: str) -> str:
        """The member with the most similar name; empty if none is similar."""
        return closest(name, [name for member in self.members for name in (member.name, *member.aliases)])

    def lacking(self, names: Iterable[str]) -> list[str]:
        """The members that are not among these names."""
        there = {member.name for member in map(self.find, names) if member}
        return [member.name for member in self.members if member.name not in there]


def plain(name: str) -> str:
    """A name normalized for comparison: lower case, _ for -."""
    return name.lower().replace("-", "_")


def load_preset(name_or_path: str) -> Preset:
    """A mixture by name, or from your own .toml file. Raises UsageError naming the file and every mistake in it."""
    if name_or_path.endswith(".toml"):
        return _read(location.path_of(name_or_path))
    found = next((each for each in shipped_presets() if plain(each.name) == plain(name_or_path)), None)
    if found is None:
        known = [each.name for each in shipped_presets()]
        near = closest(name_or_path, known)
        do = f"did you mean {near}?" if near else f"name one of {', '.join(known)}, or the path of a .toml file"
        raise UsageError(f"no mixture is known as {short(name_or_path)}", do=do)
    return found


@lru_cache(maxsize=1)
def shipped_presets() -> tuple[Preset, ...]:
    """The mixtures that come with rt2data, by name."""
    folder = schemas() / "mixtures"
    return tuple(_read(folder / name) for name in sorted(entry.name for entry in location.children(folder)))


def _read(path: Path) -> Preset:
    try:
        return Preset.model_validate(frozen_lists(read_toml(path, "a mixture")))
    except ValidationError as error:
        mistakes = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors(include_url=False))
        raise UsageError(f"not a mixture: {mistakes}", str(path), "see schemas/mixtures for examples") from None
