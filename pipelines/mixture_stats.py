"""Take statistics with any of Beam's runners: what `rt2data stats --json` prints, as a file, for runs on a schedule.

    python pipelines/mixture_stats.py --path /shared/mixture --out /shared/stats/mixture.json --runner=DataflowRunner --project=...

Everything that is not listed by --help goes to Beam. What it reads and writes must lie where every worker sees it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from rt2data.beam import deployed
from rt2data.io.location import absolute, path_of


def parse(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Our own options, and the rest, which are Beam's."""
    parser = deployed.our_parser(__doc__)
    parser.add_argument(
        "--path", type=path_of, default=Path("mixture"), help="a mixture, recipe, store or source (default: mixture)"
    )
    parser.add_argument("--out", type=path_of, default=Path("stats.json"), help="the file to write (default: %(default)s)")
    parser.add_argument("--split", help="only this split (default: all)")
    parser.add_argument("--codec", help="codec for actions (default: the recipe's, or rt2)")
    parser.add_argument("--recipe", type=path_of, help="a recipe that says how the rows of a store become tokens")
    parser.add_argument("--store", type=path_of, help="folder of prepared stores (default: the recipe's, or the cache)")
    parser.add_argument("--force", action="store_true", help="replace a file that holds no statistics")
    return deployed.parse_ours(parser, arguments)


def run(arguments: Sequence[str]) -> None:
    """Take statistics as the arguments say; the file is whole or absent."""
    asked, beam_options = parse(arguments)
    from rt2data.beam.stats import stats_anywhere
    from rt2data.look.stats.find import Question

    question = Question(asked.path, asked.split, asked.codec, asked.recipe, asked.store)
    stats_anywhere(question, absolute(asked.out), beam_options, asked.force)


if __name__ == "__main__":
    deployed.main("mixture_stats", run)
