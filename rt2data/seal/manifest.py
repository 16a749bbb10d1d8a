"""Step seven: the manifest, written last, so its presence means complete. It records what was asked, planned and written."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from rt2data.errors import DataError, UsageError, command
from rt2data.formats.base import Dataset, ShardEntry
from rt2data.io import location
from rt2data.plan.model import Plan
from rt2data.prepare.store import Lost
from rt2data.seal.side_files import SideFile
from rt2data.write.shard import ShardInfo, SideTotals

MANIFEST_VERSION = 1


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """manifest.json."""

    version: int
    tool: str
    tool_version: str
    examples: int
    bytes: int
    robot_frac: float  # realized share of examples; if each row is written once, weighted by how often it is read
    token_frac: float  # robot share of all tokens, weighted likewise
    loss_token_frac: float  # robot share of the loss tokens
    totals: dict[str, SideTotals]
    epochs: dict[str, float]
    statistics: dict[str, Any]  # by robot source: action and state, per dimension
    rejects: dict[str, tuple[Lost, ...]]
    conversions: dict[str, dict[str, int]]  # images not copied byte for byte
    plan: Plan
    recipe: dict[str, Any]
    shards: tuple[ShardInfo, ...]
    files: dict[str, SideFile] = {}  # files next to the shards

    @property
    def dataset(self) -> Dataset:
        """What the readers of a format need to know."""
        names = tuple(source.name for source in self.plan.sources)
        shards = tuple(ShardEntry(s.name, s.index, s.examples, s.bytes, s.xxh3_128) for s in self.shards)
        return Dataset(self.plan.split, self.plan.fingerprint, self.plan.sizes, names, shards)


def read_manifest(out: Path) -> Manifest:
    """The manifest of a complete output. Raises DataError if it is missing or damaged, UsageError if `write-rlds` wrote it."""
    path = out / "manifest.json"
    try:
        return msgspec.json.decode(location.read_bytes(path), type=Manifest)
    except (FileNotFoundError, NotADirectoryError):
        raise DataError("no manifest: not a complete output", str(out), "build it") from None
    except msgspec.MsgspecError as error:
        if _is_of_episodes(path):
            what = "datasets of episodes that write-rlds wrote, not a mixture"
            raise UsageError(what, str(out), f"check them: {command('verify', out)}; look at the folder of one of them") from None
        raise DataError(f"a damaged manifest: {error}", str(path), "build it again") from None


def _is_of_episodes(path: Path) -> bool:
    """Whether a manifest was written by `write-rlds`."""
    with suppress(msgspec.MsgspecError):
        return msgspec.json.decode(location.read_bytes(path), type=dict).get("kind") == "rlds"
    return False
