"""From a frame to the codec's picture: cut the box out, scale it to 192x192, and ask for faces now and then."""

import itertools
import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Literal, get_args

import numpy as np

from sender.box import Box, CropController, CropOptions, centre_box
from sender.detect import Detection, DetectorThread, FaceDetector
from sender.scale import resize

log = logging.getLogger(__name__)

SIDE = 192
Mode = Literal["face", "center", "none"]
MODES: tuple[Mode, ...] = get_args(Mode)


def crop_to(picture: np.ndarray, box: Box, side: int = SIDE) -> np.ndarray:
    """Cut `box` out of an RGB uint8 picture [H, W, 3] and scale it to [side, side, 3]."""
    return resize(picture[box.y : box.y + box.size, box.x : box.x + box.size], side, side)


def fit_whole(picture: np.ndarray, side: int = SIDE) -> np.ndarray:
    """Scale a whole picture into [side, side, 3], shape kept, black bars where it is not square."""
    height, width = picture.shape[:2]
    scale = side / max(height, width)
    inner_w, inner_h = max(1, round(width * scale)), max(1, round(height * scale))
    left, top = (side - inner_w) // 2, (side - inner_h) // 2
    canvas = np.zeros((side, side, 3), np.uint8)
    canvas[top : top + inner_h, left : left + inner_w] = resize(picture, inner_w, inner_h)
    return canvas


class Cropper:
    """The crop of a call, frame by frame; `detect` says what is known about faces at each frame.

    `detect(picture, captured_ns)` returns a new `Detection` or None. It is what differs between a call (a thread that
    answers a little later) and a file (inline, every Nth frame): see `live_cropper` and `crop_frames`.
    """

    def __init__(
        self,
        mode: Mode,
        detect: Callable[[np.ndarray, int], Detection | None],
        options: CropOptions | None = None,
    ) -> None:
        self._mode = mode
        self._detect = detect
        self._options = options
        self._controller: CropController | None = None
        self._shape: tuple[int, ...] = ()
        self.box: Box | None = None
        """Where the last crop was taken; None when the whole picture was."""
        self.face_seen = False
        """Whether there was a face in any frame so far."""
        self._told = False

    def crop(self, picture: np.ndarray, captured_ns: int) -> np.ndarray:
        """The [192, 192, 3] crop of an RGB uint8 frame [H, W, 3] of any size captured at `captured_ns`."""
        height, width = picture.shape[:2]
        if self._mode == "none":
            return fit_whole(picture)
        if self._mode == "center":
            self.box = centre_box(width, height)
            return crop_to(picture, self.box)
        if self._controller is None or picture.shape != self._shape:
            self._controller = CropController(width, height, self._options)
            self._shape = picture.shape
        found = self._detect(picture, captured_ns)
        if found is not None:
            self._controller.observe(found.faces, found.captured_ns / 1e9)
            self.face_seen = self.face_seen or bool(found.faces)
            if self._controller.lost:
                self.tell_lost()
        self.box = self._controller.box(captured_ns / 1e9)
        return crop_to(picture, self.box)

    def tell_lost(self) -> None:
        """Say in the log, once, that the centre stands in for a face."""
        if not self._told:
            self._told = True
            log.warning("no face in the picture: taking its centre (--crop center or none does so without looking)")


class LiveCropper(Cropper):
    """The crop of a live call: the first frame waits for the detector (some 5 ms), no other frame does.

    Use as a context manager, or call `close`.
    """

    def __init__(self, mode: Mode = "face", options: CropOptions | None = None, rate_hz: float = 8.0) -> None:
        """Start the detector thread if `mode` needs one."""
        self._thread: DetectorThread | None = None
        self._first: FaceDetector | None = None
        if mode == "face":
            self._first = FaceDetector()
            self._first.detect(np.zeros((240, 320, 3), np.uint8))  # its first picture takes four times as long
            self._thread = DetectorThread(FaceDetector(), rate_hz)
        super().__init__(mode, self._ask, options)

    def _ask(self, picture: np.ndarray, captured_ns: int) -> Detection | None:
        if self._first is not None:
            faces = self._first.detect(picture)
            self._first = None
            return Detection(faces, captured_ns)
        if self._thread is None:
            return None
        self._thread.offer(picture, captured_ns)
        return self._thread.poll()

    def close(self) -> None:
        """End the detector thread."""
        if self._thread is not None:
            self._thread.close()

    def __enter__(self) -> "LiveCropper":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def crop_frames(
    frames: Iterable[np.ndarray],
    fps: float,
    mode: Mode = "face",
    options: CropOptions | None = None,
    rate_hz: float = 8.0,
) -> Iterator[np.ndarray]:
    """Crop the frames (RGB uint8 [H, W, 3]) of a file to [192, 192, 3], the same every time.

    Faces are looked for inline, `rate_hz` times per second of the file.
    """
    detector = FaceDetector() if mode == "face" else None
    every = max(1, round(fps / rate_hz))
    number = itertools.count()

    def detect(picture: np.ndarray, captured_ns: int) -> Detection | None:
        if detector is None or next(number) % every:
            return None
        return Detection(detector.detect(picture), captured_ns)

    cropper = Cropper(mode, detect, options)
    try:
        for index, picture in enumerate(frames):
            yield cropper.crop(picture, round(index * 1e9 / fps))
    finally:
        if mode == "face" and not cropper.face_seen:
            cropper.tell_lost()
