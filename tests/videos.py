"""Small videos for tests, written with PyAV."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import cv2  # noqa: F401 - before PyAV, else cv2.imshow hangs

# isort: split
import av
import numpy as np


def numbered(count: int, width: int = 64, height: int = 48) -> list[np.ndarray]:
    """Flat RGB pictures whose red tells their number and whose green and blue tell the channels apart; at most 25."""
    return [np.full((height, width, 3), (10 * number, 100, 200), np.uint8) for number in range(count)]


def number_of(picture: np.ndarray) -> int:
    """The number of a picture of `numbered` after lossy coding."""
    return round(float(picture[..., 0].mean()) / 10)


def write_video(
    path: Path,
    pictures: Sequence[np.ndarray],
    *,
    fps: int = 30,
    codec: str = "ffv1",
    pix_fmt: str = "bgr0",
    at_ms: Sequence[int] | None = None,
    aspect: Fraction | None = None,
) -> Path:
    """Write RGB pictures; `at_ms` gives each its time (a variable rate), `aspect` the width by height of a pixel."""
    height, width = pictures[0].shape[:2]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps)
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        if at_ms is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts = number if at_ms is None else at_ms[number]
            frame.time_base = Fraction(1, fps) if at_ms is None else Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_sound(path: Path) -> Path:
    """Write half a second of silence, without any picture."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4000), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def turn_mp4(path: Path, degrees_clockwise: int) -> Path:
    """Mark an MP4 file as to be shown turned, as telephones do: rewrite the matrix of its track header."""
    data = bytearray(path.read_bytes())
    header = data.index(b"tkhd")
    matrix = header + 4 + 4 + 36  # after the type: version and flags, then 36 bytes of other fields (version 0)
    cos, sin = {0: (1, 0), 90: (0, 1), 180: (-1, 0), 270: (0, -1)}[degrees_clockwise]
    values = (cos << 16, sin << 16, 0, -sin << 16, cos << 16, 0, 0, 0, 1 << 30)
    data[matrix : matrix + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in values)
    path.write_bytes(bytes(data))
    return path
