"""Checks a finished output from its bytes: every shard, every record, every number in the manifest."""

from rt2data.look.verify.findings import Fault, Findings, ShardFindings
from rt2data.look.verify.output import verify

__all__ = ["Fault", "Findings", "ShardFindings", "verify"]
