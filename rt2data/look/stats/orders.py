"""All work orders of statistics, and who carries them out: what workers import, and nothing else."""

from __future__ import annotations

from rt2data.look.stats.episodes import EpisodesOrder, sum_episodes
from rt2data.look.stats.records import LayOrder, lay_shard
from rt2data.look.stats.rows import RowsOrder, sum_rows
from rt2data.look.stats.second import ValuesOrder, look_again
from rt2data.tally.sums import Sum

Order = LayOrder | RowsOrder | EpisodesOrder | ValuesOrder


def carry_out(order: Order) -> Sum:
    """Do what an order asks for. Raises DataError where what it names cannot be read."""
    match order:
        case LayOrder():
            return lay_shard(order)
        case RowsOrder():
            return sum_rows(order)
        case EpisodesOrder():
            return sum_episodes(order)
        case ValuesOrder():
            return look_again(order)
