"""Frames of a video file or picture, upright, with square pixels, in the file's own time."""

import itertools
import logging
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

# PyAV after OpenCV: the other way round cv2.imshow hangs.
# isort: split
import av
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from sender.capture import Frame, Pacer, Source
from vidcodec.errors import InputError, reason_of

DEFAULT_FPS = 30.0
log = logging.getLogger(__name__)

LONGEST_GAP_S = 10.0
"""Time stamps that jump further than this, or backwards, are a damaged clock and not a pause."""


def nominal_fps(stream: VideoStream) -> float:
    """Frames per second of a stream, or 30 where the file does not say anything believable."""
    for rate in (stream.average_rate, stream.guessed_rate):
        if rate and 1 <= rate <= 240:
            return float(rate)
    return DEFAULT_FPS


def upright(frame: VideoFrame, aspect: Fraction | None) -> np.ndarray:
    """The picture of a decoded frame as RGB uint8 [H, W, 3], turned as its rotation mark says, with square pixels.

    Args:
        frame: any pixel format.
        aspect: width by height of one pixel of the stream; None or 0 where unknown.
    """
    picture: np.ndarray = frame.to_ndarray(format="rgb24")
    if aspect and not Fraction(99, 100) < aspect < Fraction(101, 100):
        height, width = picture.shape[:2]
        wide = round(width * aspect) if aspect > 1 else width
        tall = round(height / aspect) if aspect < 1 else height
        if max(wide, tall) <= 8 * max(width, height):  # more than that is a damaged header
            picture = cv2.resize(picture, (wide, tall), interpolation=cv2.INTER_LINEAR)
    quarter_turns = round(frame.rotation / 90) % 4  # counter-clockwise, as np.rot90
    return np.ascontiguousarray(np.rot90(picture, quarter_turns)) if quarter_turns else picture


def decoded(container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
    """Decode a stream to its end; what is damaged is passed over, and said once in the log."""
    damaged = 0
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except av.error.FFmpegError as error:
            log.warning("reading stopped early: %s", error)
            packet = None
        if packet is None:
            break
        try:
            yield from packet.decode()
        except av.error.FFmpegError:
            damaged += 1
    if damaged:
        log.warning("%d damaged pieces of the video were passed over", damaged)


class FileSource(Source):
    """A video file or picture in any format that FFmpeg decodes."""

    def __init__(
        self,
        path: Path,
        name: str,
        *,
        fps: float | None = None,
        loop: bool = False,
        paced: bool = True,
        to_and_fro: bool = False,
    ) -> None:
        """Open `path` and decode its first frame; arguments as in `open_source`.

        A loop that runs `to_and_fro` plays backwards after the end, then forwards again, so that it has no cut; it
        keeps the whole clip in memory, one rate for all its frames.

        Raises:
            InputError: missing, unreadable, or without a single picture.
        """
        self.name = name
        self.live = paced
        self._path, self._loop, self._paced, self._to_and_fro = path, loop, paced, to_and_fro
        self._stop = threading.Event()
        self._own_fps = DEFAULT_FPS
        if not path.exists():
            raise InputError(f"{name}: no such file; give a video file, a camera index or 'sample'")
        if not path.is_file():
            raise InputError(f"{name}: not a file; give a video file, a camera index or 'sample'")
        if path.stat().st_size == 0:
            raise InputError(f"{name}: the file is empty; give a video with at least one frame")
        first = next(self._timed(), None)
        if first is None:
            raise InputError(f"{name}: no picture in it can be decoded; give a video with at least one frame")
        height, width = first[1].shape[:2]
        self.size = (width, height)
        self.fps = self._own_fps if fps is None else min(fps, self._own_fps)

    def frames(self) -> Iterator[Frame]:
        """Yield the frames of the file; see `Source.frames`."""
        pacer = Pacer(self._stop)
        thinner = Thinner(self.fps) if self.fps < self._own_fps else None
        index = 0
        for media_s, picture in self._passes():
            if thinner and not thinner.keeps(media_s):
                continue
            if (self._paced and not pacer.wait(media_s)) or self._stop.is_set():
                return
            yield Frame(index, time.monotonic_ns(), media_s, picture)
            index += 1

    def close(self) -> None:
        """End `frames` soon, from any thread."""
        self._stop.set()

    def _passes(self) -> Iterator[tuple[float, np.ndarray]]:
        """Yield (seconds from the first frame, picture), once through the file or for ever."""
        step_s = 1.0 / self._own_fps
        kept: list[np.ndarray] = []
        end_s = 0.0
        while True:
            start_s, found = end_s, False
            for at_s, picture in self._timed():
                found, end_s = True, start_s + at_s + step_s
                if self._to_and_fro:
                    kept.append(picture)
                yield start_s + at_s, picture
            if not self._loop or not found:
                return
            if self._to_and_fro:
                break
        order = itertools.chain(range(len(kept) - 2, -1, -1), range(1, len(kept)))
        for number, index in enumerate(itertools.cycle(order) if len(kept) > 1 else itertools.repeat(0)):
            yield end_s + number * step_s, kept[index]

    def _timed(self) -> Iterator[tuple[float, np.ndarray]]:
        """Yield (seconds from the first frame, picture), once through the file."""
        try:
            # An absolute path is never taken for a protocol such as "concat:".
            with av.open(str(self._path.absolute())) as container:
                if not container.streams.video:
                    raise InputError(f"{self.name}: there is no picture in it; give a video file")
                stream = container.streams.video[0]
                stream.thread_type = "AUTO"
                self._own_fps = nominal_fps(stream)
                at_s, last = -1.0 / self._own_fps, None
                for frame in decoded(container, stream):
                    # What is no sensible step forward in time counts as one frame.
                    gap_s = frame.time - last if frame.time is not None and last is not None else 0.0
                    at_s += gap_s if 0.0 < gap_s <= LONGEST_GAP_S else 1.0 / self._own_fps
                    last = frame.time
                    yield at_s, upright(frame, stream.sample_aspect_ratio)
        except (av.error.FFmpegError, OSError, ValueError) as error:
            reason = reason_of(error)
            raise InputError(f"{self.name}: not a readable video ({reason}); give another file") from error


class Thinner:
    """Leaves frames out, evenly, so that at most `fps` a second stay."""

    def __init__(self, fps: float) -> None:
        self._gap_s = 1.0 / fps
        self._due_s = 0.0

    def keeps(self, media_s: float) -> bool:
        """Whether the frame at `media_s` stays; times must not run backwards."""
        if media_s < self._due_s - 0.002:  # time stamps are rounded, often to milliseconds
            return False
        self._due_s = max(self._due_s + self._gap_s, media_s - self._gap_s)
        return True
