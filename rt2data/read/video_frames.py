"""The frame of every row of an episode from a video beside it: matched by time, decoded ahead in a thread, given in order.

Making JPEG of one frame and decoding the next take about as long, and neither needs Python: so one worker does both at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rt2data.images.headers import ImageFault
from rt2data.io.video import VideoError, video_file
from rt2data.read.video import Near, Pixels, Video
from rt2data.records import Content, Deferred

F64 = NDArray[np.float64]

AHEAD = 8 << 20
"""Bytes of frames, as RGB, that are decoded before they are asked for, twice at most; and how many frames.

They wait as the decoder made them, in memory that it uses again, and become RGB when they are taken. RGB that one thread makes and
another lets go is memory that goes back to the system and is asked for anew, for a tenth of the time of decoding.
"""
MOST = 16


class Match(NamedTuple):
    """What a row gets."""

    row: int
    found: Any  # av.VideoFrame, or an ImageFault


@dataclass(frozen=True)
class Track:
    """The rows of an episode beside one video."""

    times: F64  # [T] of each row, in seconds of the video
    period: float  # seconds from one row to the next; 0 where that is not known

    @cached_property
    def rising(self) -> NDArray[np.bool_]:
        """bool[T]: whether a row's time is after those of all rows before it."""
        known = np.where(np.isfinite(self.times), self.times, -np.inf)
        highest = np.maximum.accumulate(np.concatenate([[-np.inf], known[:-1]]))
        found: NDArray[np.bool_] = known > highest
        return found

    def fault(self, row: int) -> ImageFault | None:
        """Why a row has no frame, whatever the video holds."""
        if not np.isfinite(self.times[row]):
            return ImageFault("bad_timestamp", f"the step's time is {self.times[row]}")
        if not self.rising[row]:
            return ImageFault(
                "timestamp_not_rising", f"the step's time, {self.times[row]:.4f} s, is not after that of all before it"
            )
        return None

    def reach(self, period: float) -> float:
        """How far from a row's time its frame may be: half of what lies between two rows, or two frames where these are more.

        `period` is that of the frames, as the file says it; what cannot be is not believed.
        """
        if not self.period:
            return (period or 0.1) / 2
        return (min(self.period, period) if period > self.period / 8 else self.period) / 2

    def judge(self, row: int, near: Near, reach: float) -> ImageFault | None:
        """Why what is nearest to a row is not its frame: it is too far away, one of several, or another row's."""
        time, shown = float(self.times[row]), near.shown
        if shown is None or abs(shown.time - time) >= reach:
            what = "no frame was decoded" if shown is None else f"the nearest frame is at {shown.time:.4f} s"
            return ImageFault("corrupt_frame" if near.broken else "missing_frame", f"the step is at {time:.4f} s, {what}")
        if shown.frames > 1:
            return ImageFault("repeated_frame", f"{shown.frames} frames are at {shown.time:.4f} s")
        before, after = self._beside(row)
        if abs(before - shown.time) <= abs(time - shown.time):
            return ImageFault("repeated_frame", f"the frame at {shown.time:.4f} s is that of the step before")
        if abs(after - shown.time) < abs(time - shown.time):
            return ImageFault("repeated_frame", f"the frame at {shown.time:.4f} s is that of the step after")
        return None

    def _beside(self, row: int) -> tuple[float, float]:
        """The times of the nearest rows on either side that can have a frame; infinite where there is none."""
        at = int(np.searchsorted(self._able, row))
        before = self.times[self._able[at - 1]] if at else -np.inf
        after = self.times[self._able[at + 1]] if at + 1 < len(self._able) else np.inf
        return float(before), float(after)

    @cached_property
    def _able(self) -> NDArray[np.intp]:
        """Rows whose times rise."""
        return np.flatnonzero(self.rising)


class FramesAhead:
    """The frames of one video, decoded by another thread a little ahead of who asks."""

    def __init__(self, path: str, max_pixels: int) -> None:
        self.path = path
        self._video = Video(path, max_pixels)
        self._pool: ThreadPoolExecutor | None = None
        self._track: Track | None = None
        self._matches: Iterator[Match] = iter(())
        self._ready: list[Match] = []
        self._coming: Future[list[Match]] | None = None
        self._next = 0  # row

    def get(self, track: Track, row: int) -> Pixels:
        """The frame of a row. Raises ImageFault, OSError."""
        if track is not self._track or not 0 <= row - self._next <= MOST * 4:
            self._restart(track, row)
        while True:
            if not self._ready:
                self._ready = self._take()
            match = self._ready.pop(0)
            self._next = match.row + 1
            if match.row == row:
                break
        if isinstance(match.found, ImageFault):
            raise match.found
        return self._video.pixels(match.found)

    def starts_late(self) -> bool:
        """Whether its first frame is not at its beginning; False where none was asked for."""
        self._settle()
        return self._video.start > self._video.period / 2

    def frames(self) -> int | None:
        """How many the file says it has; None where it says nothing, or none was asked for."""
        self._settle()
        return self._video.frames

    def close(self) -> None:
        """Let the thread and the file go."""
        self._settle()
        if self._pool is not None:
            self._pool.shutdown()
        self._pool = self._track = None
        self._video.close()

    def _restart(self, track: Track, row: int) -> None:
        self._settle()
        self._track, self._next = track, row
        self._matches = self._match(track, row)

    def _settle(self) -> None:
        """Wait until nothing is decoded, and forget what was."""
        if self._coming is not None:
            self._coming.exception()
        self._coming, self._ready = None, []

    def _take(self) -> list[Match]:
        """What was decoded meanwhile; the next part is begun."""
        found = (self._coming or self._begin(1)).result()
        self._coming = self._begin(_so_many(found))
        return found

    def _begin(self, count: int) -> Future[list[Match]]:
        self._pool = self._pool or ThreadPoolExecutor(1, "frames")
        return self._pool.submit(lambda matches: list(islice(matches, count)), self._matches)

    def _match(self, track: Track, first: int) -> Iterator[Match]:
        for row in range(first, len(track.times)):
            yield Match(row, self._found(track, row))

    def _found(self, track: Track, row: int) -> Any:
        try:
            return track.fault(row) or self._frame(track, row)
        except ImageFault as fault:
            return fault

    def _frame(self, track: Track, row: int) -> Any:
        near = self._video.near(float(track.times[row]))
        fault = track.judge(row, near, track.reach(self._video.period))
        if fault is not None or near.shown is None:
            return fault or ImageFault("missing_frame")
        return near.shown.frame


def frame_times(path: str) -> F64:
    """When each frame of a video is shown, in seconds and in that order, from its packets: nothing is decoded.

    Raises ImageFault where it is no video, OSError.
    """
    try:
        with video_file(path) as container:
            if not container.streams.video:
                raise ImageFault("unreadable_video", f"{path} has no video in it")
            stream = container.streams.video[0]
            shown = sorted(packet.pts for packet in container.demux(stream) if packet.pts is not None)
            return np.array(shown, np.float64) * float(stream.time_base)
    except VideoError as error:
        raise ImageFault("unreadable_video", f"{path}: {error}") from None


def _so_many(found: Sequence[Match]) -> int:
    """Frames of the next part, by the size of those that came."""
    sizes = (match.found.width * match.found.height * 3 for match in found if not isinstance(match.found, ImageFault))
    size = max(sizes, default=0)
    return max(1, min(MOST, AHEAD // size)) if size else MOST


@dataclass(frozen=True, slots=True)
class Frame(Deferred):
    """One row's frame."""

    ahead: FramesAhead
    track: Track
    row: int

    def read(self) -> Content:
        return self.ahead.get(self.track, self.row)
