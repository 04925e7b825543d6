"""The scale network in exact integer arithmetic: numpy only, the same answer on every machine.

Weights are whole multiples of 1/64 and inputs whole multiples of 1/8 or 1/64 (see `vidcodec.networks.scales`, which
trains them), so every sum is a whole number far below 2^53 and float64 matrix products give it exactly, in any order of
summation and with any number of threads. Where all sums are proven to stay below 2^24, float32 does.

The steps are walked in order. What a step's symbols mean to all later steps is worked out once, when they are known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from math import isqrt

import numpy as np
from numpy.typing import NDArray

from vidcodec.networks.config import LEVELS, Z_CELLS

TABLES = 64
MAGNITUDE_CAP = 255
Ints = NDArray[np.int64]
Rows = NDArray[np.uint8]  # numbers of tables
Exact = NDArray[np.float64]  # whole numbers only

# round(8 log2(1 + m)): the nearest any of these comes to a tie is 0.001, far beyond the error of a log2.
LOG_MAGNITUDE: Ints = np.rint(8 * np.log2(1.0 + np.arange(MAGNITUDE_CAP + 1))).astype(np.int64)
_LOG_MAGNITUDE = LOG_MAGNITUDE.astype(np.float32)
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
    sums = np.add.reduceat(magnitudes, [0, *groups[:-1]], axis=0)
    return bit_length(sums.reshape(-1, h // Z_CELLS, Z_CELLS, w // Z_CELLS, Z_CELLS).sum((2, 4)))


def checkerboard(h: int, w: int) -> NDArray[np.bool_]:
    """[h, w], True on the cells coded first."""
    return (np.add.outer(np.arange(h), np.arange(w)) % 2) == 0


def _upsampling(cells: int) -> Exact:
    """Bilinear weights, in eighths, of `cells` side cells for each of `cells * 4` latent cells."""
    weights = np.zeros((cells * Z_CELLS, cells))
    for fine in range(cells * Z_CELLS):
        eighths = max(0, 2 * fine + 1 - Z_CELLS)  # position among the side cells' centres, in eighths of a cell
        low, share = divmod(eighths, 8)
        weights[fine, low] += 8 - share
        weights[fine, min(low + 1, cells - 1)] += share
    return weights


@cache
def _plane_upsampling(rows: int, columns: int) -> Exact:
    """The same in both directions for a plane of side cells: [rows * columns, latent cells in coding order], in eighths
    of a level, the fraction still to be cut off."""
    weights = np.kron(_upsampling(rows), _upsampling(columns)).T / 8
    return np.ascontiguousarray(weights[:, board(rows * Z_CELLS, columns * Z_CELLS).order])


def motion_features(vectors: NDArray[np.integer]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Of vectors [h, w, 2], for each cell in coding order: log magnitude of its vector, and of the largest change to a
    neighbour's."""
    cells = board(*vectors.shape[:2])
    flat = np.concatenate([vectors.reshape(-1, 2), np.zeros((1, 2), np.int64)])
    apart = np.abs(flat.take(cells.beside, 0) - flat.take(cells.order, 0))  # from zero, then from the neighbours
    logs = _LOG_MAGNITUDE.take(apart[..., 0] + apart[..., 1], mode="clip")
    return logs[0], np.maximum.reduce(logs[1:])


@dataclass(frozen=True, eq=False)
class Board:
    """The cells of a checkerboard in coding order: the even ones, then the odd ones, as many of each.

    Attributes:
        order: [2 * cells], the flat positions of the cells in coding order.
        targets: [2, cells, 9], who is told of a symbol. For each cell of a colour and each tap (dy, dx) of a 3x3
            window: which cell, in coding order, sees it at that tap; `2 * cells` where none does.
        beside: [5, 2 * cells], for each cell in coding order: `2 * cells`, which is none, then the flat positions of
            the four beside it, its own beyond the rim.
    """

    order: Ints
    targets: Ints
    beside: Ints

    @property
    def cells(self) -> int:
        """Cells of one colour."""
        return len(self.order) // 2


@cache
def board(h: int, w: int) -> Board:
    """The checkerboard of h x w cells; raises ValueError when its colours are not of one size."""
    even = checkerboard(h, w)
    if 2 * int(even.sum()) != h * w:
        raise ValueError(f"{h}x{w} cells: an even number is needed")
    rows, columns = (np.concatenate(both) for both in zip(np.nonzero(even), np.nonzero(~even), strict=True))
    numbers = np.full((h + 2, w + 2), h * w)
    numbers[1 + rows, 1 + columns] = np.arange(h * w)
    targets = np.stack([numbers[rows + 2 - dy, columns + 2 - dx] for dy in range(3) for dx in range(3)], 1)
    beside = np.stack(
        [np.full(h * w, h * w)]
        + [
            np.clip(rows + dy, 0, h - 1) * w + np.clip(columns + dx, 0, w - 1)
            for dy, dx in ((-1, 0), (1, 0), (0, -1), (0, 1))
        ]
    )
    found = Board(rows * w + columns, targets.reshape(2, -1, 9), beside)
    for array in (found.order, found.targets, found.beside):
        array.setflags(write=False)
    return found


@dataclass(frozen=True)
class IntegerStep:
    """One coding step: channels [first, seen) on the cells of one colour of the checkerboard.

    Attributes:
        first, seen: the step's channels are `first` to `seen - 1`.
        out: from the hidden values and a 1 to table indexes, [seen - first, hidden + 1]: whole numbers over 2^15. What
            the 1 is multiplied by includes half a table's width, so that cutting off the fraction rounds.
        told: weights [channels, sums] by which a magnitude coded in this step enters hidden sums of later steps; which
            sums these are, `_told_places` says.
    """

    first: int
    seen: int
    out: Exact
    told: NDArray[np.floating]


class IntegerScales:
    """Table indexes of all symbols, step by step."""

    def __init__(self, arrays: Mapping[str, NDArray[np.integer]], groups: tuple[int, ...]) -> None:
        """arrays: `scales.STEP.{near,here,here_bias,out,out_bias}` as integers in units of 1/64, shapes as in torch."""
        self.groups = groups
        names = ("near", "here", "here_bias", "out", "out_bias")
        parts = [
            {name: np.asarray(arrays[f"scales.{number}.{name}"], np.float64) for name in names}
            for number in range(2 * len(groups))
        ]
        self.hidden = parts[0]["near"].shape[0]
        # Whole numbers below 2^24 are exact in float32.
        self.sums: type[np.floating] = np.float32 if max(map(_most, parts)) < 1 << 24 else np.float64
        # From the inputs of `side` to hidden sums before any symbol, of all steps of one colour one below the other.
        # The quality and the bias are in units of 1/64 and all other inputs of 1/8: the latter are multiplied up here.
        here = [np.hstack([p["here"][:, :-1] * 8, p["here"][:, -1:], p["here_bias"][:, None] * 64]) for p in parts]
        self._here = [np.vstack(here[colour::2]).astype(self.sums) for colour in (0, 1)]
        self.steps = [self._step(number, parts) for number in range(len(parts))]

    def _step(self, number: int, parts: list[dict[str, Exact]]) -> IntegerStep:
        group = number // 2
        first, seen = self.groups[group - 1] if group else 0, self.groups[group]
        half, unit = 1 << (_RESULT_SHIFT - 1), 1.0 / (1 << _RESULT_SHIFT)  # a power of two: exact
        bias = parts[number]["out_bias"][:, None] * 4096 + half
        # Multiplied up like the other inputs.
        near = [part["near"][:, first:seen].reshape(self.hidden, -1, 9) * 8 for part in parts]
        told = [near[later][..., tap].T for tap, later in _told(number, len(parts))]
        return IntegerStep(
            first=first,
            seen=seen,
            out=np.hstack([parts[number]["out"], bias]) * unit,
            told=np.hstack([np.zeros((seen - first, 0)), *told]).astype(self.sums),
        )

    def side(self, z: NDArray[np.integer], vectors: NDArray[np.integer], intra: bool, level: int) -> Exact:
        """Inputs that all steps share, [inputs, cells in coding order]: z interpolated, motion, intra, quality level,
        and a 1 for the bias."""
        planes, rows, columns = z.shape
        inputs = np.zeros((planes + 5, rows * columns * Z_CELLS**2), self.sums)
        np.floor(z.reshape(planes, -1) @ _plane_upsampling(rows, columns), out=inputs[:planes], casting="same_kind")
        if vectors.any():
            inputs[planes], inputs[planes + 1] = motion_features(vectors)
        inputs[planes + 2], inputs[planes + 3], inputs[planes + 4] = 8 * intra, level, 1
        return inputs

    def start(self, side: Exact) -> Pass:
        """Begin a pass over the steps of one frame. side: see `side`."""
        return Pass(self, side)

    def all_indexes(self, symbols: NDArray[np.integer], side: Exact) -> Rows:
        """Tables of every symbol [C, h, w] as the steps would see them if all of `symbols` were final."""
        channels, h, w = symbols.shape
        cells = board(h, w)
        ordered = symbols.reshape(channels, -1)[:, cells.order]
        found = np.empty(ordered.shape, np.uint8)
        run = self.start(side)
        for number, step in enumerate(self.steps):
            part = slice(step.first, step.seen), run.slots(number)
            found[part] = run.indexes(number)
            run.add(number, ordered[part])
        result = np.empty_like(found)
        result[:, cells.order] = found
        return result.reshape(symbols.shape)


class Pass:
    """One pass over the steps of a frame: `indexes(0)`, `add(0, symbols)`, `indexes(1)`, and so on.

    It keeps the hidden sums of all steps still to come, and adds to them what each step's symbols say (`add`).
    """

    def __init__(self, scales: IntegerScales, side: Exact) -> None:
        self._scales = scales
        count = side.shape[1]
        size = isqrt(count)
        self._board = board(size, size)  # a frame is square
        self.cells = self._board.cells
        # Hidden sums [steps of one colour * hidden, cells + 1]: below a cell, those of the steps of its colour; the
        # last column takes what falls beyond the rim.
        self.hidden = np.zeros((len(scales.steps) // 2 * scales.hidden, count + 1), side.dtype)
        for colour in (0, 1):
            slots = self.slots(colour)
            np.matmul(scales._here[colour], side[:, slots], out=self.hidden[:, slots])
        self._inputs = np.ones((scales.hidden + 1, self.cells))

    def slots(self, number: int) -> slice:
        """Where the cells of a step are in coding order."""
        return slice(self.cells, 2 * self.cells) if number % 2 else slice(0, self.cells)

    def indexes(self, number: int) -> Rows:
        """Tables of step `number`, [channels of the step, cells]; all earlier steps must have been added."""
        step, width = self._scales.steps[number], self._scales.hidden
        start = number // 2 * width
        np.maximum(self.hidden[start : start + width, self.slots(number)], 0, out=self._inputs[:-1])
        result = step.out @ self._inputs
        # Cutting the fraction off is the floor, since nothing below zero is left.
        return result.clip(0, TABLES - 1, out=result).astype(np.uint8)

    def add(self, number: int, symbols: NDArray[np.integer]) -> None:
        """Tell the later steps what was coded in step `number`: symbols [channels of the step, cells]."""
        step = self._scales.steps[number]
        if not step.told.size:
            return
        busy = np.bitwise_or.reduce(symbols, axis=0).nonzero()[0]
        if not busy.size:
            return
        magnitudes = _LOG_MAGNITUDE.take(np.abs(symbols[:, busy].T), mode="clip").astype(step.told.dtype, copy=False)
        # Several cells may tell the same sum: `np.add.at` adds what each of them says.
        places = _told_places(self._board, number, len(self._scales.steps), self._scales.hidden).take(busy, 0)
        np.add.at(self.hidden.reshape(-1), places.astype(np.intp).reshape(-1), (magnitudes @ step.told).reshape(-1))


def _most(part: dict[str, Exact]) -> float:
    """What no hidden sum of a step can exceed: all inputs as large as they get, each with its weight's own sign."""
    here = np.abs(part["here"])
    inputs = np.full(here.shape[1], 8.0 * 8 * 32)  # z and motion: below 32, in eighths, multiplied up
    inputs[-1] = LEVELS
    near = np.abs(part["near"]).sum((1, 2, 3)) * 8 * LOG_MAGNITUDE[-1]
    return float((near + here @ inputs + np.abs(part["here_bias"]) * 64).max())


def _told(number: int, steps: int) -> list[tuple[int, int]]:
    """(tap, step) of all taps of a 3x3 window at which one of the later steps sees what step `number` has coded."""
    # Every other tap leads to cells of the other colour.
    return [(tap, step) for tap in range(9) for step in range(number + 1, steps) if step % 2 == (number + tap) % 2]


@cache
def _told_places(cells: Board, number: int, steps: int, hidden: int) -> NDArray[np.integer]:
    """For each cell of step `number` the places, in the flat form of `Pass.hidden`, of the sums that it tells; in the
    narrowest numbers, since this is much to read: [cells, sums]."""
    columns, stride = cells.targets[number % 2], len(cells.order) + 1
    rows = np.arange(hidden) * stride
    places = np.hstack(
        [columns[:, tap, None] + rows + step // 2 * hidden * stride for tap, step in _told(number, steps)]
    )
    return places.astype(np.min_scalar_type(places.max()))
