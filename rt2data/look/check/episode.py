"""One recorded episode as arrays, small enough to keep a thousand in memory: its numbers, its instructions, and summaries of its
images.
"""

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
"""Side of a thumbnail in pixels: enough to distinguish scenes, colours and motion, at a few KB per camera and episode."""
FRAMES = 48
"""Images examined per episode: consecutive ones in the middle, and the first and last."""


@dataclass(frozen=True)
class Seen:
    """Summary of one camera in the examined steps: K images, without those that cannot be decoded."""

    at: I64  # int64[K], the steps
    hashes: U64  # uint64[K], of the bytes or pixels
    brightness: F64  # float64[K], 0 to 255
    change: F64  # float64[K - 1]: mean difference of brightness between one and the next
    down: F64  # float64[K - 1]: thumbnail pixels by which differing parts moved down from one to the next
    moving: F64  # float64[K - 1]: the share of pixels that differ
    mean: NDArray[np.uint8]  # [SIDE, SIDE, 3]: mean of all images
    spread: float  # of the mean picture's brightness: a flat picture is blank
    broken: int = 0

    @property
    def consecutive(self) -> NDArray[np.bool_]:
        """bool[K - 1]: whether the next image is of the next step."""
        found: NDArray[np.bool_] = np.diff(self.at) == 1
        return found


@dataclass(frozen=True)
class Episode:
    """T steps, in order."""

    name: str
    split: str
    steps: NDArray[np.int32]  # [T]: their numbers as recorded
    length: int  # according to the log
    action: F32  # [T, D], gripper in the action space's polarity
    state: F32 | None  # [T, S]
    time: F64  # [T], seconds; NaN if the log has none
    words: tuple[str, ...]  # the distinct instructions of its steps
    success: bool | None  # according to the last step
    rewards: F64  # [T]; NaN if there is none
    cameras: Mapping[str, Seen]

    def __len__(self) -> int:
        return len(self.action)


def episode_of(steps: Iterable[Step], rule: ImageRule, space: ActionSpace, gripper_open: GripperOpen | None = None) -> Episode:
    """The arrays of the steps of one episode, at least one.

    Each step's images are examined before the next step is read, since a source may overwrite them. Raises ValueError if actions
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
    """Actions with grippers in the polarity of the action space."""
    found = action.astype(np.float32)
    for i in space.grippers if gripper_open is not None else ():
        found[:, i] = to_polarity(found[:, i], gripper_open, space.dims[i])  # type: ignore[arg-type]
    return found


# Images


def looked_at(total: int) -> set[int]:
    """Positions of the steps whose images are examined."""
    middle = max(0, (total - FRAMES) // 2)
    return {0, total - 1, *range(middle, min(middle + FRAMES, total))}


class Glance(NamedTuple):
    """One image."""

    camera: str
    at: int
    hash: int
    pixels: NDArray[np.uint8] | None  # [SIDE, SIDE, 3]; None if it cannot be decoded


def _glance(at: int, image: Image, rule: ViewRule) -> Glance:
    try:
        content = image.content()
        return Glance(image.camera, at, _hash(content), thumbnail(content, SIDE, rule))
    except (ImageFault, OSError):
        return Glance(image.camera, at, 0, None)


def _seen(glances: Sequence[Glance]) -> Seen:
    """The summary of one camera's glances."""
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
"""On a scale of 255: the change of brightness from which a pixel differs."""
STEADY = 50.0
"""Added to the squared gradients, so that areas without edges do not seem to move."""


def pixels_down(grey: F64) -> tuple[F64, F64]:
    """For images [K, SIDE, SIDE]: how far differing parts moved down, and the share that differs, from each to the next: float64[K
    - 1] each.

    Assumes that brightness moves without changing, so that change = -(motion * gradient), solved by least squares.
    """
    change = np.diff(grey, axis=0)
    differs = np.abs(change) > DIFFERS
    dy, dx = np.gradient((grey[1:] + grey[:-1]) / 2, axis=(1, 2)) if len(change) else (change, change)
    xx, xy, yy, x, y = ((differs * each).sum(axis=(1, 2)) for each in (dx * dx, dx * dy, dy * dy, change * dx, change * dy))
    xx, yy = xx + STEADY, yy + STEADY
    return (xy * x - xx * y) / (xx * yy - xy * xy), differs.mean(axis=(1, 2))


def _hash(content: Content) -> int:
    """A hash of encoded bytes, or of pixels."""
    return xxhash.xxh3_64_intdigest(content.tobytes() if isinstance(content, np.ndarray) else bytes(content))
