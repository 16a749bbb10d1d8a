"""What a recipe says of files of annotations, and of pools of instructions."""

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
"""Settings of a robot source, names of their indexes, and what their facts begin with."""
ENDINGS = {"ecot": (".json",), "steps": (".jsonl", ".csv", ".tsv", ".parquet"), "pool": (".json",)}
"""What the names of the files end with, by kind."""
_BLOCK = 1 << 20


class Joined(Settings):
    """A file beside a log, or a folder of such files, and how its keys name episodes."""

    path: PathStr
    """The file, or a folder: all such files in it and below are read, in the order of their paths."""
    path_parts: Annotated[int, Field(ge=1)] | None = None
    """How many parts at the end of a path must agree, for logs that were moved: 4 compares `stack/19/train/out.npy`; by default
    all of it. Where two annotated episodes have one end, neither is taken."""
    min_matched: Share = Field(default=Fraction(19, 20), validate_default=True)
    """Refuse the source where a smaller share of it is annotated."""

    @property
    def endings(self) -> tuple[str, ...]:
        """What the names of its files end with."""
        raise NotImplementedError

    @property
    def parts(self) -> int | None:
        """How many parts of what an episode is called must agree."""
        return self.path_parts

    @property
    def files(self) -> tuple[str, ...]:
        """Its files, in order. Raises UsageError where there are none, or one is of another kind."""
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
        """What is wrong with its files, if anything is."""
        try:
            for path in self.files:
                version(path)
                if not location.is_file(path):  # a pipe would be waited for
                    raise UsageError("is no file", path)
        except UsageError as error:
            yield f"{error.what}: {error.where}"


class Annotations(Joined):
    """Text about the steps of a log."""

    first_step: int = 0
    """The number that the annotations give to the first step of an episode."""


class ECoT(Annotations):
    """Embodied chain of thought: {"FILE": {"EPISODE": {"metadata", "features", "reasoning": {"STEP": {...}}}}}."""

    kind: Literal["ecot"] = "ecot"

    @property
    def endings(self) -> tuple[str, ...]:
        return ENDINGS["ecot"]


class StepTable(Annotations):
    """A table with a row for each annotated step, or for each stretch of steps."""

    kind: Literal["steps"] = "steps"
    episode: str = "episode"
    """Column that names the episode: as rt2data does, by its origin, or by its number in the log."""
    file: str | None = None
    """Column with the path that the episode was recorded to; `episode` is then its number in that file."""
    step: str = "step"
    """Column with the number of the step. Rows without it need `start` and `stop`."""
    start: str = "start"
    """Column with the first step of a stretch."""
    stop: str = "stop"
    """Column with the step behind the last of a stretch."""
    notes: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """The columns with text, in this order; by default all others that hold text, in the order of the first row."""

    @property
    def endings(self) -> tuple[str, ...]:
        return ENDINGS["steps"]

    @property
    def places(self) -> tuple[str, ...]:
        """The columns that are no notes."""
        return tuple(name for name in (self.episode, self.file, self.step, self.start, self.stop) if name)


class Pool(Joined):
    """Several instructions for each episode or task: {"EPISODE, ORIGIN OR INSTRUCTION": ["...", "..."]}."""

    later: ClassVar[frozenset[str]] = frozenset()
    by: Literal["episode", "text"] = "text"
    """What the keys are: episodes, named as rt2data does or by origin, or the log's own instructions, word for word."""
    choose: Literal["balanced", "first"] = "balanced"
    """`balanced`: over the steps and epochs of an episode each is taken as often as any other, to within one; `first`: always the
    first."""
    own: Literal["leave", "add"] = "leave"
    """What becomes of the log's own instruction where there is a pool: leave it out, or add it to the pool."""

    @property
    def endings(self) -> tuple[str, ...]:
        return ENDINGS["pool"]

    @property
    def parts(self) -> int | None:
        """Instructions are no paths."""
        return self.path_parts if self.by == "episode" else None


AnyAnnotations = Annotated[ECoT | StepTable, Field(discriminator="kind")]


def version(path: str) -> str:
    """The version of a file. Raises UsageError where it cannot be read."""
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
