"""What people see of a job while it runs: counters, and hints of what its steps need."""

from __future__ import annotations

from collections.abc import Callable

import apache_beam as beam
from apache_beam.metrics import MetricsFilter
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from rt2data.beam.graph import wire
from rt2data.build import Listing, Site, preparations
from rt2data.plan.recipe import Recipe
from rt2data.seal.manifest import read_manifest


def test_counters_are_what_the_manifest_says(toy_recipe: Callable[..., Recipe]) -> None:
    recipe = toy_recipe()
    site = Site(recipe.store_folder.parent / "out")
    with site.held(), preparations(recipe, recipe.store_folder) as todo:
        pipeline = beam.Pipeline(runner=FnApiRunner())
        wire(pipeline, recipe, site, Listing(recipe, recipe.store_folder, tuple(todo)))
        result = pipeline.run()
    found = result.metrics().query(MetricsFilter().with_namespace("rt2data"))["counters"]
    counts = {each.key.metric.name: each.committed for each in found}
    manifest = read_manifest(site.out)
    assert counts["examples"] == manifest.examples
    assert (counts["shards"], counts["bytes"]) == (len(manifest.shards), manifest.bytes)
    assert counts["rows"] == sum(rows for source in manifest.plan.sources for rows in [source.rows])
    assert counts["rejects"] == sum(lost.count for lots in manifest.rejects.values() for lost in lots)
    assert counts["units"] == sum(len(each.units) for each in todo) and counts["bytes_read"] > 0


def test_heavy_steps_ask_for_memory(toy_recipe: Callable[..., Recipe]) -> None:
    recipe = toy_recipe()
    site = Site(recipe.store_folder.parent / "out")
    with preparations(recipe, recipe.store_folder) as todo:
        pipeline = beam.Pipeline(runner=FnApiRunner())
        wire(pipeline, recipe, site, Listing(recipe, recipe.store_folder, tuple(todo)))
    graph = pipeline.to_runner_api().components
    hinted = {
        transform.unique_name
        for transform in graph.transforms.values()
        if transform.environment_id and graph.environments[transform.environment_id].resource_hints
    }
    assert {name.rpartition("/")[2] for name in hinted} == {"GatherRows", "WriteShard"}
