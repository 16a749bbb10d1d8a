"""The table of checks: a new one is a function and one line here."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from rt2data.look.check import commands, contents, pictures, published
from rt2data.look.check.log import Log
from rt2data.look.check.result import Checked, Result


class Check(NamedTuple):
    """One check."""

    name: str
    title: str
    find: Callable[[Log], Result]


CHECKS: tuple[Check, ...] = (
    Check("readable", "episodes can be read", contents.readable),
    Check("finite", "numbers are finite", contents.finite),
    Check("lengths", "episodes are whole", contents.lengths),
    Check("delta", "delta or absolute, as declared", commands.delta_or_absolute),
    Check("units", "units of action and state", commands.units),
    Check("axes", "each axis moves itself", commands.axes),
    Check("sign", "each axis moves its way", commands.signs),
    Check("lag", "actions come before motion", commands.lag),
    Check("gripper_sign", "the gripper opens when told", commands.gripper_sign),
    Check("gripper_values", "range of the gripper", commands.gripper_values),
    Check("wrap", "angles do not jump", commands.wraps),
    Check("dimensions", "every dimension is used", contents.dimensions),
    Check("rate", "timestamps", contents.rate),
    Check("idle", "steps without motion", contents.idle),
    Check("language", "instructions", contents.language),
    Check("cameras", "cameras show something", pictures.blank_cameras),
    Check("stale", "images are new", pictures.stale_images),
    Check("image_lag", "images are of their step", pictures.image_lag),
    Check("upright", "images are upright", pictures.upright),
    Check("up", "what rises goes up in images", pictures.what_rises),
    Check("channels", "red is red", pictures.channels),
    Check("duplicates", "no episode is there twice", contents.duplicates),
    Check("success", "marks of success", contents.success),
    Check("published", "published statistics", published.agrees),
)


def check(log: Log) -> tuple[Checked, ...]:
    """All checks of a log of at least one episode, in the order of the table."""
    return tuple(_checked(each, each.find(log)) for each in CHECKS)


def _checked(each: Check, found: Result) -> Checked:
    return Checked(each.name, each.title, found.status, found.measured, found.what, found.do)
