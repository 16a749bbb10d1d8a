"""`rt2data build-mixture` and `rt2data plan`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from rt2data.beam.pool import Pool, PoolKind, make_pool
from rt2data.build import Site
from rt2data.cli.console import number, say_json, size, table, talk
from rt2data.cli.progress import Progress, quiet_libraries
from rt2data.errors import OutputError, UsageError
from rt2data.formats.base import make_format
from rt2data.manifest import Manifest
from rt2data.once import how_to_read
from rt2data.plan import Plan
from rt2data.recipe import Recipe, read_recipe


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
        """The recipe with the command line's overrides."""
        return read_recipe(self.recipe, overrides=self.overrides, robot_frac=self.robot_frac)

    @contextmanager
    def workers_at_work(self) -> Iterator[Pool]:
        """The pool, ended at the end."""
        pool = make_pool(self.pool, os.cpu_count() or 1 if self.workers is None else self.workers)
        try:
            yield pool
        finally:
            pool.close()


def build_mixture(asked: Asked, out: Path | None, overwrite: bool, restart: bool, allow_bad: bool) -> None:
    """Build the mixture, say where it is and how to read it."""
    recipe = asked.read()
    site = Site(_resolved(out or asked.recipe.with_suffix("")), overwrite, restart)
    progress = Progress(asked.quiet)
    with asked.workers_at_work() as pool, quiet_libraries():
        from rt2data.beam.run import build_locally

        manifest = build_locally(recipe, site, pool, progress, allow_bad)
    if asked.as_json:
        say_json({"out": str(site.out)} | _figures(manifest))
    else:
        _tell(manifest, site.out, built=progress.plan is not None)


def _resolved(out: Path) -> Path:
    """Where the output really is: links are followed once, now. Raises OutputError where they lead in a circle."""
    try:
        found = out.resolve()
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
            talk(f"left out of {name}: {entry.count:,} {entry.reason}" + ("" if entry.fault else " (as asked)"))
    shape = f"{len(manifest.shards)} shards of {size(manifest.bytes / len(manifest.shards))}"
    reading = how_to_read(make_format(manifest.plan.format), out, manifest)
    print(f"\n{manifest.examples:,} examples, {manifest.robot_frac:.4%} robot, {shape} in {out}")
    print(f"check it:  rt2data verify {out}\nread it:   {reading.call}")


def plan(asked: Asked, allow_bad: bool) -> None:
    """Prepare what is not prepared yet, decide, show, and write no shard."""
    recipe, progress = asked.read(), Progress(asked.quiet)
    with asked.workers_at_work() as pool, quiet_libraries():
        from rt2data.beam.run import plan_locally

        job = plan_locally(recipe, pool, progress, allow_bad)
    if asked.as_json:
        say_json(msgspec.to_builtins(job.plan))
    else:
        show_plan(job.plan)


def show_plan(plan: Plan) -> None:
    """The plan as a table: source, size, weight, share, draws, epochs, unseen, bytes."""
    columns = (
        "source",
        "side",
        "rows",
        "episodes/images",
        "weight",
        "share",
        "draws",
        "epochs",
        "repeats",
        "unseen",
        "image",
        "record",
    )
    rows = [
        (
            s.name,
            s.kind,
            number(s.rows),
            number(s.groups),
            s.weight,
            f"{s.draws / plan.num_examples:.2%}",
            number(s.draws),
            number(s.epochs),
            f"{s.repeats_min}-{s.repeats_max}",
            number(s.unseen),
            size(s.image_bytes),
            size(s.record_bytes),
        )
        for s in plan.sources
    ]
    table("", columns, rows, left=2)
    written = sum(map(plan.written, plan.sources))
    per_shard = written // plan.shards
    robot = f"{plan.robot_examples:,} robot = {plan.robot_examples / plan.num_examples:.4%} (asked {plan.robot_frac})"
    shards = f"{plan.shards} shards of about {per_shard:,} examples"
    print(f"{plan.num_examples:,} examples ({robot}), about {size(plan.bytes)} in {shards}")
    if plan.parts:
        weights = ", ".join(f"{part.source} {part.weight}" for part in plan.parts)
        print(f"each row is written once, {written:,} in all; repeats are weights: {weights}")
    for warning in plan.warnings:
        talk(f"warning: {warning}")
