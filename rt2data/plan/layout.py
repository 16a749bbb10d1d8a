"""Which shards go where. Either all in one folder, repeats and all; or, with `materialize: once`, each source by itself.

`once` writes every row that is drawn at all a single time. How often it is to be read is the weight of its part: an exact share of
all examples, as small whole numbers. So a source that is repeated twenty times takes no more space than one that is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import gcd, lcm

import numpy as np

from rt2data.errors import UsageError
from rt2data.formats.base import Format
from rt2data.order import I64, boundaries
from rt2data.plan.plan import MixturePart, Plan, SourcePlan


def part_weights(sources: Sequence[SourcePlan]) -> list[int]:
    """The shares as whole numbers in the same proportions, as small as can be."""
    shares = [Fraction(source.share) for source in sources]
    whole = lcm(*(share.denominator for share in shares))
    weights = [int(share * whole) for share in shares]
    return [weight // (gcd(*weights) or 1) for weight in weights]


def make_parts(sources: Sequence[SourcePlan], shards: Sequence[int]) -> tuple[MixturePart, ...]:
    """A part for each source, in their order. Raises UsageError where a source would have none of the examples."""
    for source in sources:
        if not source.draws:
            raise UsageError(f"source {source.name} would not be drawn at all", "size", "ask for more examples, or leave it out")
    return tuple(
        MixturePart(source=source.name, examples=min(source.draws, source.rows), shards=count, weight=weight)
        for source, count, weight in zip(sources, shards, part_weights(sources), strict=True)
    )


def parts_layout(plan: Plan, parts: Sequence[MixturePart]) -> I64:
    """First draw of each source in each shard, int64[shards, sources], and one row past the last."""
    placed = np.zeros((plan.shards + 1, len(parts)), np.int64)
    first = 1
    for number, part in enumerate(parts):
        placed[first : first + part.shards, number] = boundaries(part.examples, part.shards)
        placed[first + part.shards :, number] = part.examples
        first += part.shards
    return placed


def shard_file(plan: Plan, form: Format, index: int, shards: int) -> str:
    """Path of a shard of `shards`, from the output's folder."""
    for part in plan.parts or ():
        if index < part.shards:
            return f"{part.source}/{form.shard_name(index, part.shards, plan.split)}"
        index -= part.shards
    return form.shard_name(index, shards, plan.split)
