"""In which order vectors are coded, from coarse to fine, and what each is predicted from.

One vector is common to all; then every fourth cell is coded, then the cells between those, down to the last. A cell is
predicted from four neighbours that came before it, and the more these disagree, the wider its table. The search for
vectors uses the same order to know what a vector costs.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidcodec.networks.integer import Ints, Rows, bit_length

LIMIT = 63  # half pixels, either way: a vector is coded in [-LIMIT, LIMIT]
PASSES = 6  # one common vector, then five passes from coarse to fine
SPREADS = 7  # classes of how far the neighbours disagree


@lru_cache(maxsize=4)
def motion_passes(cells: int) -> tuple[tuple[Ints, Ints], ...]:
    """Cells of each pass and their four neighbours of earlier passes, as flat indexes: ([n], [4, n])."""
    passes: list[tuple[Ints, Ints]] = []
    coarse = [(r, c) for r in range(0, cells, 4) for c in range(0, cells, 4)]
    flat = np.array([r * cells + c for r, c in coarse])
    passes.append((flat, np.repeat(flat[None], 4, 0)))
    for stride in (4, 2):
        half = stride // 2
        last = (cells - 1) // stride * stride  # of the cells known before
        centres = [(r, c) for r in range(half, cells, stride) for c in range(half, cells, stride)]
        corners = [[(r + dr, c + dc) for dr in (-half, half) for dc in (-half, half)] for r, c in centres]
        near = [[(min(r, last), min(c, last)) for r, c in around] for around in corners]
        passes.append((_flat(centres, cells), _flat2(near, cells)))
        edges = [
            (r, c) for r in range(0, cells, half) for c in range(0, cells, half) if (r // half + c // half) % 2 == 1
        ]
        beside = []
        for r, c in edges:
            four = [(r - half, c), (r + half, c), (r, c - half), (r, c + half)]
            inside = [(a, b) for a, b in four if 0 <= a < cells and 0 <= b < cells]
            beside.append((inside * 4)[:4])
        passes.append((_flat(edges, cells), _flat2(beside, cells)))
    return tuple(passes)


@lru_cache(maxsize=4)
def all_passes(cells: int) -> tuple[Ints, Ints, Rows, tuple[slice, ...], Ints]:
    """All passes in one: cells [n], neighbours [4, n], and first tables [n]. A pass codes all x, then all y: where in
    the stream each of these parts is, and in all x followed by all y the positions of what the stream holds, [2 n]."""
    passes = motion_passes(cells)
    sizes = [len(where) for where, _ in passes]
    ends = np.cumsum([size for size in sizes for _ in "xy"]).tolist()
    number = np.repeat(np.arange(1, len(sizes) + 1), sizes)
    return (
        np.concatenate([where for where, _ in passes]),
        np.concatenate([near for _, near in passes], axis=1),
        (number * SPREADS * 4).astype(np.uint8),
        tuple(slice(start, end) for start, end in zip([0, *ends], ends, strict=False)),
        np.concatenate([number, number]).argsort(kind="stable"),
    )


def _flat(cells: list[tuple[int, int]], size: int) -> Ints:
    return np.array([r * size + c for r, c in cells])


def _flat2(cells: list[list[tuple[int, int]]], size: int) -> Ints:
    return np.array([[r * size + c for r, c in four] for four in cells]).T.copy()


def median(values: NDArray[np.integer]) -> Ints:
    """Median over the first axis, of an even number of values, the mean of the middle two cut towards zero."""
    low, high = np.sort(values, axis=0)[len(values) // 2 - 1 :][:2]
    middle: Ints = np.trunc((low + high) / 2).astype(np.int64)
    return middle


def predicted_vectors(around: NDArray[Any], first_row: Rows | int) -> tuple[NDArray[Any], Rows]:
    """From the four neighbours [4, n, 2] of each cell: its vector [n, 2], and the table [n] of its x; first_row: the
    first table of the pass."""
    low, high = np.minimum.reduce(around, 0), np.maximum.reduce(around, 0)
    middle = np.add.reduce(around, 0, around.dtype)
    middle -= low
    middle -= high
    middle += 1
    middle >>= 1  # mean of the middle two
    high -= low
    return middle, _ROW_OF_SPREAD.take(high[:, 0] + high[:, 1], mode="clip") + first_row


def second_row(row: Rows, x: NDArray[np.integer]) -> Rows:
    """Tables of y from those of x: it is known whether x was predicted well."""
    return row + _ROW_OF_X.take(np.abs(x), mode="clip")


# From how far the neighbours disagree to a table of x in its pass: four to a class, whose number is min(bit length, 6).
_ROW_OF_SPREAD: Rows = (4 * np.minimum(bit_length(np.arange(1 << (SPREADS - 1))), SPREADS - 1)).astype(np.uint8)
_ROW_OF_X: Rows = np.array([1, 2, 3], np.uint8)
