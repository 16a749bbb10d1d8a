"""The work of worker processes: imported once by their fork server, so that a worker starts in milliseconds."""

# ruff: noqa: E402
from rt2data.engines.outcome import collect_seldom

collect_seldom()  # during the following imports too

from rt2data.prepare.compact import write_blobs, write_places, write_spill
from rt2data.prepare.gather import gather_rows
from rt2data.prepare.runs import write_run
from rt2data.prepare.unit import prepare_unit
from rt2data.write.shard import write_shard

__all__ = ["gather_rows", "prepare_unit", "write_blobs", "write_places", "write_run", "write_shard", "write_spill"]
