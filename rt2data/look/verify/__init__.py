"""Checking a finished output again from its bytes: every shard, every record, every number in the manifest."""

from rt2data.look.verify.findings import Fault, Findings, ShardSeen
from rt2data.look.verify.whole import verify

__all__ = ["Fault", "Findings", "ShardSeen", "verify"]
