"""How much work a plan is, for whoever prices it: from a trial run where there was one, else from built-in rates."""

from __future__ import annotations

from rt2data.forecast.cost import RATES, Labour, builtin_cpu_s
from rt2data.forecast.outlook import Outlook
from rt2data.prepare.merge_rows import ROWS_PER_FILE

SPREAD = (0.5, 2.0)
"""Built-in rates are of another machine and of pictures of 50 KB: taken to be right within a factor of two."""


def labour_of(found: Outlook) -> Labour:
    """The work orders of a plan and what they take."""
    fresh = {s.name: s for s in found.sources if s.name in found.estimates}
    units = sum(each.units for each in found.estimates.values())
    files = sum(-(-source.rows // ROWS_PER_FILE) for source in fresh.values())
    read = sum(each.reads for each in found.estimates.values())
    cpu_s, cpu_from = _cpu(found, sum(source.rows for source in fresh.values()), read)
    return Labour(
        cpu_s=cpu_s,
        cpu_from=cpu_from,
        orders=2 * (units + files + found.shards),
        lanes=max(units, found.shards),
        read_bytes=read + found.bytes,
        write_bytes=found.bytes,
    )


def _cpu(found: Outlook, rows: int, read: int) -> tuple[tuple[float, float], str]:
    if found.canary is not None:
        cpu, spread = found.canary.cpu_s, min(found.canary.rates.scatter, 0.9)
        return (cpu * (1 - spread), cpu * (1 + spread)), f"canary of {found.canary.asked}"
    cpu = builtin_cpu_s(rows, read, sum(map(found.written, found.sources)), found.bytes)
    return (cpu * SPREAD[0], cpu * SPREAD[1]), f"{RATES}; pictures that are decoded or resized take more: give --canary"
