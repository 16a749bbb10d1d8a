"""`rt2data build-mixture`."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec

from rt2data.beam.pool import Pool, PoolKind, pool_at_work, workers_wanted
from rt2data.build import Site, build_by
from rt2data.cli.console import insist, say_json, talk
from rt2data.cli.plan_tables import show_plan
from rt2data.cli.progress import Progress, quiet_libraries
from rt2data.cli.runners import tell_page, tell_staged
from rt2data.engines.table import EngineKind, start
from rt2data.errors import OutputError, UsageError, command
from rt2data.forecast.forecast import require_store_space
from rt2data.formats.base import make_format
from rt2data.io.generations import current
from rt2data.io.location.folders import real_path
from rt2data.io.words import plural, size
from rt2data.plan.model import Plan
from rt2data.plan.recipe import Recipe, read_recipe
from rt2data.seal.blend import how_to_read
from rt2data.seal.manifest import Manifest

Built = tuple[Manifest | None, bool]


@dataclass(frozen=True)
class BuildOptions:
    """The recipe and the options of the command line."""

    recipe: Path
    robot_frac: str | None
    overrides: tuple[str, ...]
    workers: int | None
    pool: PoolKind
    as_json: bool
    quiet: bool

    def read(self, check: bool = True) -> Recipe:
        """The recipe with overrides from the command line; with `check`, everything it names must exist."""
        return read_recipe(self.recipe, overrides=self.overrides, robot_frac=self.robot_frac, check=check)

    def said(self, out: Path) -> list[str]:
        """The request as options of the deployed pipeline, which a runner shows with the job."""
        frac = [f"--robot_frac={self.robot_frac}"] if self.robot_frac is not None else []
        return [f"--recipe={self.recipe}", f"--out={out}", *frac, *(f"--set={each}" for each in self.overrides)]

    @property
    def worker_count(self) -> int:
        """The number of workers; by default one per core."""
        return workers_wanted(self.workers)

    def workers_at_work(self) -> AbstractContextManager[Pool]:
        """The pool of workers, closed at the end."""
        return pool_at_work(self.pool, self.workers)


def build_mixture(
    asked: BuildOptions,
    out: Path | None,
    overwrite: bool,
    restart: bool,
    allow_bad: bool,
    elsewhere: list[str] | None = None,
    engine: EngineKind | None = None,
) -> None:
    """Build the mixture here, with an engine or, with Beam options, `elsewhere`; print where it is and how to read it."""
    recipe = asked.read(check=elsewhere is None)  # workers elsewhere may see data that this machine cannot
    site = Site(_resolved(out or asked.recipe.with_suffix("")), overwrite, restart)
    if elsewhere is None:
        found = _build_here(asked, recipe, site, allow_bad, engine)
    else:
        found = _build_elsewhere(recipe, site, allow_bad, [*elsewhere, *asked.said(site.out)])
    manifest, built = found
    if manifest is None:
        tell_staged(site.out, asked.as_json)
    elif asked.as_json:
        say_json({"out": str(site.out)} | _figures(manifest) | {"warnings": msgspec.to_builtins(manifest.plan.warnings)})
    else:
        _report(manifest, site.out, built)


def _build_here(asked: BuildOptions, recipe: Recipe, site: Site, allow_bad: bool, engine: EngineKind | None) -> Built:
    """The manifest, and whether there was anything to do. An engine decides where to run; the pool runs on this machine."""
    progress = Progress(asked.quiet)
    enough = partial(require_store_space, recipe)
    if engine is not None:
        with quiet_libraries():
            manifest = build_by(start(engine), recipe, site, progress, allow_bad, enough)
    else:
        with asked.workers_at_work() as pool, quiet_libraries():
            from rt2data.beam.run import build_locally

            manifest = build_locally(recipe, site, pool, progress, allow_bad, enough)
    return manifest, progress.plan is not None


def _build_elsewhere(recipe: Recipe, site: Site, allow_bad: bool, options: list[str]) -> Built:
    """The same; no manifest if the options only stage the job."""
    pages = list[str]()

    def submitted(page: str) -> None:
        pages.append(page)
        tell_page(page)

    with quiet_libraries():
        from rt2data.beam.run import Watch, build_anywhere

        return build_anywhere(recipe, site, options, allow_bad, watch=Watch(on_submit=submitted)), bool(pages)


def _resolved(out: Path) -> Path:
    """The output's real path: links are resolved once, now. Raises OutputError for a link cycle."""
    try:
        found = real_path(out)
        str(found).encode()
        return found
    except UnicodeEncodeError:
        raise UsageError("the output's path is not UTF-8", ascii(out), "choose another folder, or set LC_ALL=C.UTF-8") from None
    except (OSError, RuntimeError) as error:
        raise OutputError(f"the output's path cannot be resolved: {error}", str(out), "choose another folder") from error


def _figures(manifest: Manifest) -> dict[str, object]:
    found: dict[str, object] = msgspec.to_builtins(manifest)
    return {
        key: found[key]
        for key in ("examples", "bytes", "robot_frac", "token_frac", "loss_token_frac", "totals", "epochs", "rejects")
    }


def _report(manifest: Manifest, out: Path, built: bool) -> None:
    if not built:
        talk("this mixture is already complete: nothing to do")
    show_plan(manifest.plan)
    for name, lost in manifest.rejects.items():
        for entry in lost:
            talk(f"dropped from {name}: {entry.count:,} {entry.reason}" + ("" if entry.fault else " (as asked)"))
    shape = f"{plural(len(manifest.shards), 'shard')} of {size(manifest.bytes / len(manifest.shards))}"
    reading = how_to_read(make_format(manifest.plan.format), current(out), manifest)
    print(f"\n{plural(manifest.examples, 'example')}, {manifest.robot_frac:.4%} robot, {shape} in {out}")
    print(f"check it:  {command('verify', out)}\nread it:   {reading.call}")
    _point_at_warnings(manifest.plan, out)


def _point_at_warnings(plan: Plan, out: Path) -> None:
    """Print the last line of a build whose plan has errors or warnings."""
    counts = [(sum(warn.level == level for warn in plan.warnings), level) for level in ("error", "warning")]
    said = [plural(count, level) for count, level in counts if count]
    if said:
        insist(f"{' and '.join(said)} above; check before you train: {command('stats', out)}")
