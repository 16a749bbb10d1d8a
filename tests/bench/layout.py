"""Lays out a plan of 1e10 or more examples, in a process of its own: `python -m tests.bench.layout EXAMPLES SHARDS one|all`."""

from __future__ import annotations

import sys

import numpy as np

from rt2data.order import EvenEnds, SidedQuotas
from tests.test_order import huge


def main(examples: int, shards: int, which: str) -> None:
    """`one`: a hundred shards anywhere, each as if by another worker. `all`: every shard in order."""
    sides, ends = huge(examples), EvenEnds(examples, shards)
    if which == "all":
        quotas = SidedQuotas(sides, ends)
        for shard in range(shards + 1):
            quotas.at(shard)
        return
    for shard in np.random.default_rng(0).integers(0, shards, 100).tolist():
        alone = SidedQuotas(sides, ends)
        alone.at(shard), alone.at(shard + 1)


if __name__ == "__main__":
    main(int(float(sys.argv[1])), int(float(sys.argv[2])), sys.argv[3])
