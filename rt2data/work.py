"""What worker processes carry out: imported once by their fork server, so that a worker starts in milliseconds."""

from rt2data.gather import gather_rows
from rt2data.mix import write_shard
from rt2data.prepare import prepare_unit

__all__ = ["gather_rows", "prepare_unit", "write_shard"]
