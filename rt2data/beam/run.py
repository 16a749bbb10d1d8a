"""Run the graph: here with a pool of workers, or wherever Beam's own options say.

Beam is imported late: its import takes seconds, in which the pool is already at work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rt2data.beam.local import LocalRun, local_run
from rt2data.beam.pool import Inline, Pool
from rt2data.build import MIXTURE, Output, Preparation, Site, begin_build, preparations
from rt2data.io import location
from rt2data.io.generations import current
from rt2data.plan.decide import decide
from rt2data.plan.job import Job
from rt2data.plan.recipe import Recipe
from rt2data.prepare.store import Store
from rt2data.prepare.unit import prepare_unit

Listener = Callable[[Any], None]


def _deaf(result: Any) -> None:
    """Ignores the results."""


def build_locally(
    recipe: Recipe,
    site: Site,
    pool: Pool,
    on_result: Listener = _deaf,
    allow_bad: bool = False,
    before: Callable[[list[Preparation]], None] = _deaf,
    output: Output = MIXTURE,
) -> Any:
    """Build on this machine and give the manifest; `before` may refuse before anything is read. Errors keep their types."""
    prepared = preparations(recipe, location.absolute(recipe.store_folder), on_result)
    with site.held(), prepared as todo, local_run(pool, on_result) as run:
        before(todo)
        build_of(run, recipe, site, todo, allow_bad, output)
    return output.read(current(site.out))


def build_of(
    run: LocalRun, recipe: Recipe, site: Site, todo: list[Preparation], allow_bad: bool = False, output: Output = MIXTURE
) -> None:
    """Build from these preparations, which the caller holds as it holds the site."""
    _head_start(run, todo)
    if all(p.ready for p in todo):
        stores = {p.name: p.store for p in todo}
        orders = run.decide(lambda: begin_build(site, recipe, stores, allow_bad, output))
        kind, work = output.phases[0]
        run.ahead(work, (order for order in orders if isinstance(order, kind)))
    from rt2data.beam.graph import wire

    _run_here(run, lambda pipeline: wire(pipeline, recipe, site, todo, allow_bad, run.name, output))


def plan_locally(recipe: Recipe, pool: Pool, on_result: Listener = _deaf, allow_bad: bool = False) -> Job:
    """Prepare what is not prepared yet and decide; write nothing else."""
    with _prepared(recipe, pool, on_result) as stores:
        return decide(recipe, stores, allow_bad)


def prepare_locally(recipe: Recipe, pool: Pool, on_result: Listener = _deaf) -> dict[str, Store]:
    """Prepare what is not prepared yet; the stores of all sources that are needed, by name."""
    with _prepared(recipe, pool, on_result) as stores:
        return stores


@contextmanager
def _prepared(recipe: Recipe, pool: Pool, on_result: Listener) -> Iterator[dict[str, Store]]:
    """The stores, ready; those that were written just now are held meanwhile."""
    with preparations(recipe, location.absolute(recipe.store_folder), on_result) as todo, local_run(pool, on_result) as run:
        _head_start(run, todo)
        if not all(p.ready for p in todo):
            from rt2data.beam.graph import PrepareSources

            _run_here(run, lambda pipeline: pipeline | PrepareSources(tuple(todo), run.name))
        yield {p.name: p.store for p in todo}


def import_beam() -> None:
    """What a run imports late, to measure how long that takes."""
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner  # noqa: F401

    import rt2data.beam.graph  # noqa: F401


def _head_start(run: LocalRun, todo: list[Preparation]) -> None:
    run.on_result(tuple(todo))
    run.ahead(prepare_unit, (order for p in todo for order in p.units))


def _run_here(run: LocalRun, wire: Callable[[Any], Any]) -> None:
    """Run a graph in Beam's in-memory runner, named: the default one first tries to download a program."""
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner

    pipeline = beam.Pipeline(runner=FnApiRunner(), options=PipelineOptions(["--direct_running_mode=in_memory"]))
    wire(pipeline)
    run.carry_out(lambda: pipeline.run().wait_until_finish())


def build_anywhere(recipe: Recipe, site: Site, arguments: Sequence[str], allow_bad: bool = False, output: Output = MIXTURE) -> None:
    """Build with the runner that Beam's own options name, and wait for it; by default in memory, here.

    Errors in this process are raised unchanged, as in `build_locally`; errors elsewhere as the runner reports them.
    """
    from rt2data.beam.graph import wire

    with site.held(), preparations(recipe, location.absolute(recipe.store_folder)) as todo:
        run_anywhere(arguments, lambda pipeline, name: wire(pipeline, recipe, site, todo, allow_bad, name, output))


def prepare_anywhere(recipe: Recipe, arguments: Sequence[str]) -> dict[str, Store]:
    """Prepare what is not prepared yet with the runner that Beam's own options name; the stores of all sources needed, by name."""
    from rt2data.beam.graph import PrepareSources

    with preparations(recipe, location.absolute(recipe.store_folder)) as todo:
        if not all(p.ready for p in todo):
            run_anywhere(arguments, lambda pipeline, name: pipeline | PrepareSources(tuple(todo), name))
        return {p.name: p.store for p in todo}


def run_anywhere(arguments: Sequence[str], wire: Callable[[Any, str], Any]) -> None:
    """Run a graph, which `wire` puts into the pipeline, and wait for it: by default in memory, here.

    `wire` is given the name of this run, by which what fails here is raised as it was raised.
    """
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner

    options = PipelineOptions(list(arguments))
    runner = options.view_as(StandardOptions).runner or FnApiRunner()
    with local_run(Inline(), _deaf) as run:
        pipeline = beam.Pipeline(runner=runner, options=options)
        wire(pipeline, run.name)
        run.carry_out(lambda: pipeline.run().wait_until_finish())
