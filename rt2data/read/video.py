"""Frames of a video by presentation time, decoded in order; incompletely decoded frames are never returned."""

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
"""Minimum seconds ahead at which seeking to a key frame pays off."""


class Shown(NamedTuple):
    """The frame that a video shows at one time."""

    time: float  # seconds
    frame: Any  # av.VideoFrame
    frames: int  # number of frames at that time: more than one is ambiguous
    broken: bool  # whether frames between the previously shown one and this could not be decoded


class Near(NamedTuple):
    """The frame nearest to a time."""

    shown: Shown | None
    broken: bool  # whether adjacent frames could not be decoded


class Video:
    """A video, to be queried for rising times; for an earlier time it seeks back."""

    def __init__(self, path: str, max_pixels: int) -> None:
        self._path, self._max_pixels = path, max_pixels
        self._stack = ExitStack()
        self._container: Any = None
        self._stream: Any = None
        self._shown: Iterator[Shown] = iter(())
        self._before: Shown | None = None  # the last frame at or before the requested time
        self._after: Shown | None = None  # the next frame
        self._broken = False  # whether frames were skipped since the last one shown
        self._converter: Any = None
        self._period = 0.0
        self._fault: ImageFault | None = None

    def near(self, time: float) -> Near:
        """The frame nearest to a time in seconds; the earlier one if tied. Raises ImageFault if this is not a video, OSError."""
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
        """RGB uint8[height, width, 3] of a frame."""
        found: Pixels = self._converter.reformat(frame, format="rgb24").to_ndarray()
        return found

    @property
    def frames(self) -> int | None:
        """The number of frames according to the file; None if it does not say, or is not open."""
        return int(self._stream.frames) or None if self._container is not None else None

    @property
    def start(self) -> float:
        """Time of the first frame in seconds, according to the file; 0 if it does not say, or is not open."""
        return float((self._stream.start_time or 0) * self._stream.time_base) if self._container is not None else 0.0

    @property
    def period(self) -> float:
        """Seconds from one frame to the next; 0 if the file does not say, or is not open."""
        return self._period if self._container is not None else 0.0

    def close(self) -> None:
        """Close the file. It is reopened when needed."""
        self._stack.close()
        self._container = self._before = self._after = None
        self._shown = iter(())

    # Position

    def _reaches(self, time: float) -> bool:
        """Whether decoding onwards soon reaches a time."""
        if self._before is not None and self._before.time > time:
            return False
        ahead = self._after or self._before
        return ahead is None or time - ahead.time < LEAP

    def _seek(self, time: float) -> None:
        """Continue from the last key frame at or before a time; from the first frame if the file's index is wrong."""
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
        """Frames in order of time; frames that arrive out of order are dropped."""
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
        """Intact frames. After a damaged frame, all frames up to the next key frame depend on it and are left out."""
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
        """Packets up to the end of the file, or to where it is truncated."""
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
                self._fault = fault  # so that it is not retried for every row
                raise

    def _open_now(self) -> None:
        """Raises ImageFault if this is not a video, OSError."""
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
        """Use one thread per video, since there are many workers. Raises ImageFault for frames that are too large to decode."""
        if codec.width * codec.height > self._max_pixels:
            raise ImageFault("too_many_pixels", f"{codec.width}x{codec.height}, the limit is {self._max_pixels}")
        codec.thread_count = 1
        codec.options = {"err_detect": "explode", "max_pixels": str(self._max_pixels)}
