"""The table of conventions, and the setting that selects one. A new family is one file and one line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from rt2data.errors import DataError
from rt2data.render.regions.convention import Convention
from rt2data.render.regions.molmo import Molmo
from rt2data.render.regions.paligemma import PaliGemma
from rt2data.render.regions.plain import Plain
from rt2data.render.regions.qwen import MAX_PIXELS, MIN_PIXELS, Qwen2, Qwen3, Qwen25
from rt2data.settings import Settings

FAMILIES: dict[str, type[Convention]] = {family.name: family for family in (Plain, Qwen2, Qwen25, Qwen3, PaliGemma, Molmo)}
if TYPE_CHECKING:
    FamilyName = str
else:
    FamilyName = Literal[tuple(FAMILIES)]


class RegionText(Settings):
    """How boxes and points are written."""

    family: FamilyName = "plain"
    """The model family that will read them."""
    min_pixels: Annotated[int, Field(ge=1)] = MIN_PIXELS
    """`qwen2.5` only: the trainer's processor enlarges images with fewer pixels."""
    max_pixels: Annotated[int, Field(ge=1)] = MAX_PIXELS
    """`qwen2.5` only: the trainer's processor shrinks images with more pixels."""

    @model_validator(mode="after")
    def _limits_fit(self) -> RegionText:
        if self.family != Qwen25.name and (self.min_pixels, self.max_pixels) != (MIN_PIXELS, MAX_PIXELS):
            raise ValueError(f"min_pixels and max_pixels are for {Qwen25.name}, not for {self.family}")
        if self.min_pixels > self.max_pixels:
            raise ValueError(f"min_pixels {self.min_pixels} is more than max_pixels {self.max_pixels}")
        return self

    @property
    def convention(self) -> Convention:
        """The convention that the setting selects."""
        return Qwen25(self.min_pixels, self.max_pixels) if self.family == Qwen25.name else FAMILIES[self.family]()


def _named(value: Any) -> Any:
    return {"family": value} if isinstance(value, str) else value


RegionSetting = Annotated[RegionText, BeforeValidator(_named, json_schema_input_type=FamilyName | RegionText)]
"""A family by name, or with its settings."""


def convention_of(facts: Mapping[str, Any]) -> Convention:
    """The convention of a plan. Inverse of `Convention.facts`. Raises DataError if it does not exist."""
    settings = {name: value for name, value in facts.items() if name != "factor"}
    try:
        found = RegionText(**settings).convention
    except ValueError as error:
        raise DataError(f"no way of writing regions: {error}", do="build it again") from None
    if found.facts() != facts:
        raise DataError(f"a way of writing regions that this release does not know: {dict(facts)}", do="build it again")
    return found
