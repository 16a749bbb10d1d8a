"""`rt2data write-rlds`: the sources of a recipe as datasets of episodes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from rt2data.beam.pool import PoolKind, pool_at_work
from rt2data.cli.build import Asked
from rt2data.cli.console import number, say_json, size, talk
from rt2data.cli.progress import Progress
from rt2data.cli.tables import table
from rt2data.cli.verify import SHOWN
from rt2data.errors import DataError, UsageError
from rt2data.io import location
from rt2data.read.text import one_line
from rt2data.rlds.decide import Wishes
from rt2data.rlds.manifest import RldsManifest
from rt2data.rlds.plan import RldsPlan
from rt2data.rlds.registration import FILE
from rt2data.rlds.run import RldsSite
from rt2data.rlds.run import write_rlds as write
from rt2data.rlds.shard import RldsShard
from rt2data.rlds.verify import verify_rlds as check


class Writing(Progress):
    """Hears of every unit that is prepared and every shard that is written."""

    def _take(self, result: Any) -> None:
        match result:
            case RldsPlan():
                self._begin("write", sum(len(split.shards) for dataset in result.datasets for split in dataset.splits))
            case RldsShard():
                self._count("write", result.fresh, result.steps, result.bytes, 0)
            case int():
                pass  # a file of rows was regrouped
            case _:
                super()._take(result)


def write_rlds(
    asked: Asked,
    out: Path | None,
    skin: str,
    tokens: bool,
    cameras: Sequence[str],
    names: Sequence[str],
    version: str,
    overwrite: bool,
    restart: bool,
    allow_bad: bool,
) -> None:
    """Write every needed source as a TFDS directory of episodes, and say how to read it. `names` are SOURCE=DATASET."""
    wishes = Wishes(skin, tokens, tuple(cameras), dict(map(_pair, names)), version)
    folder = out or asked.recipe.with_name(f"{asked.recipe.stem}-rlds")
    site = RldsSite(location.absolute(folder), overwrite, restart)
    with asked.workers_at_work() as pool:
        manifest = write(asked.read(), site, wishes, pool, Writing(asked.quiet), allow_bad)
    if asked.as_json:
        say_json({"out": str(site.out)} | {key: value for key, value in msgspec.to_builtins(manifest).items() if key != "recipe"})
    else:
        _tell(manifest, site.out)


def _pair(text: str) -> tuple[str, str]:
    source, sign, dataset = text.partition("=")
    if not (source and sign and dataset):
        raise UsageError(f"--name {text!r} is not SOURCE=DATASET", "--name", "for example --name arm=bridge_orig")
    return source, dataset


def _tell(manifest: RldsManifest, out: Path) -> None:
    columns = ("source", "dataset", "split", "episodes", "steps", "shards", "size", "tokens")
    rows = []
    for dataset in manifest.plan.datasets:
        for split in dataset.splits:
            shards = [s for s in manifest.shards if (s.dataset, s.split) == (dataset.dataset, split.name)]
            counts = (sum(s.episodes for s in shards), sum(s.steps for s in shards), len(shards))
            tokens, total = sum(s.tokens for s in shards), sum(s.bytes for s in shards)
            rows.append((dataset.source, dataset.dataset, split.name, *map(number, counts), size(total), number(tokens)))
    table(columns, rows, left=3, drop=("tokens", "shards", "source", "size", "steps", "episodes"))
    for dataset in manifest.plan.datasets:
        for line in (*dataset.changes, *dataset.warnings):
            talk(f"{dataset.source}: {line}")
    first = manifest.plan.datasets[0]
    print(f"\n{manifest.episodes:,} episodes, {manifest.steps:,} steps in {out}")
    print(f"read it:   tfds.load({f'{first.dataset}:{first.version}'!r}, data_dir={str(out)!r})")
    if location.is_file(out / FILE):
        print(f"register:  {out / FILE} makes it known to OpenVLA and Octo:\n\n{location.read_text(out / FILE)}")


def verify_rlds(out: Path, workers: int | None, pool_kind: PoolKind, as_json: bool) -> int:
    """Check a finished output of episodes, say what was found; the exit code: 0, or 3 where there are faults."""
    with pool_at_work(pool_kind, workers) as pool:
        found = check(out, pool)
    if as_json:
        say_json({"ok": found.ok, **msgspec.to_builtins(found)})
        return 0 if found.ok else DataError.code
    for fault in found.faults[:SHOWN]:
        print(one_line(str(fault), 1000))
    verdict = "no faults" if found.ok else f"{len(found.faults):,} faults"
    print(f"{found.episodes:,} episodes, {found.steps:,} steps, {size(found.bytes)}: {verdict}")
    return 0 if found.ok else DataError.code
