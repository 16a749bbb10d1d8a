"""Run the graph: here with a pool of workers, or wherever Beam's own options say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions, StandardOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from rt2data.beam.graph import PrepareSources, wire
from rt2data.beam.local import LocalRun, local_run
from rt2data.beam.pool import Pool
from rt2data.build import Site, preparations
from rt2data.job import Job, decide
from rt2data.manifest import Manifest, read_manifest
from rt2data.recipe import Recipe

Listener = Callable[[Any], None]


def _deaf(result: Any) -> None:
    """Nobody watches."""


def build_locally(recipe: Recipe, site: Site, pool: Pool, on_result: Listener = _deaf, allow_bad: bool = False) -> Manifest:
    """Build a mixture on this machine. Raises the errors of rt2data.errors as they were raised."""
    with site.held(), preparations(recipe, recipe.store_folder.absolute()) as todo, local_run(pool, on_result) as run:
        on_result(tuple(todo))
        pipeline = _pipeline_here()
        wire(pipeline, recipe, site, todo, allow_bad, run.name)
        _run_here(pipeline, run)
    return read_manifest(site.out)


def plan_locally(recipe: Recipe, pool: Pool, on_result: Listener = _deaf, allow_bad: bool = False) -> Job:
    """Prepare what is not prepared yet and decide; write nothing else."""
    with preparations(recipe, recipe.store_folder.absolute()) as todo, local_run(pool, on_result) as run:
        on_result(tuple(todo))
        if not all(p.ready for p in todo):
            pipeline = _pipeline_here()
            _ = pipeline | PrepareSources(tuple(todo), run.name)
            _run_here(pipeline, run)
        return decide(recipe, {p.name: p.store for p in todo}, allow_bad)


def _pipeline_here() -> Any:
    """Beam's in-memory runner, named: the default one first tries to download a program."""
    return beam.Pipeline(runner=FnApiRunner(), options=PipelineOptions(["--direct_running_mode=in_memory"]))


def _run_here(pipeline: Any, run: LocalRun) -> None:
    try:
        pipeline.run().wait_until_finish()
    except Exception as error:
        raise (run.failure or error) from None


def build_anywhere(recipe: Recipe, site: Site, arguments: Sequence[str], allow_bad: bool = False) -> None:
    """Build with the runner that Beam's own options name, and wait for it; by default in memory, here."""
    options = PipelineOptions(list(arguments))
    named = options.view_as(StandardOptions).runner
    with site.held(), preparations(recipe, recipe.store_folder.absolute()) as todo:
        pipeline = beam.Pipeline(runner=named or FnApiRunner(), options=options)
        wire(pipeline, recipe, site, todo, allow_bad)
        result = pipeline.run()
        if not options.view_as(GoogleCloudOptions).dry_run:
            result.wait_until_finish()
