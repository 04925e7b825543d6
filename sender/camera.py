"""Cameras through OpenCV, and a list of them that neither waits nor prints."""

import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2

from sender.capture import Frame, Source
from sender.detect import quiet_opencv
from vidcodec.errors import InputError

DEFAULT_FPS = 30.0
PROBED_CAMERAS = 4
BACKENDS = {"linux": cv2.CAP_V4L2, "win32": cv2.CAP_DSHOW, "darwin": cv2.CAP_AVFOUNDATION}
"""Named, because OpenCV otherwise tries every back end it has, for seconds and aloud."""

SILENCE_S = 3.0
"""A camera that gives no frame for this long is gone."""

# linux/videodev2.h: VIDIOC_QUERYCAP fills struct v4l2_capability (104 bytes).
_QUERYCAP = 0x80685600
_CAPABILITY_BYTES = 104
_CARD = slice(16, 48)
_DEVICE_CAPS = slice(88, 92)
_VIDEO_CAPTURE = 0x1


@dataclass(frozen=True)
class Camera:
    """A camera that `--input INDEX` can open."""

    index: int
    name: str


def list_cameras() -> list[Camera]:
    """The cameras of this machine. On Linux nothing is opened for streaming; elsewhere a few indexes are tried."""
    if sys.platform == "linux":
        nodes = sorted(Path("/dev").glob("video*"), key=lambda node: (len(node.name), node.name))
        found = [_query(node) for node in nodes if node.name[5:].isdigit()]
        return [camera for camera in found if camera is not None]
    cameras = []
    with quiet_opencv():
        for index in range(PROBED_CAMERAS):
            device = cv2.VideoCapture(index, BACKENDS.get(sys.platform, cv2.CAP_ANY))
            if device.isOpened():
                cameras.append(Camera(index, f"camera {index}"))
            device.release()
    return cameras


def camera_may_exist(index: int) -> bool:
    """Whether opening camera `index` is worth a try. Linux knows at once; elsewhere only opening tells."""
    return sys.platform != "linux" or Path(f"/dev/video{index}").exists()


def _query(node: Path) -> Camera | None:
    """Ask a Linux video node what it is; None if it is no camera, or not ours to read."""
    import fcntl

    answer = bytearray(_CAPABILITY_BYTES)
    try:
        with node.open("rb", buffering=0) as device:
            fcntl.ioctl(device, _QUERYCAP, answer)
    except OSError:
        return None
    return camera_of(int(node.name[5:]), bytes(answer))


def camera_of(index: int, capability: bytes) -> Camera | None:
    """Read a `struct v4l2_capability`; None for a node that captures no video (metadata, a decoder, an output)."""
    if not int.from_bytes(capability[_DEVICE_CAPS], "little") & _VIDEO_CAPTURE:
        return None
    return Camera(index, capability[_CARD].split(b"\0")[0].decode(errors="replace"))


class CameraSource(Source):
    """A camera; its frames come at its own pace."""

    def __init__(
        self, index: int, width: int | None = None, height: int | None = None, fps: float | None = None
    ) -> None:
        """Open camera `index` and read one frame; arguments as in `open_source`.

        Raises:
            InputError: there is none, it is busy, or it gives no picture.
        """
        self.name = f"camera {index}"
        self.live = True
        self._stop = threading.Event()
        self._reading = False
        advice = "list the cameras with --list-devices, or give a file or 'sample'"
        if not camera_may_exist(index):
            raise InputError(f"{self.name}: there is no such camera; {advice}")
        with quiet_opencv():
            self._device = cv2.VideoCapture(index, BACKENDS.get(sys.platform, cv2.CAP_ANY))
            if not self._device.isOpened():
                raise InputError(f"{self.name}: cannot be opened (missing, or in use by another program); {advice}")
            if (width or 0) * (height or 0) > 640 * 480:
                # Uncompressed pictures of that size do not fit through USB 2 at 30 a second.
                self._device.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
            for what, value in (
                (cv2.CAP_PROP_FRAME_WIDTH, width),
                (cv2.CAP_PROP_FRAME_HEIGHT, height),
                (cv2.CAP_PROP_FPS, fps),
            ):
                if value is not None:
                    self._device.set(what, value)
            ok, picture = self._device.read()
        if not ok:
            self._device.release()
            raise InputError(f"{self.name}: gives no picture (in use by another program?); {advice}")
        self.size = (picture.shape[1], picture.shape[0])
        said_fps = self._device.get(cv2.CAP_PROP_FPS)
        self.fps = said_fps if 1 <= said_fps <= 240 else DEFAULT_FPS

    def frames(self) -> Iterator[Frame]:
        """Yield frames as they come; see `Source.frames`."""
        self._reading = True
        index = 0
        start_ns = last_ns = time.monotonic_ns()
        try:
            while not self._stop.is_set():
                with quiet_opencv():
                    ok, picture = self._device.read()
                now_ns = time.monotonic_ns()
                if ok:
                    if index == 0:
                        start_ns = now_ns
                    last_ns = now_ns
                    yield Frame(index, now_ns, (now_ns - start_ns) / 1e9, cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))
                    index += 1
                elif now_ns - last_ns > SILENCE_S * 1e9:
                    raise InputError(f"{self.name}: gives no more pictures; was it unplugged?")
                else:
                    self._stop.wait(0.01)
        finally:
            self._device.release()

    def close(self) -> None:
        """End `frames` soon, from any thread; the device is released by the thread that reads it, if one does."""
        self._stop.set()
        if not self._reading:
            self._device.release()
