"""What reading needs of a manifest, and no more: so a trainer's workers import neither pyarrow nor the recipe's machinery."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from rt2data.errors import DataError, UsageError
from rt2data.io import location

FORMAT = "webdataset"
VERSION = 1


class ShardFacts(msgspec.Struct, frozen=True):
    """One shard as the manifest has it."""

    name: str
    examples: int
    bytes: int


class SourceFacts(msgspec.Struct, frozen=True):
    """One source as the plan has it; `codec` undoes its action bins."""

    name: str
    kind: str
    draws: int
    codec: dict[str, Any] | None = None


class PartFacts(msgspec.Struct, frozen=True):
    """One source that lies by itself."""

    shards: int


class PlanFacts(msgspec.Struct, frozen=True):
    """What was decided."""

    fingerprint: str
    format: str
    split: str
    tokenizer: dict[str, Any]
    action_dim: int
    sources: tuple[SourceFacts, ...]
    parts: tuple[PartFacts, ...] = ()  # where each row was written once, by source

    def sides(self) -> list[list[int]]:
        """Draws of the robot sources and of the web sources."""
        return [[source.draws for source in self.sources if source.kind == kind] for kind in ("robot", "web")]

    def parts_add_up(self, shards: int) -> bool:
        """Whether there is a part to each source, and together they are the shards; or there are none."""
        counts = [part.shards for part in self.parts]
        return not counts or (len(counts) == len(self.sources) and sum(counts) == shards and min(counts) > 0)


class Longest(msgspec.Struct, frozen=True):
    """Of one source's totals: the tokens of its longest example."""

    longest: int


class Contents(msgspec.Struct, frozen=True):
    """A finished mixture."""

    version: int
    examples: int
    robot_frac: float
    totals: dict[str, Longest]
    statistics: dict[str, Any]
    plan: PlanFacts
    shards: tuple[ShardFacts, ...]

    @property
    def pad_id(self) -> int:
        """The token that fills input_ids up."""
        return int(self.plan.tokenizer["pad_id"])

    @property
    def longest(self) -> int:
        """Tokens of the longest example."""
        return max(total.longest for total in self.totals.values())

    @property
    def widths(self) -> Mapping[str, int]:
        """Length of each list that has a fixed one over the whole mixture: action, action_mask, action_bins, state."""
        bins = [int(source.codec["width"]) for source in self.plan.sources if source.codec]
        states = [len(found["state"]["mean"]) for found in self.statistics.values() if found.get("state")]
        action = self.plan.action_dim
        return {"action": action, "action_mask": action, "action_bins": max(bins, default=0), "state": max(states, default=0)}


def read_contents(folder: Path) -> Contents:
    """The contents of a complete output, whose shards are all there and have the size that the manifest says.

    Raises DataError where it is not complete or damaged, UsageError for a format that is not read here.
    """
    found = _decoded(folder / "manifest.json")
    if found.plan.format != FORMAT:
        raise UsageError(f"shards of format {found.plan.format} are not read here", str(folder), f"build with format {FORMAT}")
    if found.examples != sum(shard.examples for shard in found.shards) or not found.plan.parts_add_up(len(found.shards)):
        raise DataError("a damaged manifest: examples do not add up", str(folder / "manifest.json"), "build it again")
    for shard in found.shards:
        require_size(folder / shard.name, shard.bytes)
    return found


def _decoded(path: Path) -> Contents:
    try:
        found = msgspec.json.decode(location.read_bytes(path), type=Contents)
        _ = found.pad_id, found.longest, found.widths
    except FileNotFoundError:
        raise DataError("no manifest: not a complete output", str(path.parent), "build it") from None
    except (msgspec.MsgspecError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"a damaged manifest: {error}", str(path), "build it again") from None
    if found.version != VERSION:
        raise DataError(f"a manifest of version {found.version}", str(path), "read it with the release of rt2data that wrote it")
    return found


def require_size(path: Path, size: int) -> None:
    """Raises DataError where a shard is missing or has another size."""
    try:
        here = location.stat(path).size
    except FileNotFoundError:
        raise DataError("a shard is missing", str(path), "build it again, or bring the whole folder here") from None
    if here != size:
        raise DataError(
            f"a shard has {here:,} bytes where the manifest says {size:,}", str(path), "build it again, or copy it anew"
        )
