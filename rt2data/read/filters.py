"""Which episodes and steps of a robot log a recipe keeps: its `filters`, and the files of names and ranges they refer to."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import msgspec
import xxhash
from pydantic import Field, field_validator

from rt2data.errors import UsageError
from rt2data.io import location
from rt2data.io.location import path_of
from rt2data.order import key64
from rt2data.read.text import one_line
from rt2data.settings import PathStr, Settings

EpisodeNames = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)]
Ranges = Mapping[str, tuple[tuple[int, int], ...]]
"""The steps to keep in each episode: [start, stop) by the episode's name or origin."""
LISTS: tuple[Literal["episodes", "exclude_episodes"], ...] = ("episodes", "exclude_episodes")
"""The filters that list episodes."""


class Idle(Settings):
    """Stretches in which the robot hardly moves, which openpi removes from DROID."""

    below: Annotated[float, Field(gt=0)] = 1e-3
    """A step is idle if its action differs from the one before by less than this in every dimension but gripper and terminate."""
    min_idle: Annotated[int, Field(ge=1)] = 7
    """Idle steps are dropped in runs of at least this length."""
    min_non_idle: Annotated[int, Field(ge=1)] = 16
    """Remaining stretches between them are dropped too if they have fewer steps than this."""
    drop_last: Annotated[int, Field(ge=0)] = 10
    """Steps to drop at the end of each kept stretch: their action chunks would run into an idle stretch."""


class Filters(Settings):
    """Which episodes and steps to keep. Dropped items are counted by reason, not as faults."""

    later: ClassVar[frozenset[str]] = frozenset({"path", *LISTS, "limit", "keep_ranges", "idle"})

    min_steps: Annotated[int, Field(ge=0)] = 2
    """Shorter episodes are dropped."""
    max_steps: Annotated[int, Field(ge=1)] | None = None
    """Longer episodes are dropped."""
    instruction: str | None = None
    """Keep only steps whose instruction matches this regular expression (searched, case ignored)."""
    path: str | None = None
    """Keep only episodes whose origin matches this regular expression (searched, case matters). The origin is where the log says an
    episode was recorded: in RLDS `episode_metadata/file_path`, prefixed with `recording_folderpath--` if there is one."""
    episodes: EpisodeNames | PathStr | None = None
    """Keep only these episodes, by name or origin: a list, or a file with one per line or a JSON list."""
    exclude_episodes: EpisodeNames | PathStr | None = None
    """Drop these episodes, given in the same way."""
    limit: Annotated[int, Field(ge=1)] | None = None
    """Read at most this many episodes of each split of the log, chosen by a hash of their names; other filters apply to those."""
    keep_ranges: PathStr | None = None
    """A JSON file of the steps to keep, in openpi's format: {"EPISODE": [[start, stop], ...]}, by name or origin. Episodes not in
    it are dropped."""
    success: Literal[True] | None = None
    """`true` keeps only episodes that the source marks as successful (success, reward, is_terminal)."""
    drop_first: Annotated[int, Field(ge=0)] = 0
    """Steps to drop at the start of each episode."""
    drop_last: Annotated[int, Field(ge=0)] | Literal["auto"] = "auto"
    """Steps to drop at the end; `auto` drops a last step whose action RLDS leaves undefined (zero or repeated), but never one that
    ends the task."""
    noop: Annotated[float, Field(ge=0)] | None = None
    """Drop steps whose motion (all dimensions but gripper and terminate) has a norm below this and whose gripper does not move."""
    idle: Idle | None = None
    """Drop stretches in which the robot hardly moves; `{}` uses openpi's values for DROID."""

    @field_validator("instruction", "path")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        try:
            re.compile(pattern or "")
        except re.error as error:
            raise ValueError(f"must be a regular expression: {error}") from None
        return pattern

    @property
    def files(self) -> dict[str, str]:
        """The files named by settings, by setting."""
        found = {name: getattr(self, name) for name in (*LISTS, "keep_ranges")}
        return {name: path for name, path in found.items() if isinstance(path, str)}

    def names(self, setting: Literal["episodes", "exclude_episodes"]) -> frozenset[str] | None:
        """The episodes that a filter lists; None if it lists none. Raises UsageError if its file cannot be read."""
        given = getattr(self, setting)
        return read_names(given) if isinstance(given, str) else None if given is None else frozenset(given)

    def ranges(self) -> Ranges | None:
        """The steps to keep in each episode; None to keep all. Raises UsageError if the file cannot be read."""
        return None if self.keep_ranges is None else read_ranges(self.keep_ranges)

    def contents(self) -> dict[str, str]:
        """A hash of the content of each of `files`, by setting. Raises UsageError."""
        return {name: xxhash.xxh3_128_hexdigest(_bytes(path)) for name, path in self.files.items()}

    def invalid(self) -> Iterator[tuple[str, str]]:
        """Setting and message for each of `files` that exists but is not valid."""
        for name, path in self.files.items():
            try:
                _ = read_ranges(path) if name == "keep_ranges" else read_names(path)
            except UsageError as error:
                yield name, f"{error.what}: {error.where}"


class Limits(NamedTuple):
    """The episodes that a limit keeps: those whose hash does not exceed their split's bound."""

    bounds: Mapping[str, int]  # by split; empty if there is no limit
    left_out: int = 0  # episodes

    def keep(self, split: str, name: str) -> bool:
        """Whether an episode is kept."""
        return not self.bounds or key64("limit", name) <= self.bounds.get(split, -1)


def limit_by_hash(names: Iterable[tuple[str, str]], limit: int | None) -> Limits:
    """At most `limit` episodes of each split: those with the smallest hashes of their names.

    Sampling by hash covers the whole log, whatever its order. When a log grows, only new episodes can displace others.
    """
    hashes = defaultdict[str, list[int]](list)
    for split, name in names:
        hashes[split].append(key64("limit", name))
    kept = {split: sorted(found)[:limit] for split, found in hashes.items()}
    return Limits({split: found[-1] for split, found in kept.items()}, sum(len(hashes[s]) - len(kept[s]) for s in kept))


def read_names(path: str) -> frozenset[str]:
    """The names in a file: one per line, or a JSON list. Raises UsageError."""
    return _names(path, _version(path))


def read_ranges(path: str) -> Ranges:
    """The ranges in a JSON file. Raises UsageError."""
    return _ranges(path, _version(path))


def _version(path: str) -> str:
    try:
        return location.stat(path_of(path)).version
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", path) from None


def _bytes(path: str) -> bytes:
    _ = _version(path)
    return location.read_bytes(path_of(path))


@lru_cache(maxsize=8)
def _names(path: str, _version: str) -> frozenset[str]:
    content = _bytes(path)
    listed = _decoded(content, list[str], path) if content.lstrip()[:1] == b"[" else _lines(content, path)
    if not listed:
        raise UsageError("lists no episodes", path)
    return frozenset(listed)


def _lines(content: bytes, path: str) -> list[str]:
    try:
        return [line.strip() for line in content.decode("utf-8-sig").splitlines() if line.strip()]
    except UnicodeDecodeError:
        raise UsageError("is not a list of names: it is not UTF-8", path) from None


@lru_cache(maxsize=8)
def _ranges(path: str, _version: str) -> Ranges:
    found: Ranges = _decoded(_bytes(path), dict[str, tuple[tuple[int, int], ...]], path)
    if not found:
        raise UsageError("has no ranges", path)
    for name, ranges in found.items():
        if any(start < 0 for start, _ in ranges):
            raise UsageError(f"has a range that starts before step 0, of {one_line(name, 80)}", path)
    return found


def _decoded(content: bytes, kind: Any, path: str) -> Any:
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        what = "a JSON list of names" if kind == list[str] else '{"EPISODE": [[start, stop], ...]}'
        raise UsageError(f"is not {what}: {one_line(str(error), 120)}", path) from None
