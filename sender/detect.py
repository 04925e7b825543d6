"""Where the faces are: YuNet on a small copy of the frame, in a thread of its own, a few times a second.

YuNet: Wu, Peng, Yu, "YuNet: A Tiny Millisecond-level Face Detector", Machine Intelligence Research 2023; the weights
are beside this file in `assets/`.
"""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np

from sender.scale import resize
from vidcodec.errors import InputError
from vidcodec.mailbox import Mailbox, MailboxClosed

log = logging.getLogger(__name__)

MODEL = Path(__file__).parent / "assets" / "face_detection_yunet_2023mar.onnx"
SMALLEST_SIDE = 16
"""The detector's coarsest grid is 32 px; below half of that it finds nothing and is not asked."""


@dataclass(frozen=True)
class Face:
    """A face in the picture it was found in, forehead to chin.

    Attributes:
        x, y: top left corner in pixels; may be slightly outside the picture.
        width, height: size in pixels.
        score: the detector's confidence, 0..1.
    """

    x: float
    y: float
    width: float
    height: float
    score: float


@dataclass(frozen=True)
class Detection:
    """The faces of one frame, largest first."""

    faces: tuple[Face, ...]
    captured_ns: int


@contextmanager
def quiet_opencv() -> Iterator[None]:
    """Keep OpenCV's own warnings off stderr: what matters is raised as an error of ours."""
    control: Any = getattr(cv2.utils, "logging", cv2)  # OpenCV moved it in 4.13
    level = control.getLogLevel()
    control.setLogLevel(0)
    try:
        yield
    finally:
        control.setLogLevel(level)


class FaceDetector:
    """YuNet on a picture of at most `max_side` pixels. Not safe for two threads at once."""

    def __init__(self, max_side: int = 320, score: float = 0.8, model: Path = MODEL) -> None:
        """Load the network.

        Args:
            max_side: the frame is scaled down until its longer side is this many pixels; never up.
            score: faces with less confidence (0..1) are left out. People on a webcam, a hand over the mouth included,
                scored above 0.9 where a parrot reached 0.79.
            model: the ONNX file.

        Raises:
            InputError: the file is missing or is no detector that OpenCV can read.
        """
        self._max_side = max_side
        self._size = (max_side, max_side)
        try:
            with quiet_opencv():
                self._net = cv2.FaceDetectorYN.create(str(model), "", self._size, score, 0.3, 50)
        except cv2.error as error:
            raise InputError(f"face detector {model} cannot be read; reinstall the package") from error

    def detect(self, picture: np.ndarray) -> tuple[Face, ...]:
        """Find the faces of an RGB uint8 picture [H, W, 3], largest first, in its own pixels."""
        height, width = picture.shape[:2]
        scale = min(1.0, self._max_side / max(height, width))
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        if min(size) < SMALLEST_SIDE:
            return ()
        small = resize(picture, *size)
        if size != self._size:
            self._net.setInputSize(size)
            self._size = size
        _, rows = self._net.detect(cv2.cvtColor(small, cv2.COLOR_RGB2BGR))
        if rows is None:
            return ()
        across, down = width / size[0], height / size[1]
        faces = [
            Face(float(r[0]) * across, float(r[1]) * down, float(r[2]) * across, float(r[3]) * down, float(r[14]))
            for r in rows
            if np.isfinite(r).all() and r[2] > 0 and r[3] > 0
        ]
        return tuple(sorted(faces, key=lambda face: face.width * face.height, reverse=True))


class DetectorThread:
    """Runs a detector off the frame path: takes the newest frame offered, at most `rate_hz` times a second.

    `offer` and `poll` never wait. Use as a context manager, or call `close`.
    """

    def __init__(self, detector: FaceDetector, rate_hz: float = 8.0) -> None:
        self._detector = detector
        self._pause_s = 1.0 / rate_hz
        self._frames: Mailbox[tuple[np.ndarray, int]] = Mailbox()
        self._results: Mailbox[Detection] = Mailbox()
        self._thread = threading.Thread(target=self._run, name="face-detector", daemon=True)
        self._thread.start()

    def offer(self, picture: np.ndarray, captured_ns: int) -> None:
        """Leave a frame (RGB uint8 [H, W, 3], not changed afterwards) for the detector."""
        self._frames.put((picture, captured_ns))

    def poll(self) -> Detection | None:
        """Take the newest result nobody has taken yet, or None."""
        return self._results.poll()

    def close(self) -> None:
        """End the thread; waits for the frame in work, a few milliseconds."""
        self._frames.close()
        self._thread.join()

    def _run(self) -> None:
        due_s = time.monotonic()
        while True:
            # Waiting before taking the frame, not after, keeps the result fresh.
            time.sleep(max(0.0, due_s - time.monotonic()))
            try:
                picture, captured_ns = self._frames.get()
            except MailboxClosed:
                return
            due_s = time.monotonic() + self._pause_s
            try:
                faces = self._detector.detect(picture)
            except cv2.error as error:
                # A frame that OpenCV cannot take must not end the call: the crop then eases to the centre.
                log.warning("face detection failed on a frame: %s", str(error).replace("\n", " "))
                faces = ()
            self._results.put(Detection(faces, captured_ns))

    def __enter__(self) -> "DetectorThread":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
