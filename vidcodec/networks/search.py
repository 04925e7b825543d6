"""Motion search at the sender: a coarse grid of half-pixel vectors, chosen by what they save and what they cost."""

from __future__ import annotations

import functools
import threading
from dataclasses import dataclass

import cv2
import numpy as np

CELL = 16  # pixels a vector stands for, in each direction
LIMIT = 63  # half pixels, either way: a vector is coded in [-LIMIT, LIMIT]


@dataclass(frozen=True)
class SearchCosts:
    """What a vector must save to be sent.

    zero_gain: squared error over one cell (256 pixels of luma in [0,1]) that a vector other than zero must save.
    merge_gain: the same for a vector that differs from the median of its neighbours.
    """

    zero_gain: float = 0.02
    merge_gain: float = 0.01


def motion_costs(weight: float) -> SearchCosts:
    """What a vector must save at a weight of the distortion: two bits' worth, and three to differ from its neighbours.

    One bit is worth a squared error of 1 / weight summed over the mean of three colour planes. A vector costs more bits
    than two, but what it saves is saved again in every frame that copies the result: higher prices were tried and cost
    5 to 30 % of the rate.
    """
    return SearchCosts(zero_gain=2.0 / weight, merge_gain=3.0 / weight)


def luma(frame: np.ndarray) -> np.ndarray:
    """uint8 RGB [H, W, 3] to uint8 luma [H, W]."""
    return cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)


_own = threading.local()  # an optical flow object keeps buffers and must not be shared between threads


def _flow(current: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Dense flow float32 [H, W, 2] in pixels from `current` to `reference` (uint8 luma)."""
    if not hasattr(_own, "dis"):
        _own.dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
        _own.dis.setFinestScale(1)
    flow: np.ndarray = _own.dis.calc(current, reference, None)
    return flow


def _dense(vectors: np.ndarray) -> np.ndarray:
    """Half-pixel vectors int [h, w, 2] to float32 flow in pixels [16h, 16w, 2]: bilinear, flat beyond the rim."""
    h, w = vectors.shape[:2]
    return cv2.resize(vectors.astype(np.float32) * 0.5, (w * CELL, h * CELL), interpolation=cv2.INTER_LINEAR)


@functools.lru_cache(maxsize=8)
def _grid(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    return np.stack([x, y], -1)


def _cell_error(current: np.ndarray, reference: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Squared error of each cell [h, w] after warping `reference` (luma, float32) by a vector field."""
    h, w = vectors.shape[:2]
    where = _grid(*current.shape) + _dense(vectors)
    warped = cv2.remap(  # type: ignore[call-overload]  # OpenCV's own types forbid the one map it documents
        reference, where, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return _cell_sum((current - warped) ** 2, h, w)


def _cell_sum(values: np.ndarray, h: int, w: int) -> np.ndarray:
    return cv2.resize(values, (w, h), interpolation=cv2.INTER_AREA) * (CELL * CELL)


def search(current: np.ndarray, reference: np.ndarray, costs: SearchCosts | None = None) -> np.ndarray:
    """Vectors that predict `current` from `reference` (uint8 luma [H, W] each, H and W multiples of 16).

    Returns int32 [H/16, W/16, 2], (x, y) in half pixels: current(p) is about reference(p + v/2).
    """
    costs = costs or SearchCosts()
    h, w = current.shape[0] // CELL, current.shape[1] // CELL
    flow = _flow(current, reference)
    vectors = np.rint(cv2.resize(flow, (w, h), interpolation=cv2.INTER_AREA) * 2)
    vectors = np.clip(vectors, -LIMIT, LIMIT).astype(np.int32)
    if not vectors.any():
        return vectors
    now, before = current.astype(np.float32) / 255, reference.astype(np.float32) / 255
    error_zero = _cell_sum((now - before) ** 2, h, w)
    error = _cell_error(now, before, vectors)
    for _ in range(2):
        # A vector's reach is its own cell and half of the next: the saving is judged over that support.
        saved = cv2.blur(error_zero - error, (3, 3), borderType=cv2.BORDER_REPLICATE)
        lost = vectors.any(-1) & (saved < costs.zero_gain)
        if not lost.any():
            break
        vectors[lost] = 0
        if not vectors.any():
            return vectors
        error = _cell_error(now, before, vectors)
    smooth = np.stack([cv2.medianBlur(vectors[..., k].astype(np.int16), 3) for k in (0, 1)], -1).astype(np.int32)
    lone = (smooth != vectors).any(-1)
    if lone.any():
        merges = lone & (_cell_error(now, before, smooth) - error < costs.merge_gain)
        vectors[merges] = smooth[merges]
    return vectors
