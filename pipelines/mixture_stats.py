"""Take statistics with any of Beam's runners: what `rt2data stats --runner` does, as a main.

    python pipelines/mixture_stats.py --path /shared/mixture --out /shared/stats/mixture.json --runner=DataflowRunner --project=...

Options that --help does not list are passed to Beam. Inputs and output must be in an object store, or on a path that all
workers share.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from rt2data.beam import deployed
from rt2data.io.location import absolute


def parse(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Our own options, and the remaining arguments, which are Beam's."""
    return deployed.STATS.parse(arguments, __doc__)


def run(arguments: Sequence[str]) -> None:
    """Compute statistics as the arguments say; the file is written whole or not at all."""
    asked, _ = parse(arguments)
    with deployed.failures_told(asked.failure_file):
        from rt2data.beam.run import Watch
        from rt2data.beam.stats import stats_anywhere
        from rt2data.look.stats.subject import Question

        question = Question(asked.path, asked.split, asked.codec, asked.recipe, asked.store)
        stats_anywhere(question, absolute(asked.out), arguments, asked.force, Watch(asked.failure_file))


if __name__ == "__main__":
    deployed.main("mixture_stats", run)
