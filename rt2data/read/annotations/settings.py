"""Recipe settings for annotation files and pools of instructions."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache
from typing import Annotated, ClassVar, Literal

import xxhash
from pydantic import Field

from rt2data.errors import UsageError
from rt2data.io import location
from rt2data.io.location import path_of
from rt2data.settings import PathStr, Settings, Share

NOTES, POOL = "annotations", "instructions"
"""Names of a robot source's settings, of their indexes, and prefixes of their facts."""
ENDINGS = {"ecot": (".json",), "steps": (".jsonl", ".csv", ".tsv", ".parquet"), "pool": (".json",)}
"""Suffixes of the files, by kind."""
_BLOCK = 1 << 20


class Joined(Settings):
    """A file joined to a log, or a folder of such files, and how its keys name episodes."""

    path: PathStr
    """The file, or a folder, in and below which all such files are read, sorted by path."""
    path_parts: Annotated[int, Field(ge=1)] | None = None
    """How many trailing path components must match, for logs that were moved: 4 compares `stack/19/train/out.npy`; by default the
    whole path. If two annotated episodes end the same, neither is used."""
    min_matched: Share = Field(default=Fraction(19, 20), validate_default=True)
    """Refuse the source if a smaller share of it is annotated."""

    @property
    def endings(self) -> tuple[str, ...]:
        """Suffixes of the files."""
        raise NotImplementedError

    @property
    def parts(self) -> int | None:
        """How many trailing components of an episode's name must match; None for all."""
        return self.path_parts

    @property
    def files(self) -> tuple[str, ...]:
        """The files, in order. Raises UsageError if there are none, or one has the wrong suffix."""
        if not location.is_folder(self.path):
            return (_known(self.path, self.endings),)
        found = sorted(path for path, _ in location.files_below(path_of(self.path)) if path.endswith(self.endings))
        if not found:
            raise UsageError(
                f"no file in or below this folder ends in {' or '.join(self.endings)}", self.path, "name the file itself"
            )
        return tuple(found)

    def contents(self) -> list[str]:
        """A hash of each file. Raises UsageError."""
        return [_content(path, version(path)) for path in self.files]

    def invalid(self) -> Iterator[str]:
        """What is wrong with the files, if anything."""
        try:
            for path in self.files:
                version(path)
                if not location.is_file(path):  # opening a pipe would block
                    raise UsageError("is no file", path)
        except UsageError as error:
            yield f"{error.what}: {error.where}"


class Annotations(Joined):
    """Text about the steps of a log."""

    first_step: int = 0
    """The number of an episode's first step in the annotations."""


class ECoT(Annotations):
    """Embodied chain of thought: {"FILE": {"EPISODE": {"metadata", "features", "reasoning": {"STEP": {...}}}}}."""

    kind: Literal["ecot"] = "ecot"

    @property
    def endings(self) -> tuple[str, ...]:
        return ENDINGS["ecot"]


class StepTable(Annotations):
    """A table with a row per annotated step, or per range of steps."""

    kind: Literal["steps"] = "steps"
    episode: str = "episode"
    """Column that identifies the episode: by rt2data's name for it, its origin, or its number in the log."""
    file: str | None = None
    """Column with the path that the episode was recorded to; `episode` is then its number in that file."""
    step: str = "step"
    """Column with the number of the step. Rows without it need `start` and `stop`."""
    start: str = "start"
    """Column with the first step of a range."""
    stop: str = "stop"
    """Column with the end of a range of steps (exclusive)."""
    notes: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """The text columns, in this order; by default all other columns with text, in the order of the first row."""

    @property
    def endings(self) -> tuple[str, ...]:
        return ENDINGS["steps"]

    @property
    def places(self) -> tuple[str, ...]:
        """The columns that are not notes."""
        return tuple(name for name in (self.episode, self.file, self.step, self.start, self.stop) if name)


class Pool(Joined):
    """Several instructions for each episode or task: {"EPISODE, ORIGIN OR INSTRUCTION": ["...", "..."]}."""

    later: ClassVar[frozenset[str]] = frozenset()
    by: Literal["episode", "text"] = "text"
    """What the keys are: episodes (rt2data's name or the origin), or the log's own instructions, word for word."""
    choose: Literal["balanced", "first"] = "balanced"
    """`balanced`: over the steps and epochs of an episode all are used equally often, to within one; `first`: always the first."""
    own: Literal["leave", "add"] = "leave"
    """What to do with the log's own instruction if there is a pool: leave it out, or add it to the pool."""

    @property
    def endings(self) -> tuple[str, ...]:
        return ENDINGS["pool"]

    @property
    def parts(self) -> int | None:
        """As in the base class; None if keys are instructions, which are not paths."""
        return self.path_parts if self.by == "episode" else None


AnyAnnotations = Annotated[ECoT | StepTable, Field(discriminator="kind")]


def version(path: str) -> str:
    """The version of a file. Raises UsageError if it cannot be read."""
    try:
        return location.stat(path_of(path)).version
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", path) from None


def _known(path: str, endings: tuple[str, ...]) -> str:
    if not path.endswith(endings):
        raise UsageError(f"a file whose name ends in {' or '.join(endings)} is expected", path, "name such a file")
    return path


@lru_cache(maxsize=64)
def _content(path: str, _version: str) -> str:
    digest = xxhash.xxh3_128()
    with location.open_file(path) as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
