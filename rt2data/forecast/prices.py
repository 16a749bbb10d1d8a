"""The table of prices in schemas/prices, read strictly."""

from __future__ import annotations

import tomllib
from datetime import date
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import msgspec

from rt2data.errors import UsageError
from rt2data.io import location
from rt2data.io.installation import schemas
from rt2data.io.words import choose

Positive = Annotated[float, msgspec.Meta(gt=0)]
Text = Annotated[str, msgspec.Meta(min_length=1)]
Entry = TypeVar("Entry")


class Price(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One price, and whether it was read on the provider's own page."""

    usd: Annotated[float, msgspec.Meta(ge=0)]
    verified: bool


class Region(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Prices of one region."""

    vcpu_hour: Price
    memory_gb_hour: Price
    disk_gb_hour: Price
    shuffle_gb: Price

    def unverified(self) -> tuple[str, ...]:
        """Names of the prices that were not read on the provider's own page."""
        return tuple(name for name in self.__struct_fields__ if not getattr(self, name).verified)


class Machine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The shape of a worker."""

    vcpus: Annotated[int, msgspec.Meta(ge=1)]
    memory_gb: Positive


class Prices(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of prices as of a day, and where they are from."""

    currency: Literal["USD"]
    as_of: date
    source: Text
    page: Text
    regions: Annotated[dict[str, Region], msgspec.Meta(min_length=1)]
    machines: Annotated[dict[str, Machine], msgspec.Meta(min_length=1)]

    def region(self, name: str) -> Region:
        """Raises UsageError where the table has no prices of it."""
        return _find(self.regions, name, "prices of region", "--region")

    def machine(self, name: str) -> Machine:
        """Raises UsageError where the table has no such machine."""
        return _find(self.machines, name, "machine", "--machine")


def read_prices(path: Path | None = None) -> Prices:
    """The table that comes with rt2data, or your own. Raises UsageError with what is wrong, and where."""
    place = path or schemas() / "prices" / "dataflow.toml"
    try:
        return msgspec.convert(tomllib.loads(location.read_text(place)), Prices)
    except OSError as error:
        raise UsageError(f"a table of prices cannot be read: {error.strerror}", str(place)) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise UsageError(f"not a table of prices: {error}", str(place), "see schemas/prices for an example") from None


def _find(table: dict[str, Entry], name: str, what: str, option: str) -> Entry:
    if name not in table:
        raise UsageError(f"no {what} {name!r}", option, choose(name, table))
    return table[name]
