"""Run the graph: here with a pool of workers, or wherever Beam's own options say.

Beam is imported late: its import takes seconds, during which the pool is already working.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import xxhash

from rt2data.beam.failure import failure_file, forget
from rt2data.beam.local import LocalRun, local_run
from rt2data.beam.pool import Inline, Pool
from rt2data.build import MIXTURE, Listing, Output, Preparation, Site, begin_build, nothing_new, preparations
from rt2data.errors import LockedError, UsageError
from rt2data.io import location
from rt2data.io.generations import current
from rt2data.io.lease import held_claims
from rt2data.plan.decide import decide
from rt2data.plan.job import Job
from rt2data.plan.recipe import Recipe, canonical
from rt2data.prepare.store import Store
from rt2data.prepare.unit import prepare_unit

Listener = Callable[[Any], None]


def _deaf(result: Any) -> None:
    """Ignores results."""


def build_locally(
    recipe: Recipe,
    site: Site,
    pool: Pool,
    on_result: Listener = _deaf,
    allow_bad: bool = False,
    before: Callable[[list[Preparation]], None] = _deaf,
    output: Output = MIXTURE,
) -> Any:
    """Build on this machine and return the manifest; `before` may refuse before anything is read. Errors keep their types."""
    prepared = preparations(recipe, location.absolute(recipe.store_folder), on_result)
    with site.held(), prepared as todo, local_run(pool, on_result) as run:
        before(todo)
        build_of(run, recipe, site, todo, allow_bad, output)
    return output.read(current(site.out))


def build_of(
    run: LocalRun, recipe: Recipe, site: Site, todo: list[Preparation], allow_bad: bool = False, output: Output = MIXTURE
) -> None:
    """Build from these preparations; the caller holds their locks and the site's."""
    _head_start(run, todo)
    if all(p.ready for p in todo):
        stores = {p.name: p.store for p in todo}
        orders = run.decide(lambda: begin_build(site, recipe, stores, allow_bad, output))
        kind, work = output.phases[0]
        run.ahead(work, (order for order in orders if isinstance(order, kind)))
    from rt2data.beam.graph import wire

    listing = Listing(recipe, location.absolute(recipe.store_folder), tuple(todo))
    _run_here(run, lambda pipeline: wire(pipeline, recipe, site, listing, allow_bad, run.id, output))


def plan_locally(recipe: Recipe, pool: Pool, on_result: Listener = _deaf, allow_bad: bool = False) -> Job:
    """Prepare what is not ready yet and plan; write nothing else."""
    with _prepared(recipe, pool, on_result) as stores:
        return decide(recipe, stores, allow_bad)


def prepare_locally(recipe: Recipe, pool: Pool, on_result: Listener = _deaf) -> dict[str, Store]:
    """Prepare what is not ready yet; return the stores of all needed sources by name."""
    with _prepared(recipe, pool, on_result) as stores:
        return stores


@contextmanager
def _prepared(recipe: Recipe, pool: Pool, on_result: Listener) -> Iterator[dict[str, Store]]:
    """The stores, ready; those just written are locked meanwhile."""
    with preparations(recipe, location.absolute(recipe.store_folder), on_result) as todo, local_run(pool, on_result) as run:
        _head_start(run, todo)
        if not all(p.ready for p in todo):
            from rt2data.beam.graph import PrepareSources

            listing = Listing(recipe, location.absolute(recipe.store_folder), tuple(todo))
            _run_here(run, lambda pipeline: pipeline | PrepareSources(listing, run.id))
        yield {p.name: p.store for p in todo}


def import_beam() -> None:
    """Import what a run imports late, to measure how long that takes."""
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner  # noqa: F401

    import rt2data.beam.graph  # noqa: F401


def _head_start(run: LocalRun, todo: list[Preparation]) -> None:
    run.on_result(tuple(todo))
    run.ahead(prepare_unit, (order for p in todo for order in p.units))


def _run_here(run: LocalRun, wire: Callable[[Any], Any]) -> None:
    """Run a graph in Beam's in-memory runner, named explicitly: the default runner first tries to download a program."""
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner

    pipeline = beam.Pipeline(runner=FnApiRunner(), options=PipelineOptions(["--direct_running_mode=in_memory"]))
    wire(pipeline)
    run.carry_out(lambda: pipeline.run().wait_until_finish())


class Watch(NamedTuple):
    """How the launcher follows a remote run."""

    failure_file: Path | None = None  # kept at the end; None: a file next to the output, removed at the end
    on_submit: Listener = _deaf  # receives the URL of the job's page; empty if the runner has none


def build_anywhere(
    recipe: Recipe,
    site: Site,
    arguments: Sequence[str],
    allow_bad: bool = False,
    output: Output = MIXTURE,
    watch: Watch | None = None,
) -> Any:
    """Build with the runner named in Beam's own options, and wait for it; by default in memory, here.

    Returns the manifest; None if the options only stage the job. Errors keep their types, as in `build_locally`. Workers list the
    sources, which need not be visible from here; if they are, and the existing output is up to date, no job is submitted.
    """
    from rt2data.beam.graph import wire
    from rt2data.beam.pipeline_options import new_pipeline, only_staged

    pipeline = new_pipeline(arguments, site.out, fingerprint_of(recipe))
    with site.held():
        if not only_staged(pipeline.options) and (manifest := nothing_new(site, recipe, allow_bad, output)):
            return manifest
        listing = Listing(recipe, location.absolute(recipe.store_folder))
        graph = partial(wire, pipeline, recipe, site, listing, allow_bad, output=output)
        done = run_anywhere(pipeline, site.out, graph, watch or Watch())
    return output.read(current(site.out)) if done else None


def prepare_anywhere(recipe: Recipe, arguments: Sequence[str], watch: Watch) -> dict[str, Store]:
    """Prepare what is not ready yet with the runner of Beam's own options; return the stores of all needed sources by name."""
    from rt2data.beam.graph import PrepareSources
    from rt2data.beam.pipeline_options import new_pipeline, only_staged

    root = location.absolute(recipe.store_folder)
    with preparations(recipe, root) as todo:
        if not all(p.ready for p in todo):
            pipeline = new_pipeline(arguments, root, fingerprint_of(recipe))
            if only_staged(pipeline.options):
                raise UsageError("its sources are not prepared, and one job cannot do both", str(root), "build the mixture first")
            run_anywhere(pipeline, root, lambda run: pipeline | PrepareSources(Listing(recipe, root, tuple(todo)), run), watch)
        return {p.name: p.store for p in todo}


def fingerprint_of(recipe: Recipe) -> str:
    """Equal for equivalent recipes."""
    return xxhash.xxh3_128_hexdigest(canonical(recipe))


def run_anywhere(pipeline: Any, out: Path, wire: Callable[..., Any], watch: Watch) -> bool:
    """Run a graph, which `wire` adds to the pipeline, and wait for it. False if the runner only staged it.

    `wire` gets `run`, by which its DoFns find this run, so that failures are raised unchanged. An interrupt cancels the job.
    """
    from rt2data.beam.pipeline_options import only_staged, page_of

    def graph() -> None:
        result = pipeline.run()
        run.on_stop = lambda: _cancel(result)
        watch.on_submit(page_of(result, pipeline.options))
        result.wait_until_finish()

    with local_run(Inline(), _deaf) as run, _failures(watch.failure_file, out, run.name) as run.failures:
        run.claims = held_claims()
        wire(run=run.id)
        try:
            run.carry_out(graph)
        except Exception as error:
            if type(error).__name__ == "DataflowJobAlreadyExistsError":  # its module is not always installed
                raise LockedError(str(error), str(out), "wait for that job, or cancel it") from None
            raise
    return not only_staged(pipeline.options)


@contextmanager
def _failures(wanted: Path | None, out: Path, run: str) -> Iterator[str]:
    """The file in which workers report a failure; an old one is removed, and a new one too unless it is wanted."""
    file = wanted or failure_file(out, run)
    forget(file)
    try:
        yield str(file)
    finally:
        if not wanted:
            forget(file)


def _cancel(result: Any) -> None:
    with suppress(Exception):  # it may be over already, and not every runner supports this
        result.cancel()
