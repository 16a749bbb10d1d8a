"""Frames of a video by their presentation times, decoded in order; a frame that was not decoded whole is never given."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from itertools import groupby
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rt2data.images.headers import ImageFault
from rt2data.io.video import VideoError, video_file

Pixels = NDArray[np.uint8]

LEAP = 10.0
"""Seconds ahead for which it pays to look for a key frame."""


class Shown(NamedTuple):
    """What a video shows at one time."""

    time: float  # seconds
    frame: Any  # av.VideoFrame
    frames: int  # at that time: more than one leave it open which is meant
    broken: bool  # whether frames before it, and after those that were shown before, could not be decoded


class Near(NamedTuple):
    """What is nearest to a time."""

    shown: Shown | None
    broken: bool  # whether frames beside it could not be decoded


class Video:
    """A video that is asked for rising times; for an earlier one it begins again."""

    def __init__(self, path: str, max_pixels: int) -> None:
        self._path, self._max_pixels = path, max_pixels
        self._stack = ExitStack()
        self._container: Any = None
        self._stream: Any = None
        self._shown: Iterator[Shown] = iter(())
        self._before: Shown | None = None  # the last that is not after the time asked for
        self._after: Shown | None = None  # the one that follows
        self._broken = False  # what was skipped since the last that was shown
        self._converter: Any = None
        self._period = 0.0
        self._fault: ImageFault | None = None

    def near(self, time: float) -> Near:
        """What is shown nearest to a time in seconds; the earlier of two. Raises ImageFault where it is no video, OSError."""
        self._open()
        if not self._reaches(time):
            self._seek(time)
        while self._after is not None and self._after.time <= time:
            self._step()
        before, after = self._before, self._after
        broken = self._broken if after is None else after.broken
        if before is None or (after is not None and after.time - time < time - before.time):
            return Near(after, broken)
        return Near(before, broken)

    def pixels(self, frame: Any) -> Pixels:
        """RGB uint8[height, width, 3] of a frame that was shown."""
        found: Pixels = self._converter.reformat(frame, format="rgb24").to_ndarray()
        return found

    @property
    def frames(self) -> int | None:
        """How many there are, as the file says; None where it says nothing, or is not open."""
        return int(self._stream.frames) or None if self._container is not None else None

    @property
    def start(self) -> float:
        """Seconds at which the first frame is shown, as the file says; 0 where it says nothing, or is not open."""
        return float((self._stream.start_time or 0) * self._stream.time_base) if self._container is not None else 0.0

    @property
    def period(self) -> float:
        """Seconds from one frame to the next; 0 where the file says nothing, or is not open."""
        return self._period if self._container is not None else 0.0

    def close(self) -> None:
        """Let the file go. It is opened again when it is needed."""
        self._stack.close()
        self._container = self._before = self._after = None
        self._shown = iter(())

    # Position

    def _reaches(self, time: float) -> bool:
        """Whether to go on decoding leads to a time soon."""
        if self._before is not None and self._before.time > time:
            return False
        ahead = self._after or self._before
        return ahead is None or time - ahead.time < LEAP

    def _seek(self, time: float) -> None:
        """Go on with the last key frame that is not after a time; with the first frame where the index of the file is wrong."""
        self._begin(max(time, 0.0))
        if self._after is None or self._after.time > time:
            self._begin(0.0)

    def _begin(self, time: float) -> None:
        from av.error import FFmpegError

        try:
            self._container.seek(int(time / self._stream.time_base), stream=self._stream)
        except FFmpegError as error:
            raise ImageFault("unreadable_video", f"{self._path}: {error}") from None
        self._start()

    def _start(self) -> None:
        self._broken, self._before, self._after = False, None, None
        self._shown = self._by_time()
        self._step()

    def _step(self) -> None:
        self._before, self._after = self._after, next(self._shown, None)

    # Decoding

    def _by_time(self) -> Iterator[Shown]:
        """Frames in the order of their times; those that come too late are none."""
        last = float("-inf")
        base = self._stream.time_base
        up, down = base.numerator, base.denominator
        for pts, group in groupby(self._decoded(), key=attrgetter("pts")):
            frames, time = list(group), pts * up / down  # rounded once
            broken, self._broken = self._broken, False
            if time > last:
                yield Shown(time, frames[0], len(frames), broken)
                last = time

    def _decoded(self) -> Iterator[Any]:
        """Whole frames. What follows a damaged one up to the next key frame rests on it, and is left out."""
        from av.error import FFmpegError

        lost = False
        for packet in self._packets():
            try:
                frames = packet.decode()
            except FFmpegError:
                frames, lost = [], True
            for frame in frames:
                lost = (lost and not frame.key_frame) or frame.is_corrupt or frame.pts is None
                if not lost:
                    yield frame
            self._broken |= lost

    def _packets(self) -> Iterator[Any]:
        """Up to the end of the file, or where it is cut."""
        from av.error import InvalidDataError

        try:
            yield from self._container.demux(self._stream)
        except InvalidDataError:
            self._broken = True

    # File

    def _open(self) -> None:
        if self._fault is not None:
            raise ImageFault(self._fault.reason, self._fault.detail)
        if self._container is None:
            try:
                self._open_now()
            except ImageFault as fault:
                self.close()
                self._fault = fault  # not to be tried again for every row
                raise

    def _open_now(self) -> None:
        """Raises ImageFault where it is no video, OSError."""
        from av.video.reformatter import VideoReformatter

        try:
            self._container = self._stack.enter_context(video_file(self._path))
        except VideoError as error:
            raise ImageFault("unreadable_video", f"{self._path}: {error}") from None
        if not self._container.streams.video:
            raise ImageFault("unreadable_video", f"{self._path} has no video in it")
        self._stream = self._container.streams.video[0]
        self._period = float(1 / rate) if (rate := self._stream.average_rate) else 0.0
        self._set_up(self._stream.codec_context)
        self._converter = VideoReformatter()
        self._start()

    def _set_up(self, codec: Any) -> None:
        """One thread for each video, for workers are many. Raises ImageFault for frames that are too large to decode."""
        if codec.width * codec.height > self._max_pixels:
            raise ImageFault("too_many_pixels", f"{codec.width}x{codec.height}, the limit is {self._max_pixels}")
        codec.thread_count = 1
        codec.options = {"err_detect": "explode", "max_pixels": str(self._max_pixels)}
