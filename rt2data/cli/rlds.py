"""`rt2data write-rlds`: the sources of a recipe as datasets of episodes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import msgspec

from rt2data.beam.pool import PoolKind, pool_at_work
from rt2data.build import Site, rlds_output
from rt2data.cli.build import BuildOptions
from rt2data.cli.console import say_json, table, talk
from rt2data.cli.progress import Progress, quiet_libraries
from rt2data.cli.verify import SHOWN
from rt2data.errors import DataError, UsageError
from rt2data.forecast.forecast import require_store_space
from rt2data.formats.rlds.registration import FILE
from rt2data.io import location
from rt2data.io.words import number, plural, size
from rt2data.look.verify.episodes import verify_episodes
from rt2data.plan.episodes import RldsOptions
from rt2data.read.text import one_line
from rt2data.seal.episodes import RldsManifest


def write_rlds(
    asked: BuildOptions,
    out: Path | None,
    layout: str,
    tokens: bool,
    cameras: Sequence[str],
    names: Sequence[str],
    version: str,
    overwrite: bool,
    restart: bool,
    allow_bad: bool,
) -> None:
    """Write every needed source as a TFDS directory of episodes, and print how to read it. `names` are SOURCE=DATASET."""
    options = RldsOptions(layout, tokens, tuple(cameras), dict(map(_pair, names)), version)
    folder = out or asked.recipe.with_name(f"{asked.recipe.stem}-rlds")
    site = Site(location.absolute(folder), overwrite, restart)
    recipe = asked.read()
    with asked.workers_at_work() as pool, quiet_libraries():
        from rt2data.beam.run import build_locally

        enough = partial(require_store_space, recipe)
        manifest: RldsManifest = build_locally(recipe, site, pool, Progress(asked.quiet), allow_bad, enough, rlds_output(options))
    if asked.as_json:
        say_json({"out": str(site.out)} | {key: value for key, value in msgspec.to_builtins(manifest).items() if key != "recipe"})
    else:
        _show(manifest, site.out)


def _pair(text: str) -> tuple[str, str]:
    source, sign, dataset = text.partition("=")
    if not (source and sign and dataset):
        raise UsageError(f"--name {text!r} is not SOURCE=DATASET", "--name", "for example --name arm=bridge_orig")
    return source, dataset


def _show(manifest: RldsManifest, out: Path) -> None:
    columns = ("source", "dataset", "split", "episodes", "steps", "shards", "size", "tokens")
    rows = []
    for dataset in manifest.plan.datasets:
        for split in dataset.splits:
            shards = [s for s in manifest.shards if (s.dataset, s.split) == (dataset.dataset, split.name)]
            tokens, total = sum(s.tokens for s in shards), sum(s.bytes for s in shards)
            counts = map(number, (split.episodes, split.rows, len(shards)))
            rows.append((dataset.source, dataset.dataset, split.name, *counts, size(total), number(tokens)))
    table(columns, rows, left=3, drop=("tokens", "shards", "source", "size", "steps", "episodes"))
    for dataset in manifest.plan.datasets:
        for line in (*dataset.changes, *dataset.warnings):
            talk(f"{dataset.source}: {line}")
    first = manifest.plan.datasets[0]
    print(f"\n{plural(manifest.episodes, 'episode')}, {plural(manifest.steps, 'step')} in {out}")
    print(f"read it:   tfds.load({f'{first.dataset}:{first.version}'!r}, data_dir={str(out)!r})")
    if location.is_file(out / FILE):
        print(f"register:  {out / FILE} registers it with OpenVLA and Octo:\n\n{location.read_text(out / FILE)}")


def verify_rlds(out: Path, workers: int | None, pool_kind: PoolKind, as_json: bool) -> int:
    """Check a finished output of episodes, print the findings; the exit code is 0, or 3 if there are faults."""
    with pool_at_work(pool_kind, workers) as pool:
        found = verify_episodes(out, pool)
    if as_json:
        say_json({"ok": found.ok, **msgspec.to_builtins(found)})
    else:
        for fault in found.faults[:SHOWN]:
            print(one_line(str(fault), 1000))
        verdict = "no faults" if found.ok else plural(len(found.faults), "fault")
        print(f"{plural(found.episodes, 'episode')}, {plural(found.steps, 'step')}, {size(found.bytes)}: {verdict}")
    return 0 if found.ok else DataError.code
