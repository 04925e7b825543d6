"""Frames from a camera or a file, at the pace of a call, with only the newest one kept.

    open_source(...) -> Source.frames() --> Capture (reading thread) --> Mailbox --> the call

Cameras come through OpenCV, files through PyAV (which knows their time stamps and rotation). File commands take
`Source.frames()` of an unpaced source and miss no frame.
"""

import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vidcodec.errors import InputError
from vidcodec.mailbox import Mailbox, MailboxClosed

if TYPE_CHECKING:
    from sender.resending import Recorded

SAMPLE = Path(__file__).parent / "assets" / "sample.mp4"


@dataclass(frozen=True)
class Frame:
    """A captured picture.

    Attributes:
        index: 0, 1, 2, ... from this source, dropped frames counted.
        captured_ns: `time.monotonic_ns()` when it was there to be used.
        media_s: its own time in seconds from the first frame; a loop goes on counting.
        picture: RGB uint8 [H, W, 3], never changed by anyone.
        recorded: the packet that it was decoded from, where the source is a recorded call.
    """

    index: int
    captured_ns: int
    media_s: float
    picture: np.ndarray
    recorded: "Recorded | None" = None


class Source(ABC):
    """Where frames come from. Use as a context manager, or call `close`.

    Attributes:
        name: what to call it in messages and reports.
        fps: nominal frames per second.
        size: (width, height) of the first frame, upright.
        live: whether frames come at their own pace (a camera, or a file that is paced).
        slots: how many frames may wait for a reader: one, so that it gets the newest, unless they need each other.
        first: number that the first frame is sent under.
    """

    name: str
    fps: float
    size: tuple[int, int]
    live: bool
    slots: int = 1
    first: int = 0

    @abstractmethod
    def frames(self) -> Iterator[Frame]:
        """Yield frames until the source ends or is closed.

        Raises:
            InputError: the camera went away, or the file cannot be read any further.
        """

    @abstractmethod
    def close(self) -> None:
        """End `frames` soon, from any thread."""

    def __enter__(self) -> "Source":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def camera_index(source: str) -> int | None:
    """The number of the camera that `source` ("0", "/dev/video0") names, or None if it names a file."""
    if source.isascii() and source.isdigit():
        return int(source)
    prefix = "/dev/video"
    if sys.platform == "linux" and source.startswith(prefix) and source[len(prefix) :].isdigit():
        return int(source[len(prefix) :])
    return None


def open_source(
    source: str | int,
    *,
    width: int | None = None,
    height: int | None = None,
    fps: float | None = None,
    loop: bool = False,
    paced: bool = True,
) -> Source:
    """Open a camera, a file or the bundled clip, and read its first frame.

    Args:
        source: camera index ("0" or 0), path of a video or picture, or "sample". A file whose name is a number is
            reached as "./0".
        width, height: asked of a camera, which may give others; a file has its own.
        fps: asked of a camera; a file with more frames per second leaves some out.
        loop: start a file again at its end; the bundled clip is played to and fro, since the cut of a 2.4 s loop
            would cost bits that no call spends (7 % of them with x264).
        paced: give the frames of a file in real time; False gives them as fast as they are taken.

    Raises:
        InputError: no such camera or file, or nothing in it that can be shown.
    """
    from sender.camera import CameraSource
    from sender.videofile import FileSource

    if source == "sample":
        return FileSource(SAMPLE, name="sample", fps=fps, loop=loop, paced=paced, to_and_fro=True)
    index = camera_index(str(source))
    if index is not None:
        return CameraSource(index, width, height, fps)
    return FileSource(Path(str(source)), name=str(source), fps=fps, loop=loop, paced=paced)


def open_source_or_sample(
    source: str | int | None,
    *,
    width: int | None = None,
    height: int | None = None,
    fps: float | None = None,
    loop: bool = False,
    paced: bool = True,
) -> tuple[Source, str | None]:
    """Open what the user named; if nothing was named, camera 0, or the sample clip in a loop where there is none.

    Returns:
        The source, and the one line to tell the user when the sample stands in for a camera, else None.

    Raises:
        InputError: a source that was named cannot be opened.
    """
    if source is not None:
        return open_source(source, width=width, height=height, fps=fps, loop=loop, paced=paced), None
    try:
        return open_source(0, width=width, height=height, fps=fps), None
    except InputError:
        notice = "no camera found: showing the bundled sample clip (choose another source with --input)"
        return open_source("sample", fps=fps, loop=True, paced=paced), notice


class Capture:
    """Reads a source in a thread of its own and keeps only its newest frame, or as many as the source says.

    Use as a context manager, or call `close`, which closes the source too.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self._mailbox: Mailbox[Frame] = Mailbox(source.slots)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="capture", daemon=True)
        self._thread.start()

    def get(self, timeout_s: float | None = None) -> Frame:
        """The next frame nobody has taken yet; waits for one up to `timeout_s` seconds (None: for ever).

        Raises:
            TimeoutError: no frame came in time.
            MailboxClosed: the source has ended and every frame was taken or dropped.
            InputError: the source broke.
        """
        try:
            return self._mailbox.get(timeout_s)
        except MailboxClosed:
            if self._error is not None:
                raise self._error from None
            raise

    @property
    def waiting(self) -> int:
        """Frames that can be had at once."""
        return self._mailbox.waiting

    @property
    def captured_count(self) -> int:
        """Frames read from the source so far."""
        return self._mailbox.put_count

    @property
    def dropped_count(self) -> int:
        """Frames that were replaced by a newer one before anyone took them."""
        return self._mailbox.dropped_count

    @property
    def ended(self) -> bool:
        """Whether no further frame will come; one may still wait to be taken."""
        return self._mailbox.closed

    def close(self) -> None:
        """Stop reading and close the source; waits for the frame in work, at most 2 s."""
        self.source.close()
        self._thread.join(timeout=2.0)

    def _run(self) -> None:
        try:
            for frame in self.source.frames():
                self._mailbox.put(frame)
        except BaseException as error:  # raised by `get`: else a source that fails would look like one that has ended
            self._error = error
        finally:
            self._mailbox.close()

    def __enter__(self) -> "Capture":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Pacer:
    """Waits until a frame's own time has come, counted from the first frame; can be interrupted."""

    def __init__(self, stop: threading.Event, patience_s: float = 0.25) -> None:
        """`stop` ends any wait. A reader more than `patience_s` late is given a new start instead of a burst."""
        self._stop = stop
        self._patience_s = patience_s
        self._start_s: float | None = None

    def wait(self, media_s: float) -> bool:
        """Sleep until `media_s` seconds after the first call; False if `stop` was set."""
        now_s = time.monotonic()
        if self._start_s is None:
            self._start_s = now_s - media_s
        early_s = self._start_s + media_s - now_s
        if early_s < -self._patience_s:
            self._start_s = now_s - media_s
        return not self._stop.wait(max(0.0, early_s))
