"""Checks of camera images: blank, repeated, late, wrong colours, upside down."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rt2data.look.check.commands import SURE
from rt2data.look.check.episode import Episode, Seen
from rt2data.look.check.log import Log
from rt2data.look.check.result import Result, judged, passed, skipped
from rt2data.look.report.images import COOL, ENOUGH, tint
from rt2data.order import key64
from rt2data.tally.moments import F64

BLACK, FLAT = 4.0, 2.0
"""On a scale of 255: the mean brightness below which an image is black, and the spread below which it is blank. ALOHA's dark
simulator has 39."""


def cameras(log: Log) -> list[str]:
    """Names of all cameras, sorted."""
    return sorted({name for each in log.episodes for name in each.cameras})


def views(log: Log, camera: str) -> list[tuple[Episode, Seen]]:
    """The episodes that have images of a camera."""
    return [(each, each.cameras[camera]) for each in log.episodes if camera in each.cameras and len(each.cameras[camera].at)]


def showing(log: Log) -> list[str]:
    """The cameras that are not black."""
    return [name for name in cameras(log) if not is_black(log, name)]


def is_black(log: Log, camera: str) -> bool:
    """Whether all images of a camera are black."""
    seen = views(log, camera)
    return all(each.brightness.max() < BLACK for _, each in seen)


def blank_cameras(log: Log) -> Result:
    """Cameras that are black or cannot be decoded."""
    names = cameras(log)
    if not names:
        return skipped("the log has no images")
    black = [name for name in names if is_black(log, name)]
    broken = sum(seen.broken for each in log.episodes for seen in each.cameras.values())
    measured = f"{len(black)} of {len(names)} black" + (f", {broken} images cannot be decoded" if broken else "")
    if not black and not broken:
        return passed(measured)
    what = f"{', '.join(black)}: all images are black" if black else f"{broken} images cannot be decoded"
    failed = len(black) == len(names) or broken > BROKEN * _looked_at(log)
    return judged(failed, measured, what, "choose other cameras in the recipe")


BROKEN = 0.02
"""Tolerated share of broken images, as in a recipe's max_bad."""


def _looked_at(log: Log) -> int:
    return sum(len(seen.at) + seen.broken for each in log.episodes for seen in each.cameras.values())


# Motion


def motion_of(log: Log, episode: Episode) -> F64 | None:
    """How far the state moves in each step, float64[T - 1]; each dimension is relative to its spread in the log."""
    if episode.state is None or log.steps.state is None:
        return None
    spread = np.nanstd(log.steps.state.astype(np.float64), axis=0)
    change = np.abs(np.diff(episode.state.astype(np.float64), axis=0))
    moving = spread > 1e-6
    found: F64 = (change[:, moving] / spread[moving]).mean(axis=1) if moving.any() else np.zeros(len(change))
    return found


STALE, OFTEN_STALE = 0.02, 0.4
"""Thresholds for the share of moving steps whose image equals the previous step's. G1's camera, slower than its log, has .31; a
camera at half the log's rate .50; a frozen one 1; all others here 0."""


def stale_images(log: Log) -> Result:
    """Images that equal the previous step's, bit for bit, while the robot moves."""
    shares = {name: share for name in showing(log) if (share := _stale_share(log, name)) is not None}
    if not shares:
        return skipped("no images of steps in which the state moves")
    worst = max(shares, key=lambda name: shares[name])
    measured = f"{shares[worst]:.0%} of moving steps" + (f" ({worst})" if shares[worst] else "")
    if shares[worst] <= STALE:
        return passed(measured)
    what = f"{worst} shows the image before again in {shares[worst]:.0%} of the steps in which the robot moves"
    do = "check the camera's rate against the log's; leave frozen episodes out"
    return judged(shares[worst] > OFTEN_STALE, measured, what, do)


def _stale_share(log: Log, camera: str) -> float | None:
    same = moving = 0
    for episode, seen in views(log, camera):
        motion = motion_of(log, episode)
        if motion is None or len(seen.at) < 2:
            continue
        moves = seen.consecutive & (motion[np.minimum(seen.at[:-1], len(motion) - 1)] > _typical(motion))
        same += int((moves & (seen.hashes[1:] == seen.hashes[:-1])).sum())
        moving += int(moves.sum())
    return same / moving if moving >= ENOUGH_STEPS else None


def _typical(motion: F64) -> float:
    """Motion above which the robot certainly moves: half of the steps of a moving episode exceed it."""
    return max(float(np.nanmedian(motion)), 1e-4)


ENOUGH_STEPS = 10
SHIFTS = (-3, -2, -1, 0, 1, 2, 3)
RESAMPLES = 200
AGREE = 0.8
"""Required share of bootstrap samples of the episodes that give the same lag."""
FOLLOWS = 0.25
"""Minimum correlation of image change and motion for a lag to be meaningful: Bridge's cameras have .38 to .49, a drone's 0."""
MARGIN = 0.1
"""By how much the correlation must exceed that at lag 0: at 80 Hz adjacent steps are alike, and Meta-World's correct log has
.05."""


def image_lag(log: Log) -> Result:
    """The shift at which images change as the robot moves: 0 if each image belongs to its own step."""
    if log.steps.state is None:
        return skipped("the log has no state")
    found = {name: curves for name in showing(log) if len(curves := _curves(log, name))}
    clear = {name: curves for name, curves in found.items() if curves.mean(axis=0).max() > FOLLOWS}
    if not clear:
        return skipped("images do not change as the state does")
    votes = {name: _shift(curves) for name, curves in clear.items()}
    shifts = [shift for shift in votes.values() if shift is not None]
    common = max(set(shifts), key=shifts.count, default=None)
    measured = ", ".join(f"{name} {_said(shift)}" for name, shift in votes.items())
    if common is None or shifts.count(common) * 2 <= len(votes):
        return skipped("no lag is clear", measured)
    if not common:
        return passed(measured)
    seconds = abs(common) / log.hz if log.hz else 0.0
    what = f"images are {abs(common)} {'step' if abs(common) == 1 else 'steps'} {'late' if common < 0 else 'early'}"
    return judged(not log.hz or seconds > 0.15, measured, what, "shift the images against the states where the log is written")


def _said(shift: int | None) -> str:
    return "unclear" if shift is None else f"{shift:+d}" if shift else "0"


def _curves(log: Log, camera: str) -> NDArray[np.float64]:
    """float64[episodes, shifts]: correlation of a camera's changes with the motion that many steps later."""
    found = [curve for episode, seen in views(log, camera) if (curve := _curve(motion_of(log, episode), seen)) is not None]
    return np.array(found).reshape(-1, len(SHIFTS))


def _curve(motion: F64 | None, seen: Seen) -> F64 | None:
    if motion is None or len(seen.at) < 8:
        return None
    steps = np.flatnonzero(seen.consecutive)
    at = seen.at[steps]
    inside = (at + SHIFTS[0] >= 0) & (at + SHIFTS[-1] < len(motion))
    ends = steps if inside.sum() < 8 else steps[inside]
    curve = [_correlation(seen.change[ends], motion, seen.at[ends] + shift) for shift in SHIFTS]
    return np.array(curve) if np.isfinite(curve).all() else None


def _correlation(change: F64, motion: F64, at: NDArray[np.int64]) -> float:
    """The correlation over the pairs inside the episode."""
    good = (at >= 0) & (at < len(motion))
    x, y = change[good], motion[np.clip(at, 0, len(motion) - 1)[good]]
    if len(x) < 4 or not x.std() or not y.std():
        return float("nan")
    return float(np.corrcoef(x, y)[0, 1])


def _shift(curves: F64) -> int | None:
    """The best shift, 0 if none is better by MARGIN; None if other episodes might have given a different one."""
    mean, zero = curves.mean(axis=0), SHIFTS.index(0)
    best = int(mean.argmax())
    if mean[best] < mean[zero] + MARGIN:
        return 0
    rng = np.random.default_rng(key64("image lag"))
    drawn = curves[rng.integers(0, len(curves), (RESAMPLES, len(curves)))].mean(axis=1)
    agree = (drawn.argmax(axis=1) == best).mean() >= AGREE and len(curves) > 2
    return SHIFTS[best] if agree else None


# Colours and turns: one episode against the others, by the mean pictures of a camera


class Odd(NamedTuple):
    """An episode whose picture fits the others better when changed."""

    episode: str
    camera: str
    change: str
    sure: bool  # when changed, it fits as well as most others do unchanged


class Fit(NamedTuple):
    """How similar the picture of an episode is to the others' mean: correlations."""

    as_is: float
    changed: float
    change: str  # the change that fits best


Change = Callable[[F64], F64]
ALIKE = 0.35
"""Minimum correlation of a changed picture with the others' mean to conclude that it was changed. Correct pictures of Bridge reach
.23 when turned."""
BETTER = 0.25
"""By how much this must exceed the correlation of the unchanged picture."""
OUTLIER = 7.0
"""Median deviations by which an episode must stand out: in a log of many scenes, some fit better changed by chance. Alternating
brown and blue tables give 4.8; each turned episode of Bridge more than 7 in one of its cameras."""
SEVERAL = 4
"""Minimum episodes for one to differ from the others."""


def odd_ones(log: Log, picture: Callable[[NDArray[np.uint8]], F64], changes: Mapping[str, Change]) -> Iterator[Odd]:
    """Episodes whose picture resembles the others only when changed, with the change that fits best."""
    for camera in showing(log):
        seen = [(each.name, picture(found.mean)) for each, found in views(log, camera) if found.spread >= FLAT]
        if len(seen) < SEVERAL:
            continue
        fits = _fits([own for _, own in seen], changes)
        gains = np.array([each.changed - each.as_is for each in fits])
        middle = float(np.median(gains))
        limit = max(BETTER, middle + OUTLIER * float(np.median(np.abs(gains - middle))))
        usual = float(np.median([each.as_is for each in fits]))
        for (name, _), fit in zip(seen, fits, strict=True):
            if fit.changed > ALIKE and fit.changed - fit.as_is > limit:
                yield Odd(name, camera, fit.change, fit.changed >= usual)


def _fits(pictures: Sequence[F64], changes: Mapping[str, Change]) -> list[Fit]:
    """Each picture against the mean of the others."""
    total, count = np.sum(pictures, axis=0), len(pictures) - 1
    return [_fit(own, (total - own) / count, changes) for own in pictures]


def _fit(own: F64, others: F64, changes: Mapping[str, Change]) -> Fit:
    changed, name = max((_alike(change(own), others), name) for name, change in changes.items())
    return Fit(_alike(own, others), changed, name)


def _alike(a: F64, b: F64) -> float:
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1]) if a.std() and b.std() else 0.0


def grey(mean: NDArray[np.uint8]) -> F64:
    """float64[SIDE, SIDE]"""
    found: F64 = mean.astype(np.float64).mean(axis=2)
    return found


def red_over_blue(mean: NDArray[np.uint8]) -> F64:
    """float64[SIDE, SIDE]: how much more red than blue there is."""
    return mean[:, :, 0].astype(np.float64) - mean[:, :, 2]


# Which way is up: the hand's motion in space compared with its motion in the images

UP = ("x", "y", "z")
STANDING = ("robot base", "world")
"""Action space frames in which z points up."""
ON_HAND = re.compile("wrist|hand|gripper", re.IGNORECASE)
"""Names of cameras that move with the hand: the scene moves down in their images as they rise, if they look ahead."""
STILL = 0.15
"""Maximum share of pixels that differ between steps for a stationary camera: .03 to .11 here; .18 for one on a moving hand."""
RISES = 0.4
"""Minimum partial correlation for a clear direction: stationary cameras have .50 to .94; those on a hand, where it depends on their
view, .2 to .43."""


def what_rises(log: Log) -> Result:
    """Whether moving things go up in the images of a stationary camera when the end effector goes up."""
    if not {*UP} <= {*log.space.names} or not (log.space.control_mode or "").endswith("_eef"):
        return skipped(f"the actions do not say how an end effector rises: {LOOK}")
    fixed = [name for name in showing(log) if not ON_HAND.search(name)]
    found = {name: rise for name in fixed if (rise := _rise(log, name)) is not None}
    measured = ", ".join(f"{name} {rise.correlation:+.2f}" for name, rise in found.items())
    clear = {name: rise.correlation for name, rise in found.items() if rise.is_clear}
    if not clear:
        return skipped(f"no camera that stands still shows it clearly: {LOOK}", measured)
    falling = [name for name, correlation in clear.items() if correlation < 0]
    if not falling:
        return passed(measured)
    what = f"{', '.join(falling)}: what moves goes down in the images when z goes up, so they are upside down (or z points down)"
    do = "look at rt2data inspect --png: set images: {turn: 180} or {flip: vertical}"
    return judged(len(falling) == len(clear) and log.space.frame in STANDING, measured, what, do)


LOOK = "look at rt2data inspect --png"


class Rise(NamedTuple):
    """How much things go up in a camera's images when the end effector goes up."""

    correlation: float  # at equal x and y
    pairs: int  # of steps

    @property
    def is_clear(self) -> bool:
        return abs(self.correlation) >= max(RISES, SURE / sqrt(self.pairs))


def _rise(log: Log, camera: str) -> Rise | None:
    """The rise of one camera; None if it moves, or too little is seen."""
    pairs = [_pairs(log, episode, seen) for episode, seen in views(log, camera)]
    moved, up = np.concatenate([each for each, _ in pairs]), -np.concatenate([seen.down for _, seen in views(log, camera)])
    used = np.isfinite(moved).all(axis=1)
    moved, up = moved[used], up[used]
    still = np.mean([seen.moving.mean() for _, seen in views(log, camera) if len(seen.moving)] or [1.0]) <= STILL
    if len(up) < ENOUGH_STEPS or not still:
        return None
    beside = np.column_stack([np.ones(len(up)), moved[:, :2]])
    z, seen_up = (each - beside @ np.linalg.lstsq(beside, each, rcond=None)[0] for each in (moved[:, 2], up))
    size = float(np.sqrt((z @ z) * (seen_up @ seen_up)))
    return Rise(float(z @ seen_up) / size, len(up)) if size > 0 else None


def _pairs(log: Log, episode: Episode, seen: Seen) -> tuple[F64, Seen]:
    """float64[K - 1, 3]: how far the end effector moves from each image to the next; NaN if that is not the next step."""
    moved = _moved(log, episode)
    found = np.full((max(len(seen.at) - 1, 0), 3), np.nan)
    known = np.flatnonzero(seen.consecutive & (seen.at[:-1] < len(moved)))
    found[known] = moved[seen.at[:-1][known]]
    return found, seen


def _moved(log: Log, episode: Episode) -> F64:
    """float64[T - 1, 3]: motion in x, y and z in each step, as measured or, if unknown, as commanded."""
    dims = [log.space.names.index(name) for name in UP]
    if episode.state is not None and all(i in log.own for i in dims):
        return np.diff(episode.state[:, [log.own[i] for i in dims]].astype(np.float64), axis=0)
    action = episode.action[:, dims].astype(np.float64)
    return np.diff(action, axis=0) if (log.looks or log.mode) == "absolute" else action[:-1]


TURNS: dict[str, Change] = {
    "turned by 180 degrees": lambda picture: picture[::-1, ::-1],
    "flipped upside down": lambda picture: picture[::-1],
}
SWAPPED = "swapped"


def upright(log: Log) -> Result:
    """Episodes that are rotated relative to the others. `what_rises` checks whether all are."""
    if not _several(log):
        return skipped("needs four episodes of one camera")
    odd = list(odd_ones(log, grey, TURNS))
    measured = f"{len({each.episode for each in odd})} of {len(log.episodes)} turned against the rest"
    if not odd:
        return passed(measured)
    what = f"{odd[0].change} against the other episodes: {_named(odd)}"
    do = "turn these images where the log is written, or leave the episodes out"
    return judged(any(each.sure for each in odd), measured, what, do)


def _several(log: Log) -> bool:
    return any(len(views(log, camera)) >= SEVERAL for camera in showing(log))


def _named(odd: Sequence[Odd]) -> str:
    names = list(dict.fromkeys(f"{each.episode} ({each.camera})" for each in odd))
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def channels(log: Log) -> Result:
    """Red and blue swapped: in some episodes compared with the others, or in all images of a camera, which then look unusually
    blue.
    """
    names = showing(log)
    if not names:
        return skipped("the log has no images")
    changes: dict[str, Change] = {SWAPPED: lambda picture: -picture, **TURNS}
    odd = [each for each in odd_ones(log, red_over_blue, changes) if each.change == SWAPPED]
    shares = {name: cool for name in names if (cool := _cool(log, name)) is not None}
    measured = ", ".join(f"{name} {share:.0%}" for name, share in shares.items()) + " blue" if shares else "too little colour"
    if odd:
        do = "look at them: a scene of other colours looks alike; else swap their channels where the log is written"
        return judged(False, measured, f"red and blue seem swapped against the other episodes in {_named(odd)}", do)
    if not shares:
        return skipped("the images have too little colour")
    blue = [name for name, share in shares.items() if share >= COOL]
    if not blue:
        return passed(measured)
    do = "look at rt2data inspect --png: unless it sees a sky or another blue thing, set images: {channels: bgr}"
    return judged(False, measured, f"{', '.join(blue)}: more blue than red in nearly all coloured pixels", do)


def _cool(log: Log, camera: str) -> float | None:
    """Share of a camera's coloured pixels that are more blue than red; None if too few are coloured."""
    found = [tint(seen.mean) for _, seen in views(log, camera)]
    vivid = sum(each.vivid for each in found)
    return sum(each.cool * each.vivid for each in found) / vivid if vivid >= ENOUGH * len(found) > 0 else None
