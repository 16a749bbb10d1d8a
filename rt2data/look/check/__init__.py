"""Checks of the conventions of a raw robot log, before it is prepared: units, signs, frames, lags, images, words."""

from rt2data.look.check.log import Log
from rt2data.look.check.reading import read_log
from rt2data.look.check.result import Checked, Status
from rt2data.look.check.table import CHECKS, check

__all__ = ["CHECKS", "Checked", "Log", "Status", "check", "read_log"]
