"""Take statistics with any of Beam's runners: the output of `rt2data stats --json`, written to a file.

    python pipelines/mixture_stats.py --path /shared/mixture --out /shared/stats/mixture.json --runner=DataflowRunner --project=...

Options that --help does not list are passed to Beam. Inputs and output must be in an object store, or on a path that all
workers share.
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
    parser.add_argument(
        "--path", type=path_of, default=Path("mixture"), help="a mixture, recipe, store or source (default: mixture)"
    )
    parser.add_argument("--out", type=path_of, default=Path("stats.json"), help="the file to write (default: %(default)s)")
    parser.add_argument("--split", help="only this split (default: all)")
    parser.add_argument("--codec", help="codec for actions (default: the recipe's, or rt2)")
    parser.add_argument("--recipe", type=path_of, help="recipe with the template, codec and tokenizer for a store")
    parser.add_argument("--store", type=path_of, help="folder of prepared stores (default: the recipe's, or the cache)")
    parser.add_argument("--force", action="store_true", help="replace a file that is not a statistics file")
    return deployed.parse_ours(parser, arguments)


def run(arguments: Sequence[str]) -> None:
    """Take statistics as the arguments say; the file is whole or absent."""
    asked, beam_options = parse(arguments)
    from rt2data.beam.stats import stats_anywhere
    from rt2data.look.stats.subject import Question

    question = Question(asked.path, asked.split, asked.codec, asked.recipe, asked.store)
    stats_anywhere(question, absolute(asked.out), beam_options, asked.force)


if __name__ == "__main__":
    deployed.main("mixture_stats", run)
