"""Motion search at the sender: a coarse grid of half-pixel vectors, chosen by what they save and what they cost."""

from __future__ import annotations

import threading

import cv2
import numpy as np

from vidcodec.networks.integer import Ints
from vidcodec.networks.refine import CELL, ROUNDS, refined, warp
from vidcodec.networks.vectors import LIMIT

ZERO_BITS, MERGE_BITS = 0.3, 0.3
"""What a vector must save to be looked at: one other than zero, and one that differs from its neighbours' median."""

KEPT = 4.0
"""How many frames' error a vector counts for: what it saves is saved again in the frames that copy the result."""


def motion_price(weight: float) -> float:
    """Squared error, summed over luma in 0..1, that a bit of motion is worth at a weight of the distortion.

    One bit of a frame is worth a squared error of 1 / weight, summed over the mean of three colour planes.
    """
    return 1 / (KEPT * weight)


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


def _cell_sum(values: np.ndarray) -> np.ndarray:
    h, w = values.shape
    return cv2.resize(values, (w // CELL, h // CELL), interpolation=cv2.INTER_AREA) * (CELL * CELL)


def _error(now: np.ndarray, before: np.ndarray, vectors: Ints) -> np.ndarray:
    """Squared error of each cell [h, w] after moving `before` by a vector field."""
    return _cell_sum((now - warp(before, vectors)) ** 2)


def search(current: np.ndarray, reference: np.ndarray, bit_price: float = 0.0025, rounds: int = ROUNDS) -> Ints:
    """Vectors that predict `current` from `reference` (uint8 luma [H, H] each, H a multiple of 16).

    bit_price: see `motion_price`; rounds: of refinement.

    Returns int64 [H/16, H/16, 2], (x, y) in half pixels: current(p) is about reference(p + v/2).
    """
    h, w = current.shape[0] // CELL, current.shape[1] // CELL
    flow = _flow(current, reference)
    vectors = np.rint(cv2.resize(flow, (w, h), interpolation=cv2.INTER_AREA) * 2)
    vectors = np.clip(vectors, -LIMIT, LIMIT).astype(np.int64)
    if not vectors.any():
        return vectors
    now, before = (picture.astype(np.float32) / np.float32(255) for picture in (current, reference))
    error_zero = _cell_sum((now - before) ** 2)
    error = _error(now, before, vectors)
    for _ in range(2):
        # A vector's reach is its own cell and half of the next: the saving is judged over that support.
        saved = cv2.blur(error_zero - error, (3, 3), borderType=cv2.BORDER_REPLICATE)
        lost = vectors.any(-1) & (saved < ZERO_BITS * KEPT * bit_price)
        if not lost.any():
            break
        vectors[lost] = 0
        if not vectors.any():
            return vectors
        error = _error(now, before, vectors)
    smooth = np.stack([cv2.medianBlur(vectors[..., k].astype(np.int16), 3) for k in (0, 1)], -1).astype(np.int64)
    lone = (smooth != vectors).any(-1)
    if lone.any():
        merges = lone & (_error(now, before, smooth) - error < MERGE_BITS * KEPT * bit_price)
        vectors[merges] = smooth[merges]
    return refined(vectors, now, before, bit_price, rounds)
