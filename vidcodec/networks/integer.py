"""The scale network in exact integer arithmetic: numpy only, the same answer on every machine.

Weights are whole multiples of 1/64 and inputs whole multiples of 1/8 or 1/64 (see `vidcodec.networks.scales`, which
trains them), so every sum is a whole number far below 2^53 and float64 matrix products give it exactly, in any order of
summation and with any number of threads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from vidcodec.networks.config import Z_CELLS

TABLES = 64
MAGNITUDE_CAP = 255
Ints = NDArray[np.int64]
Exact = NDArray[np.float64]  # whole numbers only

# round(8 log2(1 + m)): the nearest any of these comes to a tie is 0.001, far beyond the error of a log2.
LOG_MAGNITUDE: Ints = np.rint(8 * np.log2(1.0 + np.arange(MAGNITUDE_CAP + 1))).astype(np.int64)
# Result unit: 1/64 (weight) x 1/4096 (hidden); eight tables to a natural-log unit.
_RESULT_SHIFT = 15


def log_magnitude(values: NDArray[np.integer]) -> Ints:
    """round(8 log2(1 + |v|)), |v| capped at 255."""
    return LOG_MAGNITUDE[np.minimum(np.abs(values), MAGNITUDE_CAP)]


def bit_length(values: NDArray[np.integer]) -> Ints:
    """Bits needed to write each value >= 0: 0 for 0, 1 for 1, 2 for 2 and 3, and so on."""
    return np.frexp(values.astype(np.float64))[1].astype(np.int64) * (values > 0)


def side_levels(symbols: NDArray[np.integer], groups: tuple[int, ...]) -> Ints:
    """z of symbols [C, h, w]: bit lengths of the summed magnitudes of 4x4 cells, [groups, h/4, w/4]."""
    _, h, w = symbols.shape
    magnitudes = np.minimum(np.abs(symbols), MAGNITUDE_CAP)
    cells = magnitudes.reshape(-1, h // Z_CELLS, Z_CELLS, w // Z_CELLS, Z_CELLS).sum((2, 4))
    return bit_length(np.add.reduceat(cells, [0, *groups[:-1]], axis=0))


def checkerboard(h: int, w: int) -> NDArray[np.bool_]:
    """[h, w], True on the cells coded first."""
    return (np.add.outer(np.arange(h), np.arange(w)) % 2) == 0


def _upsampling(cells: int) -> Ints:
    """Bilinear weights, in eighths, of `cells` side cells for each of `cells * 4` latent cells."""
    weights = np.zeros((cells * Z_CELLS, cells), np.int64)
    for fine in range(cells * Z_CELLS):
        eighths = max(0, 2 * fine + 1 - Z_CELLS)  # position among the side cells' centres, in eighths of a cell
        low, share = divmod(eighths, 8)
        weights[fine, low] += 8 - share
        weights[fine, min(low + 1, cells - 1)] += share
    return weights


def motion_features(vectors: NDArray[np.integer]) -> Ints:
    """Vectors [h, w, 2] to [2, h, w]: log magnitude of each vector and of its largest change to a neighbour."""
    p = np.pad(vectors, ((1, 1), (1, 1), (0, 0)), mode="edge")
    middle = p[1:-1, 1:-1]
    around = np.stack([p[:-2, 1:-1], p[2:, 1:-1], p[1:-1, :-2], p[1:-1, 2:]])
    change = np.abs(around - middle).sum(-1).max(0)
    return np.stack([log_magnitude(np.abs(vectors).sum(-1)), log_magnitude(change)])


@cache
def _cells(parity: int, h: int, w: int) -> tuple[Ints, Ints, Ints]:
    """Rows and columns of the cells of one colour of the checkerboard in coding order, and their numbers by position:
    [h + 2, w + 2] with a frame of -1, and -1 on the other colour."""
    rows, columns = np.nonzero(checkerboard(h, w) ^ bool(parity))
    place = np.full((h + 2, w + 2), -1)
    place[1 + rows, 1 + columns] = np.arange(len(rows))
    for array in (rows, columns, place):
        array.setflags(write=False)
    return rows, columns, place


@dataclass(frozen=True)
class IntegerStep:
    """One coding step: channels [first, seen) on the cells of one colour of the checkerboard.

    near [9 * seen, hidden]: rows by (row, column, channel) of the 3x3 cells around. here [inputs, hidden],
    out [hidden, seen - first] and the biases are whole multiples of 1/64.
    """

    first: int
    seen: int
    near: Exact
    here: Exact
    here_bias: Exact
    out: Exact
    out_bias: Exact


class IntegerScales:
    """Table indexes of all symbols, step by step."""

    def __init__(self, arrays: Mapping[str, NDArray[np.integer]], groups: tuple[int, ...]) -> None:
        """arrays: `scales.STEP.{near,here,here_bias,out,out_bias}` as integers in units of 1/64, shapes as in torch."""
        self.groups = groups
        self.steps: list[IntegerStep] = []
        for number in range(2 * len(groups)):
            names = ("near", "here", "here_bias", "out", "out_bias")
            near, here, here_bias, out, out_bias = (
                np.asarray(arrays[f"scales.{number}.{name}"], np.float64) for name in names
            )
            group = number // 2
            seen = groups[group]
            # The quality is in units of 1/64 and all other inputs of 1/8: the latter are multiplied up here.
            here = here.T.copy()
            here[:-1] *= 8
            self.steps.append(
                IntegerStep(
                    first=groups[group - 1] if group else 0,
                    seen=seen,
                    near=near.transpose(2, 3, 1, 0).reshape(9 * seen, -1) * 8,
                    here=here,
                    here_bias=here_bias * 64,
                    out=out.T.copy(),
                    out_bias=out_bias * 4096,
                )
            )

    def cells(self, number: int, h: int, w: int) -> tuple[Ints, Ints]:
        """Rows and columns of the cells of a step, in coding order."""
        rows, columns, _ = _cells(number % 2, h, w)
        return rows, columns

    def side(self, z: Ints, vectors: NDArray[np.integer], intra: bool, level: int) -> Ints:
        """Inputs that all steps share, [h, w, inputs]: z interpolated, motion, intra, quality level."""
        up_y, up_x = _upsampling(z.shape[1]), _upsampling(z.shape[2])
        fine = (up_y @ z @ up_x.T) >> 3
        h, w = fine.shape[1:]
        flat = np.broadcast_to(np.array([8 * intra, level])[:, None, None], (2, h, w))
        return np.concatenate([fine, motion_features(vectors), flat]).transpose(1, 2, 0)

    def indexes(self, number: int, symbols: NDArray[np.integer], side: Ints) -> Ints:
        """Tables of step `number`, [cells, channels of the step].

        symbols [C, h, w]: those of earlier steps must be final, all others are not looked at.
        """
        step = self.steps[number]
        _, h, w = symbols.shape
        rows, columns, place = _cells(number % 2, h, w)
        hidden = side[rows, columns].astype(np.float64) @ step.here + step.here_bias
        known = symbols[: step.seen if number % 2 else step.first]
        channel, row, column = np.nonzero(known)
        if number % 2:
            coded = (channel < step.first) | ((row + column) % 2 == 0)
            channel, row, column = channel[coded], row[coded], column[coded]
        if channel.size:
            # Most symbols are zero: each of the others adds its weights to the up to nine cells around it.
            magnitude = log_magnitude(known[channel, row, column]).astype(np.float64)
            cell = np.stack([place[row + 2 - dy, column + 2 - dx] for dy in range(3) for dx in range(3)])
            tap, which = np.nonzero(cell >= 0)
            target = cell[tap, which]
            order = np.argsort(target, kind="stable")
            target, tap, which = target[order], tap[order], which[order]
            added = step.near[tap * step.seen + channel[which]] * magnitude[which, None]
            starts = np.flatnonzero(np.diff(target, prepend=-1))
            hidden[target[starts]] += np.add.reduceat(added, starts, axis=0)
        result = np.maximum(hidden, 0) @ step.out + step.out_bias
        half = 1 << (_RESULT_SHIFT - 1)
        index = (result.astype(np.int64) + half) >> _RESULT_SHIFT
        return np.clip(index, 0, TABLES - 1)

    def all_indexes(self, symbols: NDArray[np.integer], side: Ints) -> Ints:
        """Tables of every symbol [C, h, w] as the steps would see them if all of `symbols` were final."""
        result = np.empty(symbols.shape, np.int64)
        for number, step in enumerate(self.steps):
            rows, columns = self.cells(number, *symbols.shape[1:])
            result[step.first : step.seen, rows, columns] = self.indexes(number, symbols, side).T
        return result
