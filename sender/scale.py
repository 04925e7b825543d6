"""Scaling of pictures: by area where that loses pixels, by cubic interpolation where it adds them."""

import cv2
import numpy as np


def resize(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    """Scale an RGB uint8 picture [H, W, 3] to [height, width, 3].

    A picture of four times the wanted size or more is halved first, which is the same average of areas to within the
    rounding and the odd row or column at the far edge, and much quicker (one core, to 192x192: from 1080 rows 1.0 ms
    instead of 2.8, from 2160 rows 2.4 instead of 22).
    """
    while picture.shape[0] >= 4 * height and picture.shape[1] >= 4 * width:
        half_h, half_w = picture.shape[0] // 2, picture.shape[1] // 2
        even = picture[: 2 * half_h, : 2 * half_w]
        picture = cv2.resize(even, (half_w, half_h), interpolation=cv2.INTER_AREA)
    if picture.shape[:2] == (height, width):
        return np.ascontiguousarray(picture)
    shrinks = picture.shape[0] >= height and picture.shape[1] >= width
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
