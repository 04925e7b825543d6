"""Single-picture formats through OpenCV: JPEG, JPEG 2000, WebP, AVIF."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from vidcodec.errors import DamagedPacket, UsageError

Frame = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class StillSettings:
    """A format.

    Attributes:
        name: as tables call it.
        ending: what OpenCV picks the coder by.
        parameter: OpenCV's number of the quality parameter.
        parameter_name: its name, for tables.
        levels: qualities from few bits to many.
        extra: further OpenCV parameters.
    """

    name: str
    ending: str
    parameter: int
    parameter_name: str
    levels: tuple[int, ...]
    extra: tuple[int, ...] = ()

    def describe(self) -> str:
        return f"{self.name} {self.parameter_name}={{q}}"


STILLS: dict[str, StillSettings] = {
    settings.name: settings
    for settings in (
        StillSettings(
            "jpeg",
            ".jpg",
            cv2.IMWRITE_JPEG_QUALITY,
            "quality",
            (5, 10, 18, 30, 50, 70, 85),
            (cv2.IMWRITE_JPEG_OPTIMIZE, 1),
        ),
        StillSettings(
            "jpeg2000",
            ".jp2",
            cv2.IMWRITE_JPEG2000_COMPRESSION_X1000,
            "compression_x1000",
            (6, 10, 16, 26, 42, 70, 110),
        ),
        StillSettings("webp", ".webp", cv2.IMWRITE_WEBP_QUALITY, "quality", (1, 8, 20, 40, 60, 78, 88)),
        StillSettings(
            "avif",
            ".avif",
            cv2.IMWRITE_AVIF_QUALITY,
            "quality",
            (5, 15, 28, 42, 56, 68, 80),
            (cv2.IMWRITE_AVIF_SPEED, 6),
        ),
    )
}


def encode_still(frame: Frame, settings: StillSettings, quality: int) -> bytes:
    """One picture `[H, W, 3]` uint8 RGB to a file's bytes.

    Raises:
        UsageError: this build of OpenCV cannot write the format.
    """
    parameters = [settings.parameter, quality, *settings.extra]
    try:
        done, data = cv2.imencode(settings.ending, cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), parameters)
    except cv2.error as error:
        raise UsageError(f"{settings.name}: this build of OpenCV cannot write it ({error.err})") from error
    if not done:
        raise UsageError(f"{settings.name}: OpenCV wrote nothing at {settings.parameter_name} {quality}")
    return data.tobytes()


def decode_still(data: bytes) -> Frame:
    """A file's bytes to `[H, W, 3]` uint8 RGB.

    Raises:
        DamagedPacket: no picture that OpenCV can read.
    """
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    if picture is None:
        raise DamagedPacket(f"{len(data)} bytes are no picture that OpenCV can read")
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)
