"""Build a mixture with any of Beam's runners: the graph that `rt2data build-mixture` runs on one machine.

    python pipelines/build_mixture.py --recipe mixture.yaml --out /shared/mixture --runner=DataflowRunner --project=... --region=...

Options that --help does not list are passed to Beam. Recipe, sources, store and output must be in an object
store, or on a path that all workers share.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from rt2data.beam import deployed
from rt2data.io.location import absolute, path_of


def parse(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Our options, and the remaining ones, which are Beam's."""
    parser = deployed.our_parser(__doc__)
    parser.add_argument("--recipe", type=path_of, default=Path("mixture.yaml"), help="the recipe (default: %(default)s)")
    parser.add_argument("--out", type=path_of, help="output folder (default: the recipe's name without its suffix)")
    parser.add_argument("--robot-frac", help="fraction of examples that are robot steps: 0.5, 2/3 or 50%%")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a value of the recipe")
    parser.add_argument("--overwrite", action="store_true", help="replace a different complete mixture in the output folder")
    parser.add_argument("--restart", action="store_true", help="discard an unfinished build in the output folder")
    parser.add_argument("--allow-bad", action="store_true", help="build even if more rows are faulty than max_bad allows")
    return deployed.parse_ours(parser, arguments)


def run(arguments: Sequence[str]) -> None:
    """Build as the arguments say; waits for the job where the runner allows it."""
    asked, beam_options = parse(arguments)
    from rt2data.beam.run import build_anywhere
    from rt2data.build import Site
    from rt2data.plan.recipe import read_recipe

    recipe = read_recipe(asked.recipe, overrides=tuple(asked.set), robot_frac=asked.robot_frac, check=True)
    site = Site(absolute(asked.out or asked.recipe.with_suffix("")), asked.overwrite, asked.restart)
    build_anywhere(recipe, site, beam_options, asked.allow_bad)


if __name__ == "__main__":
    deployed.main("build_mixture", run)
