"""The decoded face as a camera that other programs (Zoom, Meet, OBS) can choose, through pyvirtualcam."""

import logging
import threading
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vidcodec.errors import InputError, MissingExtra
from vidcodec.mailbox import Mailbox

Picture = NDArray[np.uint8]

log = logging.getLogger("receiver")

SIZES = {"480p": (640, 480), "720p": (1280, 720)}
"""What programs that expect a webcam accept everywhere."""

CAMERA_FPS = 30.0


def letter_box(picture: Picture, width: int, height: int) -> Picture:
    """A picture `[H, W, 3]` as large as it fits into `[height, width, 3]`, in the middle of black."""
    scale = min(width / picture.shape[1], height / picture.shape[0])
    inner_w, inner_h = round(picture.shape[1] * scale), round(picture.shape[0] * scale)
    left, top = (width - inner_w) // 2, (height - inner_h) // 2
    canvas = np.zeros((height, width, 3), np.uint8)
    canvas[top : top + inner_h, left : left + inner_w] = cv2.resize(
        picture, (inner_w, inner_h), interpolation=cv2.INTER_CUBIC
    )
    return canvas


@dataclass(frozen=True, slots=True)
class CameraSize:
    """Width and height in pixels, and the nominal frame rate."""

    width: int
    height: int
    fps: float


class VirtualCamera:
    """A camera that shows what is given to it. A thread of its own scales and sends; only the newest picture counts.

    Args:
        size: what other programs see.

    Raises:
        MissingExtra: pyvirtualcam is not installed.
        InputError: this machine has no virtual camera to write to.
    """

    def __init__(self, size: CameraSize) -> None:
        try:
            import pyvirtualcam
        except ImportError as error:
            raise MissingExtra("--virtual-camera needs a package", "camera") from error
        self._size = size
        try:
            self._camera: Any = pyvirtualcam.Camera(size.width, size.height, size.fps)
        except RuntimeError as error:
            raise InputError(
                "--virtual-camera: there is none to write to; on Linux run 'sudo modprobe v4l2loopback', on Windows "
                "and macOS install OBS and start its virtual camera once"
            ) from error
        self.name = str(self._camera.device)
        self._pictures: Mailbox[Picture] = Mailbox()
        self._thread = threading.Thread(target=self._run, name="virtual-camera", daemon=True)
        self._thread.start()

    def show(self, picture: Picture) -> None:
        """Show a picture `[H, W, 3]` uint8 RGB; never waits."""
        self._pictures.put(picture)

    def close(self) -> None:
        """Take the camera away. May be called twice."""
        self._pictures.close()
        self._thread.join(2.0)
        self._camera.close()

    def _run(self) -> None:
        try:
            for picture in self._pictures:
                self._camera.send(letter_box(picture, self._size.width, self._size.height))
        except (RuntimeError, OSError) as error:  # unloaded while it was used: the call goes on without it
            log.warning("the virtual camera is gone: %s", " ".join(str(error).split()))
