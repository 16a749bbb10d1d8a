"""Build a mixture with any of Beam's runners: what `rt2data build-mixture --runner` does, as a main.

    python pipelines/build_mixture.py --recipe mixture.yaml --out /shared/mixture --runner=DataflowRunner --project=... --region=...

Options that --help does not list are passed to Beam. Recipe, sources, store and output must be in an object
store, or on a path that all workers share.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from rt2data.beam import deployed
from rt2data.io.location import absolute


def parse(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Our own options, and the remaining arguments, which are Beam's."""
    return deployed.MIXTURE.parse(arguments, __doc__)


def run(arguments: Sequence[str]) -> None:
    """Build as the arguments say; wait for the job if the runner allows it."""
    asked, _ = parse(arguments)
    with deployed.failures_told(asked.failure_file):
        from rt2data.beam.run import Watch, build_anywhere
        from rt2data.build import Site
        from rt2data.plan.recipe import read_recipe

        recipe = read_recipe(asked.recipe, overrides=tuple(asked.set), robot_frac=asked.robot_frac)
        site = Site(absolute(asked.out or asked.recipe.with_suffix("")), asked.overwrite, asked.restart)
        build_anywhere(recipe, site, arguments, asked.allow_bad, watch=Watch(asked.failure_file))


if __name__ == "__main__":
    deployed.main("build_mixture", run)
