"""Standards of known datasets: the settings to read a dataset, and how to recognize it. One TOML file each in schemas/datasets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import Field, ValidationError, field_validator

from rt2data.errors import UsageError
from rt2data.io import location
from rt2data.io.installation import schemas
from rt2data.io.tfrecord.features import STEPS, Leaf
from rt2data.io.words import closest
from rt2data.read.toml_files import read_toml
from rt2data.settings import Settings, frozen_lists, short

OWN = ("kind", "path", "dataset", "weight", "loss_weight", "max_epochs", "splits")
"""Settings that only a recipe can set."""
JOINED = ("filters", "images")
"""Settings with several parts, which a recipe may set individually."""
Words = Annotated[str, Field(max_length=500)]
Shape = tuple[Annotated[int, Field(ge=-1)], ...]


class Match(Settings):
    """How a dataset is recognized: it has one of the names, and all of the leaves."""

    names: Annotated[tuple[Annotated[str, Field(min_length=1, max_length=128)], ...], Field(min_length=1)]
    """Names of the dataset: in dataset_info.json, or of its folder."""
    leaves: Annotated[dict[str, Shape], Field(min_length=1)]
    """Features of the dataset, by path below `steps`, with their shape in one step: [] for a scalar or a text, -1 for any size."""

    def misfit(self, leaves: Iterable[Leaf]) -> str:
        """The first mismatch with these leaves; empty if they match."""
        known = {name: leaf for leaf in leaves for name in (leaf.path, leaf.key)}
        for path, shape in self.leaves.items():
            leaf = known.get(f"{STEPS}/{path}") or known.get(path)
            if leaf is None:
                return f"it has no {path}"
            if not _same(leaf.shape, shape):
                return f"{path} has the shape {list(leaf.shape)}, not {list(shape)}"
        return ""


class Standard(Settings):
    """What is known about a dataset."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,127}$")]
    """The dataset's name, as in the file name."""
    title: Words
    """A one-line description."""
    source: Words
    """Where the facts come from."""
    notes: tuple[Words, ...] = ()
    """What users should know about it."""
    match: Match
    """How it is recognized."""
    settings: dict[str, Any]
    """Settings of the source: the defaults in a recipe that names this dataset."""

    @field_validator("settings")
    @classmethod
    def _not_the_recipes_own(cls, given: dict[str, Any]) -> dict[str, Any]:
        if own := [name for name in OWN if name in given]:
            raise ValueError(f"{', '.join(own)} can only be set in a recipe")
        return given

    def fill(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """A source's settings, with missing ones filled in from this standard. The parts of `filters` and `images` are filled
        individually.
        """
        other = {"camera": "cameras", "cameras": "camera"}
        defaults = {name: value for name, value in self.settings.items() if other.get(name) not in given}
        joined = {name: {**defaults[name], **given[name]} for name in JOINED if _both(name, defaults, given)}
        return {**defaults, **given, **joined}


def _both(name: str, defaults: Mapping[str, Any], given: Mapping[str, Any]) -> bool:
    return isinstance(defaults.get(name), dict) and isinstance(given.get(name), dict)


def _same(found: Sequence[int | None], wanted: Sequence[int]) -> bool:
    return len(found) == len(wanted) and all(size is None or other in (-1, size) for size, other in zip(found, wanted, strict=True))


def load_standard(name_or_path: str) -> Standard:
    """The standard of a dataset, by name, by another name of the same dataset, or from a .toml file of your own.

    Raises UsageError naming the file and each mistake in it with its key.
    """
    if name_or_path.endswith(".toml"):
        return _read(location.path_of(name_or_path))
    found = next((each for each in shipped() if name_or_path == each.name or name_or_path in each.match.names), None)
    if found is None:
        known = [name for each in shipped() for name in (each.name, *each.match.names)]
        near = closest(name_or_path, known)
        do = f"did you mean {near}?" if near else "name a file of schemas/datasets, or the path of a .toml file"
        raise UsageError(f"no dataset is known as {short(name_or_path)}", do=do)
    return found


@lru_cache(maxsize=1)
def shipped() -> tuple[Standard, ...]:
    """The standards that come with rt2data, by name."""
    entries = location.children(schemas() / "datasets")
    return tuple(_read(schemas() / "datasets" / name) for name in sorted(each.name for each in entries) if name.endswith(".toml"))


class Candidates(NamedTuple):
    """The standards that may apply to a dataset."""

    fitting: tuple[Standard, ...]  # match both name and features
    misfits: Mapping[str, str] = {}  # match the name but not the features: what differs
    alike: tuple[Standard, ...] = ()  # match the features but not the name; only if none is fitting


def candidates(names: Iterable[str], leaves: Sequence[Leaf]) -> Candidates:
    """The candidate standards for a dataset with these names (its own and its folders') and features."""
    called = [each for each in shipped() if set(names) & {*each.match.names}]
    fitting = tuple(each for each in called if not each.match.misfit(leaves))
    misfits = {each.name: each.match.misfit(leaves) for each in called if each not in fitting}
    alike = () if fitting else tuple(each for each in shipped() if not each.match.misfit(leaves))
    return Candidates(fitting, misfits, alike)


def _read(path: Path) -> Standard:
    try:
        return Standard.model_validate(frozen_lists(read_toml(path, "the standard of a dataset")))
    except ValidationError as error:
        mistakes = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors(include_url=False))
        raise UsageError(f"not the standard of a dataset: {mistakes}", str(path), "see schemas/datasets for examples") from None
