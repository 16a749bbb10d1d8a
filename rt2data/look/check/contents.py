"""Separate checks of numbers, times, instructions, success marks and episodes: missing, constant, repeated or inconsistent ones."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import xxhash

from rt2data.look.check.episode import Episode
from rt2data.look.check.log import Log
from rt2data.look.check.result import Result, judged, passed, skipped
from rt2data.tally.moments import F64

FEW_STEPS = 20
LOST = 0.02
"""Tolerated share of damaged episodes, as in a recipe's max_bad."""


def readable(log: Log) -> Result:
    """Records that were damaged."""
    measured = f"{len(log.episodes):,} episodes, {len(log.steps):,} steps, {len(log.rejects)} faults"
    if not log.rejects:
        return passed(measured)
    first, failed = log.rejects[0], len(log.rejects) > LOST * len(log.episodes)
    return judged(failed, measured, f"damaged, such as {first.reason} at {first.where}", "fetch the file again")


def finite(log: Log) -> Result:
    """NaN and Inf in actions and states."""
    state = log.steps.state
    actions = int((~np.isfinite(log.steps.action)).any(axis=1).sum())
    states = 0 if state is None else int((~np.isfinite(state)).any(axis=1).sum())
    measured = f"{actions} actions, {states} states of {len(log.steps):,} steps"
    if not actions and not states:
        return passed(measured)
    return judged(True, measured, "NaN or Inf in actions or states", "fix the log: a build rejects such actions")


# Dimensions

WILD = 50.0
"""Factor of the 99 % quantile beyond which a value is an outlier. Meta-World's unclipped policies reach 12 times, all others here
3."""


def dimensions(log: Log) -> Result:
    """Dimensions that are constant in every episode, have few values, or explode."""
    if len(log.steps) < FEW_STEPS:
        return skipped(f"only {len(log.steps)} steps")
    action = np.where(np.isfinite(log.steps.action), log.steps.action, 0).astype(np.float64)
    changes = np.diff(action, axis=0)[log.steps.consecutive[1:]]
    constant = [i for i in range(log.dims) if i != log.space.terminate and not changes[:, i].any()]
    few = [i for i in log.arm if i not in constant and len(np.unique(action[:, i])) <= 3 and log.space.dims[i].kind == "continuous"]
    wild = [i for i in log.arm if _explodes(np.abs(action[:, i]))]
    measured = f"{len(constant)} constant, {len(few)} with few values, {len(wild)} explode, of {log.dims}"
    frozen = [i for i in constant if i in log.own and i not in log.space.grippers and _moves(log, log.own[i])]
    if frozen:
        return judged(True, measured, f"{_names(log, frozen)} never moves, but the state does", "check what is recorded there")
    if wild:
        return judged(False, measured, f"{_names(log, wild)}: single values far out of range", "find them, or bound the dimension")
    if constant or few:
        what = f"{_names(log, constant)} never moves" if constant else f"{_names(log, few)} has 3 values or fewer"
        return judged(False, measured, what, "remove the dimension, or find out why it is not used")
    return passed(measured)


def _explodes(sizes: F64) -> bool:
    return bool(sizes.max() > WILD * max(float(np.quantile(sizes, 0.99)), 1e-6))


def _moves(log: Log, j: int) -> bool:
    """Whether a state dimension moves as much as the others."""
    state = log.steps.state
    if state is None or j >= state.shape[1]:
        return False
    changes = np.abs(np.diff(state.astype(np.float64), axis=0))[log.steps.consecutive[1:]]
    return bool(np.nanmean(changes[:, j] > 1e-4) > 0.3)


def _names(log: Log, dims: Sequence[int]) -> str:
    said = [log.space.names[i] for i in dims[:4]]
    return ", ".join(said) + (f" and {len(dims) - 4} more" if len(dims) > 4 else "")


IDLE, MOSTLY_IDLE = 0.2, 0.8


def idle(log: Log) -> Result:
    """Steps that command no motion and do not move the gripper."""
    still = log.sums.same_place if (log.mode or log.looks) == "absolute" else log.sums.still
    share = still / max(len(log.steps), 1)
    measured = f"{share:.1%} of the steps"
    if share <= IDLE:
        return passed(measured)
    return judged(share > MOSTLY_IDLE, measured, "the robot stands still in many steps", "drop them: filters: {noop: 0.0001}")


# Time


def rate(log: Log) -> Result:
    """Timestamps against the declared rate; jitter, gaps, and time that does not advance."""
    between = np.diff(log.steps.timestamp)[log.steps.consecutive[1:]]
    between = between[np.isfinite(between)]
    if not len(between):
        return skipped("the log has no timestamps")
    back, forward = int((between <= 0).sum()), between[between > 0]
    if not len(forward):
        return judged(True, "0 Hz", "time never advances", "check in which unit timestamps are: seconds are expected")
    low, middle, high = np.quantile(forward, (0.25, 0.5, 0.75))
    hz, jitter, gaps = 1 / middle, (high - low) / middle, int((forward > 1.5 * middle).sum())
    measured = f"{hz:.3g} Hz, jitter {jitter:.0%}, {gaps} gaps, {back} times back"
    if log.hz and not 1 / OFF_RATE < hz / log.hz < OFF_RATE:
        what = f"steps are {hz:.3g} a second, declared are {log.hz:g}"
        return judged(True, measured, what, "set control_hz to the true rate, or resample where the log is written")
    if back:
        do = "sort the steps, or drop repeated ones"
        return judged(back > 0.01 * len(between), measured, "time does not advance at some steps", do)
    if jitter > JITTER or gaps > 0.01 * len(between):
        do = "resample where the log is written: policies assume equal steps"
        return judged(False, measured, "steps are not equally long", do)
    return passed(measured)


OFF_RATE = 1.2
"""Rates that differ by a smaller factor count as equal: 30 Hz cameras are logged at 29.97 to 33."""
JITTER = 0.25


# Words

PLACEHOLDER = re.compile(
    r"n/?a|none|null|nan|todo|tbd|test|dummy|task|default|unknown|instruction|language[ _]instruction|-+|\.+|\?+", re.IGNORECASE
)


def language(log: Log) -> Result:
    """Instructions that are empty, placeholders, or the same everywhere."""
    words = [text.strip() for each in log.episodes for text in each.words]
    blank = [text for text in words if not text or PLACEHOLDER.fullmatch(text)]
    measured = f"{len(set(words))} different, {len(blank) / max(len(words), 1):.0%} blank"
    if blank:
        what = f"{len(blank)} of {len(words)} instructions say nothing" + (f", such as {blank[0]!r}" if blank[0] else "")
        do = "give them words, or let the recipe drop them (blank_instruction)"
        return judged(len(blank) * 2 > len(words), measured, what, do)
    if len(log.episodes) < 2:
        return skipped("only one episode", measured)
    if len(set(words)) == 1:
        return judged(False, measured, "all episodes have the same instruction", "a model learns to ignore words that never change")
    return passed(measured)


# Episodes


def lengths(log: Log) -> Result:
    """Episodes that are too short or incomplete."""
    sizes = np.array([len(each) for each in log.episodes])
    short = int((sizes < 2).sum())
    partial = sum(len(each) != each.length or bool((np.diff(each.steps) != 1).any()) for each in log.episodes)
    measured = f"{sizes.min()} to {sizes.max()} steps, median {np.median(sizes):g}, {short} of one step"
    if not short and not partial:
        return passed(measured)
    what = f"{short} episodes have one step" if short else f"{partial} episodes lack steps"
    return judged(2 * max(short, partial) > len(sizes), measured, what, "drop them: filters: {min_steps: ...}")


def success(log: Log) -> Result:
    """Success marks, and whether they agree with the reward."""
    marks = Counter(each.success for each in log.episodes)
    known = marks[True] + marks[False]
    if not known:
        return skipped("the log marks no success")
    against = sum(each.success is False and bool(np.nan_to_num(each.rewards)[-1] > 0) for each in log.episodes)
    measured = f"{marks[True]} of {known} are successes"
    if against:
        do = "check which mark is right: terminate follows it"
        return judged(False, measured, f"{against} failures end with a reward above 0", do)
    if not marks[True]:
        do = "check the mark: no step will carry the terminate token"
        return judged(False, measured, "no episode is a success", do)
    if marks[False]:
        return judged(False, measured, "failures are among the episodes", "keep successes only: filters: {success: true}")
    return passed(measured)


# Duplicates

MANY = 0.05
NEAR = 1e-2
"""Mean difference of two episodes, in standard deviations of the log, below which they are near duplicates. Different episodes of
the same task differ by .3 or more in the logs here."""


def duplicates(log: Log) -> Result:
    """Duplicate episodes: (nearly) the same numbers, and the same first and last images."""
    if len(log.episodes) < 2:
        return skipped("only one episode")
    exact, near = _repeats(log, [_digest(each) for each in log.episodes]), list(_near(log))
    pairs = dict.fromkeys([*exact, *near])
    measured = f"{len(exact)} exact, {len(set(near) - set(exact))} near, of {len(log.episodes):,}"
    if not pairs:
        return passed(measured)
    a, b = next(iter(pairs))
    torn = any(one.split != other.split for one, other in ((log.episodes[i], log.episodes[j]) for i, j in pairs))
    where = ", in different splits" if torn else ""
    what = f"{len(pairs)} episodes are there twice{where}, such as {log.episodes[b].name} and {log.episodes[a].name}"
    return judged(torn or len(pairs) > MANY * len(log.episodes), measured, what, "remove them where the log is written")


def _digest(episode: Episode) -> str:
    ends = [seen.hashes[at].tobytes() for seen in episode.cameras.values() if len(seen.hashes) for at in (0, -1)]
    return xxhash.xxh3_128_hexdigest(episode.action.tobytes() + b"".join(ends))


def _repeats(log: Log, digests: Sequence[str]) -> list[tuple[int, int]]:
    """Pairs of each repeated episode with its first occurrence."""
    first: dict[str, int] = {}
    return [(first[digest], i) for i, digest in enumerate(digests) if first.setdefault(digest, i) != i]


def _near(log: Log) -> Iterator[tuple[int, int]]:
    """Pairs of equally long episodes whose actions and states hardly differ."""
    if len(log.steps) < FEW_STEPS:
        return
    spread = np.maximum(np.nanstd(log.steps.action.astype(np.float64), axis=0), 1e-9)
    groups: dict[int, list[int]] = {}
    for i, each in enumerate(log.episodes):
        groups.setdefault(len(each), []).append(i)
    for length, members in groups.items():
        if length > 2 and len(members) > 1:
            flat = np.stack([(log.episodes[i].action / spread).ravel() for i in members])
            yield from ((members[a], members[b]) for a, b in _close(np.nan_to_num(flat)))


def _close(flat: F64) -> Iterator[tuple[int, int]]:
    """Rows of [n, m] that differ from an earlier row by less than NEAR on average; each paired with the first such row."""
    for b in range(1, len(flat)):
        apart = np.sqrt(np.mean((flat[:b] - flat[b]) ** 2, axis=1))
        if apart.min() < NEAR:
            yield int(apart.argmin()), b
