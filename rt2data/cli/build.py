"""`rt2data build-mixture`."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from rt2data.beam.pool import Pool, PoolKind, pool_at_work, workers_wanted
from rt2data.build import Site
from rt2data.cli.console import insist, say_json, size, talk
from rt2data.cli.outlook import show_plan
from rt2data.cli.progress import Progress, quiet_libraries
from rt2data.errors import OutputError, UsageError, command
from rt2data.forecast.space import require_store_space
from rt2data.formats.base import make_format
from rt2data.io.location.folders import real_path
from rt2data.plan.plan import Plan
from rt2data.plan.recipe import Recipe, read_recipe
from rt2data.seal.blend import how_to_read
from rt2data.seal.manifest import Manifest


@dataclass(frozen=True)
class Asked:
    """What the command line says besides the recipe."""

    recipe: Path
    robot_frac: str | None
    overrides: tuple[str, ...]
    workers: int | None
    pool: PoolKind
    as_json: bool
    quiet: bool

    def read(self) -> Recipe:
        """The recipe with the command line's overrides, checked against the data it names."""
        return read_recipe(self.recipe, overrides=self.overrides, robot_frac=self.robot_frac, check=True)

    @property
    def worker_count(self) -> int:
        """One for each core, unless something else is asked for."""
        return workers_wanted(self.workers)

    def workers_at_work(self) -> AbstractContextManager[Pool]:
        """The pool, ended at the end."""
        return pool_at_work(self.pool, self.workers)


def build_mixture(asked: Asked, out: Path | None, overwrite: bool, restart: bool, allow_bad: bool) -> None:
    """Build the mixture, say where it is and how to read it."""
    recipe = asked.read()
    site = Site(_resolved(out or asked.recipe.with_suffix("")), overwrite, restart)
    progress = Progress(asked.quiet)
    with asked.workers_at_work() as pool, quiet_libraries():
        from rt2data.beam.run import build_locally

        manifest = build_locally(recipe, site, pool, progress, allow_bad, lambda todo: require_store_space(recipe, todo))
    if asked.as_json:
        say_json({"out": str(site.out)} | _figures(manifest) | {"warnings": msgspec.to_builtins(manifest.plan.warnings)})
    else:
        _tell(manifest, site.out, built=progress.plan is not None)


def _resolved(out: Path) -> Path:
    """Where the output really is: links are followed once, now. Raises OutputError where they lead in a circle."""
    try:
        found = real_path(out)
        str(found).encode()
        return found
    except UnicodeEncodeError:
        raise UsageError("the output's path is not UTF-8", ascii(out), "choose another place, or set LC_ALL=C.UTF-8") from None
    except (OSError, RuntimeError) as error:
        raise OutputError(f"the output's path cannot be followed: {error}", str(out), "choose another place") from error


def _figures(manifest: Manifest) -> dict[str, object]:
    found: dict[str, object] = msgspec.to_builtins(manifest)
    return {
        key: found[key]
        for key in ("examples", "bytes", "robot_frac", "token_frac", "loss_token_frac", "totals", "epochs", "rejects")
    }


def _tell(manifest: Manifest, out: Path, built: bool) -> None:
    if not built:
        talk("this very mixture is here already: nothing to do")
    show_plan(manifest.plan)
    for name, lost in manifest.rejects.items():
        for entry in lost:
            talk(f"dropped from {name}: {entry.count:,} {entry.reason}" + ("" if entry.fault else " (as asked)"))
    shape = f"{len(manifest.shards)} shards of {size(manifest.bytes / len(manifest.shards))}"
    reading = how_to_read(make_format(manifest.plan.format), out, manifest)
    print(f"\n{manifest.examples:,} examples, {manifest.robot_frac:.4%} robot, {shape} in {out}")
    print(f"check it:  {command('verify', out)}\nread it:   {reading.call}")
    _look_first(manifest.plan, out)


def _look_first(plan: Plan, out: Path) -> None:
    """The last line of a build with something wrong, as far as its plan tells; statistics are not taken again for that."""
    counts = [(sum(warn.level == level for warn in plan.warnings), level) for level in ("error", "warning")]
    said = [f"{count} {level}{'' if count == 1 else 's'}" for count, level in counts if count]
    if said:
        insist(f"{' and '.join(said)} above; look before you train: {command('stats', out)}")
