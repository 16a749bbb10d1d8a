"""Checks of actions against the resulting motion: delta or absolute, units, axes, signs, lag, gripper, angles.

All are based on correlations of actions with states and their changes (`look.stats.motion`). Scale does not change a correlation,
so a wrong unit shows only in the slope, and a wrong order of steps in the lag at which most dimensions correlate best.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import sqrt

import numpy as np

from rt2data.look.check.log import CLEAR, Log, at_no_lag, slopes
from rt2data.look.check.result import Result, judged, passed, skipped
from rt2data.look.stats.motion import NO_LAG
from rt2data.read.action_space import Dim

SURE = 4.0
"""Required standard errors of a correlation."""
FITTING = 0.5
"""Minimum correlation for a slope to be meaningful."""
OFF, FAR_OFF = 2.5, 8.0
"""Limits for a slope, as a factor too large or too small. Correct logs here have .25 (robosuite, whose arm lags behind its
commands) to 1.1; degrees give a factor of 57, centimetres 100, millimetres 1,000."""
DELAY = 0.15
"""Seconds by which a robot may lag behind its commands: Meta-World's arm .04, ALOHA's .06, G1's .1; one step of Bridge is .2."""


def delta_or_absolute(log: Log) -> Result:
    """Whether actions follow the state or its change, compared with the action space."""
    if why := log.without_motion():
        return skipped(why)
    assert log.found is not None
    level = float(np.median([abs(log.found.level[i, j]) for i, j in log.paired.items()]))
    change = float(np.median([np.abs(log.found.change[:, i, j]).max() for i, j in log.paired.items()]))
    measured = f"with state {level:.2f}, with its change {change:.2f}"
    looks = {"absolute": "positions", "delta": "displacements", None: "unclear"}[log.looks]
    if log.mode == "velocity":
        return skipped("a velocity may be in the state, or change it", measured)
    if log.mode is None:
        return skipped(f"the action space has no control_mode; they look like {looks}", measured)
    if log.looks is None:
        return skipped("neither is clear", measured)
    if log.looks == log.mode:
        return passed(measured)
    do = "name the action space whose control_mode fits"
    return judged(True, measured, f"declared {log.mode}, but actions look like {looks}", do)


# Units


def factor(dim: Dim) -> tuple[str, float] | None:
    """The kind of unit of a dimension (`m` or `rad`), and the conversion factor to it; None for other units."""
    number, _, unit = dim.unit.removesuffix("/s").rpartition(" ")
    known = {"m": ("m", 1.0), "cm": ("m", 0.01), "mm": ("m", 0.001), "rad": ("rad", 1.0), "deg": ("rad", np.pi / 180)}
    try:
        kind, size = known[unit]
        return kind, size * float(number or 1)
    except (KeyError, ValueError):
        return None


def units(log: Log) -> Result:
    """How much the state changes per unit of an action: near 1 if both have the declared units."""
    if why := log.without_motion():
        return skipped(why)
    kinds: dict[str, list[float]] = {}
    for i, ratio in _ratios(log):
        kinds.setdefault((factor(log.space.dims[i]) or ("", 0))[0], []).append(ratio)
    if not kinds:
        return skipped("no dimension with a known unit follows its command closely")
    found = {kind: float(np.median(ratios)) for kind, ratios in kinds.items()}
    measured = ", ".join(f"{kind} x {ratio:.3g}" for kind, ratio in sorted(found.items()))
    wrong = {kind: ratio for kind, ratio in found.items() if not 1 / OFF < ratio < OFF}
    if not wrong:
        return passed(measured)
    said = [f"{ratio:.3g} times what is commanded in {kind}{_guess(ratio)}" for kind, ratio in wrong.items()]
    what = f"the state changes by {'; '.join(said)}"
    failed = log.mode is not None and any(not 1 / FAR_OFF < ratio < FAR_OFF for ratio in wrong.values())
    return judged(failed, measured, what, "convert where the log is written, or give the action space its true units")


def _ratios(log: Log) -> Iterator[tuple[int, float]]:
    """Dimensions, and the magnitude of their slopes relative to what the unit implies. Signs are checked separately."""
    assert log.found is not None
    by_change, by_level = slopes(at_no_lag(log.sums), log.dims), slopes(log.sums.level, log.dims)
    for i, j in log.paired.items():
        unit = factor(log.space.dims[i])
        changes, levels = abs(log.found.change[NO_LAG, i, j]), abs(log.found.level[i, j])
        absolute = (log.looks or log.mode) == "absolute"
        if unit is None or max(changes, levels) < FITTING:
            continue
        if absolute:
            yield i, abs(by_level[i, j])
        elif log.mode == "velocity":
            yield from _of_velocity(log, i, abs(by_level[i, j]), abs(by_change[i, j]), levels > changes)
        elif changes >= FITTING:
            yield i, abs(by_change[i, j]) / unit[1]


def _of_velocity(log: Log, i: int, level: float, change: float, measured: bool) -> Iterator[tuple[int, float]]:
    """Ratios for a commanded velocity: it should equal a velocity in the state; otherwise it changes the state by that much per
    second.
    """
    if measured:
        yield i, level
    elif log.hz:
        yield i, change * log.hz


def _guess(ratio: float) -> str:
    """A possible explanation of a ratio, within a factor of 2.5."""
    known = {180 / np.pi: "degrees and radians", 1000.0: "millimetres and metres", 100.0: "centimetres and metres"}
    size = max(ratio, 1 / ratio)
    near = min(known, key=lambda each: abs(np.log(each / size)))
    return f", as {known[near]} are" if abs(np.log(near / size)) < np.log(OFF) else ""


# Axes and signs


def axes(log: Log) -> Result:
    """Whether each dimension moves its own state dimension, and not another's."""
    if why := log.without_motion():
        return skipped(why)
    assert log.moved is not None
    size = np.abs(log.moved.change).max(axis=0)
    best = {i: int(size[i].argmax()) for i in log.arm if size[i].max() > CLEAR}
    if not best:
        return skipped("no dimension correlates clearly")
    own = log.own or {i: i for i in log.arm if i < size.shape[1]}  # without names: only swapped dimensions are suspicious
    moved = {i: j for i, j in best.items() if i in own and j != own[i] and size[i, j] > max(size[i, own[i]] + 0.2, FITTING)}
    if (log.looks or log.mode) == "absolute":
        moved |= dict(_nearer(log, own))
    taken = _exchanged(moved, own)
    measured = f"{len(best)} clear, {len(taken)} elsewhere"
    if not taken:
        return passed(measured) if log.own else skipped("which state dimension belongs to which is not known", measured)
    said = ", ".join(f"{log.space.names[i]} moves s_{j}" for i, j in taken.items())
    failed = bool(log.own) and log.mode is not None
    return judged(failed, measured, f"axes are swapped: {said}", "put the action (or the state) into the order that is declared")


def _nearer(log: Log, own: dict[int, int]) -> Iterator[tuple[int, int]]:
    """Positions that follow another state dimension much more closely than their own, with little left unexplained."""
    assert log.found is not None
    level = np.abs(log.found.level)
    for i in own:
        j = int(level[i].argmax())
        left, own_left = 1 - level[i, j] ** 2, 1 - level[i, own[i]] ** 2
        if j != own[i] and level[i, j] > 0.9 and own_left > 4 * left:
            yield i, j


def _exchanged(moved: dict[int, int], own: dict[int, int]) -> dict[int, int]:
    """Dimensions that swap places: a single quiet joint may just drift along with another."""
    while moved:
        free = {own[i] for i in moved}
        kept = {i: j for i, j in moved.items() if j in free and own[i] in moved.values()}
        if kept == moved:
            break
        moved = kept
    return moved


def signs(log: Log) -> Result:
    """Whether the state moves the way it is commanded, dimension by dimension."""
    if why := log.without_motion():
        return skipped(why)
    assert log.moved is not None and log.found is not None
    clear = {i: log.best_lag(i, j)[1] for i, j in log.paired.items() if abs(log.best_lag(i, j)[1]) > CLEAR}
    if (log.looks or log.mode) == "absolute":  # positions are clearer than their changes
        clear |= {i: float(log.found.level[i, j]) for i, j in log.paired.items() if abs(log.found.level[i, j]) > 0.9}
    if not clear:
        return skipped("no dimension correlates clearly")
    if not log.own:
        return skipped("which state dimension belongs to which is not known", f"{len(clear)} clear")
    negative = [i for i, correlation in clear.items() if correlation < 0]
    measured = f"{len(negative)} of {len(clear)} clear ones negative"
    if not negative:
        return passed(measured)
    said = ", ".join(f"{log.space.names[i]} {clear[i]:.2f}" for i in negative)
    do = "turn the sign of these dimensions, or check in which frame action and state are given"
    return judged(log.mode is not None, measured, f"the state moves against the command: {said}", do)


def lag(log: Log) -> Result:
    """The shift of most dimensions between a command and the resulting motion."""
    if why := log.without_motion():
        return skipped(why)
    found = [log.best_lag(i, j) for i, j in log.paired.items()]
    votes = [shift for shift, correlation in found if abs(correlation) > CLEAR]
    common = min(set(votes), key=lambda each: (-votes.count(each), abs(each)), default=0)
    share = votes.count(common) / max(len(votes), 1)
    if share <= 0.5 or len(votes) < 2:
        return skipped("dimensions do not agree on one", f"{len(votes)} clear, {share:.0%} of them at {common:+d}")
    after = f", {common / log.hz:+.2f} s" if log.hz and common else ""
    measured = f"{common:+d} steps in {votes.count(common)} of {len(votes)}{after}"
    do = "shift the actions against the observations where the log is written"
    if common < 0:
        return judged(log.mode is not None, measured, f"the robot moves {-common} steps before it is commanded", do)
    if common and common / (log.hz or 1) >= DELAY:
        return judged(False, measured, f"the robot moves {common} steps after it is commanded: a slow robot, or a shift", do)
    return passed(measured)


# Gripper


def gripper_sign(log: Log) -> Result:
    """Whether the gripper opens when commanded to open, if the state has its opening."""
    if not log.space.grippers:
        return skipped("the action space has no gripper")
    if log.found is None or log.pairs_of_steps < FEW_COMMANDS:
        return skipped(log.without_motion())
    found = {i: agreement for i in log.space.grippers if (agreement := _agreement(log, i)) is not None}
    if not found:
        return skipped("the state does not say how far it is open, or it never moves")
    measured = ", ".join(f"{log.space.names[i]} {each:+.2f}" for i, each in found.items())
    wrong = [log.space.names[i] for i, each in found.items() if each < 0]
    if not wrong:
        return passed(measured)
    do = "set gripper_open for this source; nothing is wrong if the state measures how closed it is"
    what = f"{', '.join(wrong)}: commanded to open, the measured opening falls"
    return judged(all(i in log.own for i in found), measured, what, do)


FEW_COMMANDS = 20
"""Minimum pairs of steps to check a gripper's sign."""


def _agreement(log: Log, i: int) -> float | None:
    """Correlation of the commanded opening of a gripper with its opening one step later; None if unclear."""
    assert log.found is not None
    dim = log.space.dims[i]
    j = log.own.get(i, log.found.pairs(log.states).get(i))
    if j is None or j >= log.found.level.shape[1]:
        return None
    opens = 1 if (dim.open or 0.0) > (dim.closed or 0.0) else -1
    level, change = log.found.level[i, j], log.found.change[NO_LAG, i, j]
    found = float(level if abs(level) > abs(change) else change)
    return opens * found if abs(found) > APART_FROM_CHANCE and abs(found) * sqrt(log.pairs_of_steps) > SURE else None


APART_FROM_CHANCE = 0.3
"""Minimum correlation. A gripper is paired by position, so little is enough: Bridge has .88, Meta-World .86, ALOHA .70 and .86."""
OUTSIDE = 0.05
"""Tolerated overshoot of a gripper's value, as a share of its range."""
CHATTER = 20


def gripper_values(log: Log) -> Result:
    """The range of gripper commands, how many are at its ends, and how often it opens or closes per episode."""
    if not log.space.grippers:
        return skipped("the action space has no gripper")
    shares = {i: _outside(log, i) for i in log.space.grippers}
    worst = max(shares, key=lambda i: shares[i])
    often = log.sums.transitions
    changes = f", {int(often.keys.min())} to {int(often.keys.max())} changes an episode" if len(often) else ""
    values = log.steps.action[:, worst]
    measured = f"{np.nanmin(values):.3g} to {np.nanmax(values):.3g}{changes}"
    dim = log.space.dims[worst]
    if shares[worst] > OUTSIDE and log.space.gripper_mode != "relative":
        what = f"{shares[worst]:.0%} of {dim.name} is outside of {dim.closed:g} (closed) to {dim.open:g} (open)"
        return judged(shares[worst] > 0.2, measured, what, "name the action space whose gripper fits, or set gripper_open")
    if len(often) and not often.keys.max() and len(log.episodes) > 1:
        return judged(False, measured, "it neither opens nor closes in any episode", "check whether it is recorded")
    if len(often) and np.repeat(often.keys, often.counts).mean() > CHATTER:
        return judged(False, measured, "it opens and closes all the time", "check whether it is a measurement and not a command")
    return passed(measured)


def _outside(log: Log, i: int) -> float:
    """Share of a gripper's values outside the range from closed to open."""
    dim = log.space.dims[i]
    low, high = sorted((dim.open or 0.0, dim.closed or 0.0))
    slack = OUTSIDE * (high - low)
    values = log.steps.action[:, i]
    return float(((values < low - slack) | (values > high + slack)).mean())


# Angles


def wraps(log: Log) -> Result:
    """Angles that jump by a full turn, between two steps or inside a displacement."""
    jumps = [f"action {log.space.names[i]}" for i in log.arm if _jumps(log, log.steps.action[:, i]) and log.mode != "delta"]
    turns = [log.space.names[i] for i in log.arm if log.mode == "delta" and _turns(log, i)]
    state = log.steps.state
    jumps += [f"state s_{j}" for j in range(log.states) if state is not None and _jumps(log, state[:, j])]
    measured = f"{len(turns)} displacements of a turn, {len(jumps)} numbers that jump"
    do = "take differences around the circle: a - b as ((a - b + pi) mod 2 pi) - pi"
    if turns:
        return judged(True, measured, f"differences of angles that wrap: {', '.join(turns)} has steps of more than pi", do)
    if jumps:
        return judged(False, measured, f"an angle wraps from pi to -pi: {', '.join(jumps)}", do)
    return passed(measured)


def _jumps(log: Log, values: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> bool:
    """Whether a number jumps by about a full turn, and otherwise stays between -pi and pi (or -180 and 180)."""
    change = np.abs(np.diff(values.astype(np.float64)))[log.steps.consecutive[1:]]
    for half in (np.pi, 180.0):
        low, high = np.nanmin(values, initial=0), np.nanmax(values, initial=0)
        inside = -1.05 * half < low < -0.9 * half and 0.9 * half < high < 1.05 * half
        if inside and 0 < (change > 1.5 * half).mean() < SELDOM:
            return True
    return False


def _turns(log: Log, i: int) -> bool:
    """Whether an angular displacement rarely, but sometimes, exceeds half a turn."""
    unit = factor(log.space.dims[i])
    if unit is None or unit[0] != "rad":
        return False
    values = np.abs(log.steps.action[:, i]) * unit[1]
    return bool(0 < (values > np.pi).mean() < SELDOM)


SELDOM = 0.2
"""Maximum share of steps that jump: if more, it is not wrapping but another unit, or noise."""
