"""Vectors chosen by rate and distortion: what each saves in the moved picture against what it takes to code.

What a picture gains from changing a vector by a pixel or less is known without moving it again. Around the present
field the moved picture is linear in the vectors (Lucas and Kanade, 1981), and since a vector acts on pixels through the
weights of a bilinear interpolation, the squared error is a quadratic form in each vector's change. Cells are gone
through in the order in which they are coded, so what a vector costs is known from its predicted neighbours; after each
pass the error that is left is brought up to date.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vidcodec.networks.integer import Ints, Rows
from vidcodec.networks.vectors import LIMIT, motion_passes, predicted_vectors

CELL = 16  # pixels a vector stands for, in each direction
FIRST_PASS = 3
"""The few cells coded before are left as they are: nearly all others are predicted from them."""

Floats = NDArray[Any]

# About what a component takes that is 0, 1, ... half pixels off its prediction, by the spread of the neighbours, in
# bits; beyond the last, `_FURTHER` for each half pixel. Seen in coded clips: the tables of a model are fitted later.
_BITS = np.array(
    [
        [0.1, 6.5, 9.0, 11.0, 12.0],
        [0.3, 3.7, 7.6, 8.7, 10.8],
        [0.6, 3.0, 6.5, 8.6, 10.2],
        [0.9, 2.6, 5.0, 6.6, 8.3],
        [1.4, 2.5, 3.9, 5.2, 6.4],
        [2.0, 2.9, 3.7, 4.3, 4.9],
        [1.4, 3.3, 4.3, 4.8, 6.0],
    ],
    np.float32,
)
_FURTHER = np.array([1.5, 1.5, 1.5, 1.5, 1.2, 0.9, 0.7], np.float32)
_COSTS = np.concatenate([_BITS, _BITS[:, -1:] + _FURTHER[:, None] * np.arange(1, 4 * LIMIT)], 1)
# Where x was off by one or more half pixels, y is coded with at least the table of such a spread.
_LEAST_SPREAD = np.array([0, 2, 3])

ROUNDS = 2
"""How often the picture is moved by the field as it has become; a third time gains nothing."""

# A longer way is gone in two rounds, and more safely.
_STEPS: Ints = np.array([(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)])


def refined(vectors: Ints, now: Floats, before: Floats, bit_price: float, rounds: int = ROUNDS) -> Ints:
    """Vectors near those given that cost less, error and bits together.

    Args:
        vectors: int [h, h, 2], (x, y) in half pixels, of a square field.
        now, before: luma [16 h, 16 h] in 0..1 of the frame and of its reference.
        bit_price: squared error, summed over pixels, that one bit is worth.
        rounds: how often, at most.

    Returns:
        int [h, h, 2] within the limit of what can be coded.
    """
    for _ in range(rounds):
        better = _one_round(vectors, now, before, bit_price)
        if np.array_equal(better, vectors):
            break
        vectors = better
    return vectors


def _one_round(vectors: Ints, now: Floats, before: Floats, bit_price: float) -> Ints:
    """Each vector moved to the best of its neighbours in value, what is expected there, and zero."""
    cells = len(vectors)
    flat = vectors.reshape(-1, 2).astype(np.int64)
    left, across, down = _linear(vectors, now, before)
    reach = _reach(cells)
    xx, xy, yy = (_sums(reach**2, a * b) for a, b in ((across, across), (across, down), (down, down)))
    x_pull, y_pull = (_sums(reach, left * slope) for slope in (across, down))
    passes = motion_passes(cells)[FIRST_PASS - 1 :]
    for number, (where, around) in enumerate(passes, start=FIRST_PASS):
        expected, tables = predicted_vectors(flat.take(around, 0), 0)
        own = flat[where]
        tried = np.concatenate([own + _STEPS[:, None], np.stack([expected, np.zeros_like(own)])])
        np.clip(tried, -LIMIT, LIMIT, out=tried)
        change = (tried - own).astype(np.float32)
        dx, dy = change[..., 0], change[..., 1]
        error = dx * (dx * xx[where] + 2 * (dy * xy[where] + x_pull[where])) + dy * (dy * yy[where] + 2 * y_pull[where])
        price = bit_price * _bits(np.abs(tried - expected), tables // 4)
        best = (error + price).argmin(0), np.arange(len(where))
        flat[where] = tried[best]
        if number < FIRST_PASS - 1 + len(passes) and change[best].any():
            moved = np.zeros((cells * cells, 2), np.float32)
            moved[where] = change[best]
            for axis, slope in enumerate((across, down)):
                left += slope * (reach.T @ moved[:, axis].reshape(cells, cells) @ reach)
            x_pull, y_pull = (_sums(reach, left * slope) for slope in (across, down))
    return flat.reshape(vectors.shape)


def _bits(off: Ints, spread: Rows) -> Floats:
    """About what vectors [k, n, 2] take that are so far off their predictions; spread [n]."""
    bits: Floats = _COSTS[spread, off[..., 0]]
    bits += _COSTS[np.maximum(spread, _LEAST_SPREAD[np.minimum(off[..., 0], 2)]), off[..., 1]]
    return bits


def _linear(vectors: Ints, now: Floats, before: Floats) -> tuple[Floats, Floats, Floats]:
    """The error of the moved picture, and its slopes by half a pixel in x and in y, [H, W] each."""
    moved = warp(before, vectors)
    kernel = np.array([-0.25, 0, 0.25], np.float32)  # central difference, of half a pixel
    none = np.ones(1, np.float32)
    across: Floats = cv2.sepFilter2D(moved, -1, kernel, none, borderType=cv2.BORDER_REPLICATE)
    down: Floats = cv2.sepFilter2D(moved, -1, none, kernel, borderType=cv2.BORDER_REPLICATE)
    return moved - now, across, down


def warp(picture: Floats, vectors: Ints) -> Floats:
    """A picture [H, W] moved by half-pixel vectors [H/16, W/16, 2]: bilinear between cells, flat beyond the rim."""
    h, w = picture.shape
    flow = cv2.resize(vectors.astype(np.float32) * 0.5, (w, h), interpolation=cv2.INTER_LINEAR)
    where = _grid(h, w) + flow
    moved: Floats = cv2.remap(  # type: ignore[call-overload]  # OpenCV's own types forbid the one map it documents
        picture, where, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return moved


def _sums(reach: Floats, values: Floats) -> Floats:
    """Weighted sums [cells] over what each cell's vector reaches of values [H, W]."""
    sums: Floats = (reach @ values @ reach.T).reshape(-1)
    return sums


@lru_cache(maxsize=4)
def _reach(cells: int) -> Floats:
    """By how much each of a row's vectors moves each of its pixels: [cells, 16 * cells]."""
    centres = np.clip((np.arange(cells * CELL) + 0.5) / CELL - 0.5, 0, cells - 1)
    return np.maximum(0, 1 - np.abs(centres - np.arange(cells)[:, None])).astype(np.float32)


@lru_cache(maxsize=8)
def _grid(height: int, width: int) -> Floats:
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    return np.stack([x, y], -1)
