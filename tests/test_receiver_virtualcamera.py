"""The virtual camera: pyvirtualcam's own front end, with a device in memory where this machine has none."""

import time

import numpy as np
import pytest

from receiver.virtualcamera import CAMERA_FPS, SIZES, CameraSize, VirtualCamera, letter_box
from vidcodec.errors import InputError

pyvirtualcam = pytest.importorskip("pyvirtualcam", reason="pyvirtualcam is not installed")


class MemoryDevice:
    """A device that keeps what it is sent."""

    sent: list[np.ndarray] = []  # noqa: RUF012 (pyvirtualcam makes the instance, so the class keeps the frames)
    closed = 0

    def __init__(self, *, width: int, height: int, fps: float, fourcc: int, device: str | None, **_: object) -> None:
        self.shape = (height, width, 3)

    def device(self) -> str:
        return "memory"

    def send(self, frame: np.ndarray) -> None:
        MemoryDevice.sent.append(np.array(frame).reshape(self.shape))

    def close(self) -> None:
        MemoryDevice.closed += 1


def test_face_is_as_large_as_it_fits_in_the_middle_of_black() -> None:
    face = np.full((192, 192, 3), 200, np.uint8)
    boxed = letter_box(face, 640, 480)
    assert boxed.shape == (480, 640, 3)
    assert (boxed[:, 80:560] == 200).all()
    assert not boxed[:, :80].any() and not boxed[:, 560:].any()
    assert letter_box(face, 1280, 720).sum() == 720 * 720 * 3 * 200


def test_pictures_reach_the_device_and_the_newest_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pyvirtualcam.camera, "BACKENDS", {"memory": MemoryDevice})
    MemoryDevice.sent.clear()
    camera = VirtualCamera(CameraSize(640, 480, 30.0))
    assert camera.name == "memory"
    for value in range(100):
        camera.show(np.full((192, 192, 3), value, np.uint8))
    end_s = time.monotonic() + 5
    while (not MemoryDevice.sent or MemoryDevice.sent[-1][240, 320, 0] != 99) and time.monotonic() < end_s:
        time.sleep(0.01)
    camera.close()
    camera.close()
    values = [int(frame[240, 320, 0]) for frame in MemoryDevice.sent]
    assert values[-1] == 99 and values == sorted(values)


def test_machine_without_a_virtual_camera_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    class Missing(MemoryDevice):
        def __init__(self, **_: object) -> None:
            raise RuntimeError("no device\nfound")

    monkeypatch.setattr(pyvirtualcam.camera, "BACKENDS", {"missing": Missing})
    with pytest.raises(InputError, match="modprobe v4l2loopback") as caught:
        VirtualCamera(CameraSize(1280, 720, 30.0))
    assert "\n" not in str(caught.value)


def test_camera_that_is_taken_away_is_said_in_one_line_and_the_call_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Unplugged(MemoryDevice):
        def send(self, frame: np.ndarray) -> None:
            raise RuntimeError("no such\ndevice")

    monkeypatch.setattr(pyvirtualcam.camera, "BACKENDS", {"unplugged": Unplugged})
    camera = VirtualCamera(CameraSize(640, 480, 30.0))
    end_s = time.monotonic() + 5
    while not caplog.messages and time.monotonic() < end_s:
        camera.show(np.zeros((192, 192, 3), np.uint8))
        time.sleep(0.01)
    camera.close()
    assert caplog.messages == ["the virtual camera is gone: no such device"]


@pytest.mark.parametrize("name", SIZES)
def test_another_program_sees_the_face_in_its_colours(name: str) -> None:
    """Through the system's own device, read back as a meeting program would."""
    width, height = SIZES[name]
    try:
        camera = VirtualCamera(CameraSize(width, height, CAMERA_FPS))
    except InputError as error:
        pytest.skip(f"no virtual camera here: {error}")
    cv2 = pytest.importorskip("cv2")
    face = np.zeros((192, 192, 3), np.uint8)
    face[:] = (200, 90, 30)
    try:
        reader = cv2.VideoCapture(camera.name)
        seen, end_s = None, time.monotonic() + 10
        while time.monotonic() < end_s and (seen is None or not seen[height // 2, width // 2].any()):
            camera.show(face)
            ok, frame = reader.read()
            seen = frame if ok else seen
        reader.release()
    finally:
        camera.close()
    assert seen is not None and seen.shape == (height, width, 3)
    assert np.abs(seen[height // 2, width // 2].astype(int) - (30, 90, 200)).max() < 12  # YUV in between
    assert seen[:, : (width - height) // 2 - 4].max() < 12
