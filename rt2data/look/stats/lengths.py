"""Sums over examples as they are trained on: how many tokens."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from rt2data.look.stats.model import Tokens
from rt2data.look.stats.spreads import spread
from rt2data.tally.counts import Counts, bars, count
from rt2data.tally.sums import Sum


class LengthSums(Sum, frozen=True, eq=False):
    """Lengths in tokens."""

    prompt: Counts = msgspec.field(default_factory=Counts)
    target: Counts = msgspec.field(default_factory=Counts)  # with the end token
    whole: Counts = msgspec.field(default_factory=Counts)

    def summary(self, limit: int | None) -> Tokens:
        """With what the recipe allows."""
        over = 0 if limit is None else int(self.whole.counts[self.whole.keys > limit].sum())
        return Tokens(
            prompt=spread(self.prompt),
            target=spread(self.target),
            whole=spread(self.whole),
            limit=limit,
            over=over,
            target_lengths=bars(self.target),
            whole_lengths=bars(self.whole),
        )


def sum_lengths(prompt: Sequence[int], whole: Sequence[int]) -> LengthSums:
    """Of some examples: tokens of the prompt, and of all."""
    before, all_ = np.array(prompt, np.int64), np.array(whole, np.int64)
    return LengthSums(count(before), count(all_ - before), count(all_))
