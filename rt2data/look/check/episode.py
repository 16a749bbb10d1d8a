"""One recorded episode as arrays, small enough to keep a thousand: its numbers, its words, and what its cameras showed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
import xxhash
from numpy.typing import NDArray

from rt2data.images.headers import ImageFault
from rt2data.images.ready import ImageRule, ViewRule
from rt2data.images.thumbnail import thumbnail
from rt2data.order import I64, U64
from rt2data.read.action_space import ActionSpace, to_polarity
from rt2data.records import F32, Content, Image, Step
from rt2data.tally.moments import F64

GripperOpen = Literal[-1, 0, 1]
SIDE = 32
"""Of a thumbnail: enough to tell scenes, colours and motion apart, and a few KB to a camera and episode."""
FRAMES = 48
"""Images looked at in an episode: consecutive ones in its middle, and the first and the last."""


@dataclass(frozen=True)
class Seen:
    """What one camera showed in the steps that were looked at. K images, of which those that cannot be decoded are left out."""

    at: I64  # int64[K], the steps
    hashes: U64  # uint64[K], of the bytes or pixels
    brightness: F64  # float64[K], 0 to 255
    change: F64  # float64[K - 1]: mean difference of brightness between one and the next
    down: F64  # float64[K - 1]: by how many pixels of SIDE what differs moved down from one to the next
    moving: F64  # float64[K - 1]: the share of pixels that differ
    mean: NDArray[np.uint8]  # [SIDE, SIDE, 3]: all of them
    spread: float  # of the mean picture's brightness: a flat one shows nothing
    broken: int = 0

    @property
    def consecutive(self) -> NDArray[np.bool_]:
        """bool[K - 1]: the next image is of the next step."""
        found: NDArray[np.bool_] = np.diff(self.at) == 1
        return found


@dataclass(frozen=True)
class Episode:
    """T steps, in order."""

    name: str
    split: str
    steps: NDArray[np.int32]  # [T]: their numbers as recorded
    length: int  # as the log says
    action: F32  # [T, D], gripper in the action space's polarity
    state: F32 | None  # [T, S]
    time: F64  # [T], seconds; NaN where the log has none
    words: tuple[str, ...]  # the different instructions of its steps
    success: bool | None  # as the last step says
    rewards: F64  # [T]; NaN where there is none
    cameras: Mapping[str, Seen]

    def __len__(self) -> int:
        return len(self.action)


def episode_of(steps: Iterable[Step], rule: ImageRule, space: ActionSpace, gripper_open: GripperOpen | None = None) -> Episode:
    """The arrays of the steps of one episode, at least one.

    Each step's images are looked at before the next step is asked for: a source may overwrite them. Raises ValueError where actions
    have different numbers of dimensions.
    """
    kept, glances, wanted = list[Step](), list[Glance](), set[int]()
    for at, step in enumerate(steps):
        wanted = wanted or looked_at(step.steps)
        glances += [_glance(at, image, rule.of(image.camera)) for image in step.images] if at in wanted else []
        kept.append(replace(step, images=()))
    states = [step.state for step in kept if step.state is not None]
    last = kept[-1]
    return Episode(
        last.episode,
        last.split,
        np.array([step.step for step in kept], np.int32),
        last.steps,
        _actions(np.stack([step.action for step in kept]), space, gripper_open),
        np.stack(states).astype(np.float32) if len(states) == len(kept) and len({s.shape for s in states}) == 1 else None,
        _floats([step.timestamp for step in kept]),
        tuple(dict.fromkeys(step.instruction for step in kept)),
        last.success,
        _floats([step.reward for step in kept]),
        {name: _seen([each for each in glances if each.camera == name]) for name in sorted({each.camera for each in glances})},
    )


def _floats(values: Sequence[float | None]) -> F64:
    return np.array([np.nan if value is None else value for value in values], np.float64)


def _actions(action: F32, space: ActionSpace, gripper_open: GripperOpen | None) -> F32:
    """With grippers as the action space has them."""
    found = action.astype(np.float32)
    for i in space.grippers if gripper_open is not None else ():
        found[:, i] = to_polarity(found[:, i], gripper_open, space.dims[i])  # type: ignore[arg-type]
    return found


# Images


def looked_at(total: int) -> set[int]:
    """Positions of the steps whose images are looked at."""
    middle = max(0, (total - FRAMES) // 2)
    return {0, total - 1, *range(middle, min(middle + FRAMES, total))}


class Glance(NamedTuple):
    """One image."""

    camera: str
    at: int
    hash: int
    pixels: NDArray[np.uint8] | None  # [SIDE, SIDE, 3]; None where it cannot be decoded


def _glance(at: int, image: Image, rule: ViewRule) -> Glance:
    try:
        content = image.content()
        return Glance(image.camera, at, _hash(content), thumbnail(content, SIDE, rule))
    except (ImageFault, OSError):
        return Glance(image.camera, at, 0, None)


def _seen(glances: Sequence[Glance]) -> Seen:
    """What the glances at one camera come to."""
    good = [(each, each.pixels) for each in glances if each.pixels is not None]
    pixels = np.array([found for _, found in good], np.uint8).reshape(-1, SIDE, SIDE, 3)
    grey = pixels.mean(axis=3)
    mean = pixels.mean(axis=0) if good else np.zeros((SIDE, SIDE, 3))
    return Seen(
        np.array([each.at for each, _ in good], np.int64),
        np.array([each.hash for each, _ in good], np.uint64),
        grey.mean(axis=(1, 2)),
        np.abs(np.diff(grey, axis=0)).mean(axis=(1, 2)),
        *pixels_down(grey),
        np.rint(mean).astype(np.uint8),
        float(mean.mean(axis=2).std()),
        len(glances) - len(good),
    )


DIFFERS = 4.0
"""Of 255: the change of brightness from which a pixel differs."""
STEADY = 50.0
"""Added to the squares of gradients, so that what has no edges does not seem to move."""


def pixels_down(grey: F64) -> tuple[F64, F64]:
    """Of images [K, SIDE, SIDE]: how far what differs moved down, and how much differs, from each to the next: float64[K - 1] each.

    Brightness is taken to move along and not to change, so that change = -(motion * gradient), solved by least squares.
    """
    change = np.diff(grey, axis=0)
    differs = np.abs(change) > DIFFERS
    dy, dx = np.gradient((grey[1:] + grey[:-1]) / 2, axis=(1, 2)) if len(change) else (change, change)
    xx, xy, yy, x, y = ((differs * each).sum(axis=(1, 2)) for each in (dx * dx, dx * dy, dy * dy, change * dx, change * dy))
    xx, yy = xx + STEADY, yy + STEADY
    return (xy * x - xx * y) / (xx * yy - xy * xy), differs.mean(axis=(1, 2))


def _hash(content: Content) -> int:
    """Of bytes, or of the bytes of pixels."""
    return xxhash.xxh3_64_intdigest(content.tobytes() if isinstance(content, np.ndarray) else bytes(content))
