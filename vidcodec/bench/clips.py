"""Clips to measure on: any video, as 192x192 RGB frames."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from sender.detect import quiet_opencv
from vidcodec.codec import FRAME_SIZE
from vidcodec.errors import InputError, UsageError

Frame = NDArray[np.uint8]

VIDEO_ENDINGS = (".mp4", ".mkv", ".mov", ".avi", ".webm", ".y4m")


@dataclass(frozen=True)
class Clip:
    """A clip in memory.

    Attributes:
        name: file name without its ending.
        fps: the file's own frame rate.
        frames: `[N, 192, 192, 3]` uint8 RGB.
        sha256: of the frames and the rate; what caches are keyed by.
    """

    name: str
    fps: float
    frames: NDArray[np.uint8]
    sha256: str

    @property
    def duration_s(self) -> float:
        return len(self.frames) / self.fps


def find_clips(sources: Sequence[str | Path]) -> list[Path]:
    """Files as they are, folders as the videos in them, sorted by name.

    Raises:
        InputError: nothing there, or a folder without a video.
        UsageError: two files of one name; figures are kept by it.
    """
    paths: list[Path] = []
    for source in map(Path, sources):
        if source.is_dir():
            inside = sorted(path for path in source.iterdir() if path.suffix.lower() in VIDEO_ENDINGS)
            if not inside:
                raise InputError(f"clips {source}: no video in this folder ({', '.join(VIDEO_ENDINGS)})")
            paths += inside
        elif source.is_file():
            paths.append(source)
        else:
            raise InputError(f"clips {source}: no such file or folder")
    named: dict[str, Path] = {}
    for path in paths:
        if (other := named.setdefault(path.stem, path)) is not path:
            raise UsageError(f"clips {other} and {path}: figures are kept by name, and these have one; rename one")
    return paths


def to_square(frame: Frame, size: int = FRAME_SIZE) -> Frame:
    """The centre square of a picture, scaled to `[size, size, 3]`: averaged on the way down, cubic on the way up."""
    height, width = frame.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = frame[top : top + side, left : left + side]
    how = cv2.INTER_AREA if side >= size else cv2.INTER_CUBIC
    return np.ascontiguousarray(cv2.resize(square, (size, size), interpolation=how), np.uint8)


def read_clip(path: Path, frames: int | None = None, noise: float = 0.0) -> Clip:
    """Read a video, or its first `frames` frames.

    noise: standard deviation, in levels of 255, of camera noise put on every value, the same each time; named in the
        clip's name.

    Raises:
        InputError: OpenCV cannot read it, or it is empty.
    """
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # what is wrong with a file is said in a line of ours
    with quiet_opencv():
        capture = cv2.VideoCapture(str(path))
    try:
        fps = capture.get(cv2.CAP_PROP_FPS)
        pictures: list[Frame] = []
        while frames is None or len(pictures) < frames:
            ok, picture = capture.read()
            if not ok:
                break
            pictures.append(to_square(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB).astype(np.uint8)))
    finally:
        capture.release()
    if not pictures:
        raise InputError(f"clip {path}: no frame can be read from it; give a video file")
    stack, name = np.stack(pictures), path.stem
    if noise > 0:
        rng, name = np.random.default_rng(0), f"{name}+noise{noise:g}"
        for frame in stack:
            frame[:] = np.clip(np.rint(frame + rng.normal(0, noise, frame.shape)), 0, 255)
    fps = fps if 1 <= fps <= 240 else 30.0
    digest = hashlib.sha256(stack.tobytes() + repr((stack.shape, round(fps, 3))).encode()).hexdigest()
    return Clip(name, fps, stack, digest)
