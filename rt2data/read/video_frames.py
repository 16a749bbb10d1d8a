"""The video frame for every row of an episode: matched by time, returned in order.

A worker decodes on request, and converts a frame to RGB at once, while it is in the core's cache. Decoding ahead in a thread took a
quarter more CPU time, and every core has a worker.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from rt2data.images.headers import ImageFault
from rt2data.io.video import VideoError, video_file
from rt2data.read.video import Near, Pixels, Video
from rt2data.records import Content, Deferred

F64 = NDArray[np.float64]


@dataclass(frozen=True)
class Track:
    """The rows of an episode, matched to one video."""

    times: F64  # [T] time of each row, in seconds of the video
    period: float  # seconds from one row to the next; 0 if unknown

    @cached_property
    def rising(self) -> NDArray[np.bool_]:
        """bool[T]: whether a row's time is later than those of all earlier rows."""
        known = np.where(np.isfinite(self.times), self.times, -np.inf)
        highest = np.maximum.accumulate(np.concatenate([[-np.inf], known[:-1]]))
        found: NDArray[np.bool_] = known > highest
        return found

    def fault(self, row: int) -> ImageFault | None:
        """Why a row cannot have a frame, whatever the video holds; None if it can."""
        if self.rising[row]:
            return None
        time = self.times[row]
        if not np.isfinite(time):
            return ImageFault("bad_timestamp", f"the step's time is {time}")
        return ImageFault("timestamp_not_rising", f"the step's time, {time:.4f} s, is not after that of all before it")

    def reach(self, period: float) -> float:
        """How far a frame may be from its row's time, in seconds: half the row period, or half the frame period if that is shorter.

        `period` is the frame period according to the file; an implausible value is ignored.
        """
        if not self.period:
            return (period or 0.1) / 2
        return (min(self.period, period) if period > self.period / 8 else self.period) / 2

    def judge(self, row: int, near: Near, reach: float) -> ImageFault | None:
        """Why the nearest frame is not the row's frame: it is too far away, one of several, or another row's. None if it is."""
        time, shown = float(self.times[row]), near.shown
        if shown is None or abs(shown.time - time) >= reach:
            what = "no frame was decoded" if shown is None else f"the nearest frame is at {shown.time:.4f} s"
            return ImageFault("corrupt_frame" if near.broken else "missing_frame", f"the step is at {time:.4f} s, {what}")
        if shown.frames > 1:
            return ImageFault("repeated_frame", f"{shown.frames} frames are at {shown.time:.4f} s")
        if abs(self._before[row] - shown.time) <= abs(time - shown.time):
            return ImageFault("repeated_frame", f"the frame at {shown.time:.4f} s is that of the step before")
        if abs(self._after[row] - shown.time) < abs(time - shown.time):
            return ImageFault("repeated_frame", f"the frame at {shown.time:.4f} s is that of the step after")
        return None

    @cached_property
    def _before(self) -> F64:
        """float64[T]: the time of the nearest earlier row that can have a frame, -inf if there is none."""
        able = np.where(self.rising, self.times, -np.inf)
        return np.concatenate([[-np.inf], np.maximum.accumulate(able)[:-1]])

    @cached_property
    def _after(self) -> F64:
        """float64[T]: the same for later rows, inf if there is none."""
        able = np.where(self.rising, self.times, np.inf)
        return np.concatenate([np.minimum.accumulate(able[::-1])[::-1][1:], [np.inf]])


class Frames:
    """The frames of one video."""

    def __init__(self, path: str, max_pixels: int) -> None:
        self.path = path
        self._video = Video(path, max_pixels)

    def get(self, track: Track, row: int) -> Pixels:
        """The frame of a row; reading rows in order is fastest. Raises ImageFault, OSError."""
        fault = track.fault(row)
        if fault is not None:
            raise fault
        near = self._video.near(float(track.times[row]))
        fault = track.judge(row, near, track.reach(self._video.period))
        if fault is not None or near.shown is None:
            raise fault or ImageFault("missing_frame")
        return self._video.pixels(near.shown.frame)

    def starts_late(self) -> bool:
        """Whether the video's first frame is not at its beginning; False if no frame was read yet."""
        return self._video.start > self._video.period / 2

    def count(self) -> int | None:
        """The number of frames according to the file; None if it does not say, or no frame was read yet."""
        return self._video.frames

    def close(self) -> None:
        """Close the file."""
        self._video.close()


def frame_times(path: str) -> F64:
    """The presentation time of each frame of a video, in seconds and rising, from its packets: nothing is decoded.

    Raises ImageFault if it is not a video, OSError.
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


@dataclass(frozen=True, slots=True)
class Frame(Deferred):
    """One row's frame."""

    frames: Frames
    track: Track
    row: int

    def read(self) -> Content:
        return self.frames.get(self.track, self.row)
