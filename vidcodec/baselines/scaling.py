"""Downscaled video: area averages on the way down, bicubic interpolation on the way up."""

import cv2
import numpy as np
from numpy.typing import NDArray

from vidcodec.errors import UsageError

Frame = NDArray[np.uint8]

SCALES = (1, 2, 4, 8)


def scale_down(frame: Frame, scale: int) -> Frame:
    """`[H, W, 3]` -> `[H / scale, W / scale, 3]` by averaging blocks.

    Raises:
        UsageError: a scale other than 1, 2, 4, 8, or one that does not divide the sides.
    """
    if scale not in SCALES or frame.shape[0] % scale or frame.shape[1] % scale:
        raise UsageError(f"scale {scale} of a {frame.shape[1]}x{frame.shape[0]} picture: use 1, 2, 4 or 8")
    if scale == 1:
        return frame
    size = (frame.shape[1] // scale, frame.shape[0] // scale)
    return np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), np.uint8)


def scale_up(frame: Frame, width: int, height: int) -> Frame:
    """`[h, w, 3]` -> `[height, width, 3]` by bicubic interpolation."""
    if frame.shape[:2] == (height, width):
        return frame
    return np.asarray(cv2.resize(frame, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def bicubic(frame: Frame, scale: int) -> Frame:
    """Down and up again without any coding: the source paper's bicubic rows."""
    return scale_up(scale_down(frame, scale), frame.shape[1], frame.shape[0])
