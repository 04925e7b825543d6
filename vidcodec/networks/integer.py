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

import numpy as np
from numpy.typing import NDArray

from vidcodec.networks.config import LEVELS, Z_CELLS

TABLES = 64
MAGNITUDE_CAP = 255
Ints = NDArray[np.int64]
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
    """The same in both directions for a plane of side cells: [rows * columns, latent cells], in 64ths."""
    return np.ascontiguousarray(np.kron(_upsampling(rows), _upsampling(columns)).T)


def motion_features(vectors: NDArray[np.integer]) -> Ints:
    """Vectors [h, w, 2] to [2, h, w]: log magnitude of each vector and of its largest change to a neighbour."""
    change = np.zeros(vectors.shape[:2], np.int64)
    down = np.abs(vectors[1:] - vectors[:-1]).sum(-1)
    right = np.abs(vectors[:, 1:] - vectors[:, :-1]).sum(-1)
    for part, steps in ((change[1:], down), (change[:-1], down), (change[:, 1:], right), (change[:, :-1], right)):
        np.maximum(part, steps, out=part)
    return np.stack([log_magnitude(np.abs(vectors).sum(-1)), log_magnitude(change)])


@dataclass(frozen=True)
class Board:
    """The cells of a checkerboard in coding order: the even ones, then the odd ones, as many of each.

    Attributes:
        order: [h * w], the flat positions of the cells in coding order.
        targets: [2, 9, cells], who is told of a symbol. For each cell of a colour and each tap (dy, dx) of a 3x3
            window: which cell sees it at that tap, counted within that cell's own colour; `cells` where none does.
    """

    order: Ints
    targets: Ints

    @property
    def cells(self) -> int:
        """Cells of one colour."""
        return len(self.order) // 2


@cache
def board(h: int, w: int) -> Board:
    """The checkerboard of h x w cells; raises ValueError when its colours are not of one size."""
    even = checkerboard(h, w)
    cells = h * w // 2
    if int(even.sum()) != cells or 2 * cells != h * w:
        raise ValueError(f"{h}x{w} cells: an even number is needed")
    numbers = np.full((h + 2, w + 2), cells)
    colours = []
    for colour in (even, ~even):
        rows, columns = np.nonzero(colour)
        numbers[1 + rows, 1 + columns] = np.arange(cells)
        colours.append((rows, columns))
    targets = np.stack(
        [
            np.stack([numbers[rows + 2 - dy, columns + 2 - dx] for dy in range(3) for dx in range(3)])
            for rows, columns in colours
        ]
    )
    order = np.concatenate([rows * w + columns for rows, columns in colours])
    for array in (order, targets):
        array.setflags(write=False)
    return Board(order, targets)


# Taps of a 3x3 window that lead to cells of the same colour, and to cells of the other one.
_SAME, _OTHER = (0, 2, 4, 6, 8), (1, 3, 5, 7)


@dataclass(frozen=True)
class IntegerStep:
    """One coding step: channels [first, seen) on the cells of one colour of the checkerboard.

    Attributes:
        first, seen: the step's channels are `first` to `seen - 1`.
        out, bias: from the hidden values to table indexes, [seen - first, hidden] and [seen - first, 1]: whole numbers
            over 2^15. The bias includes half a table's width, so that cutting off the fraction rounds.
        same: weights [channels, taps * columns] by which a magnitude coded in this step enters the hidden sums of all
            later steps on cells of its own colour.
        same_from: the first column of `Pass.hidden` that `same` adds to.
        other, other_from: the same for later steps on cells of the other colour.
    """

    first: int
    seen: int
    out: Exact
    bias: Exact
    same: NDArray[np.floating]
    same_from: int
    other: NDArray[np.floating]
    other_from: int


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
        # Hidden sums before any symbol, of all steps of one colour side by side. The quality is in units of 1/64 and
        # all other inputs of 1/8: the latter are multiplied up here.
        here = [np.concatenate([p["here"].T[:-1] * 8, p["here"].T[-1:]]) for p in parts]
        self._here = [np.hstack(here[colour::2]) for colour in (0, 1)]
        self._here_bias = [np.hstack([p["here_bias"] * 64 for p in parts[colour::2]]) for colour in (0, 1)]
        self.steps = [self._step(number, parts) for number in range(len(parts))]
        # Whole numbers below 2^24 are exact in float32.
        self.sums: type[np.floating] = np.float32 if max(map(_most, parts)) < 1 << 24 else np.float64

    def _step(self, number: int, parts: list[dict[str, Exact]]) -> IntegerStep:
        group = number // 2
        first, seen = self.groups[group - 1] if group else 0, self.groups[group]
        # A later step on the other colour may be of the same group.
        same, same_from = _spread(parts, number + 2, (first, seen), _SAME)
        other, other_from = _spread(parts, number + 1, (first, seen), _OTHER)
        half, unit = 1 << (_RESULT_SHIFT - 1), 1.0 / (1 << _RESULT_SHIFT)  # a power of two: exact
        return IntegerStep(
            first=first,
            seen=seen,
            out=np.ascontiguousarray(parts[number]["out"] * unit),
            bias=(parts[number]["out_bias"][:, None] * 4096 + half) * unit,
            same=same,
            same_from=same_from * self.hidden,
            other=other,
            other_from=other_from * self.hidden,
        )

    def side(self, z: Ints, vectors: NDArray[np.integer], intra: bool, level: int) -> Exact:
        """Inputs that all steps share, [h, w, inputs]: z interpolated, motion, intra, quality level."""
        planes, rows, columns = z.shape
        h, w = rows * Z_CELLS, columns * Z_CELLS
        inputs = np.zeros((planes + 4, h * w))
        np.floor(z.reshape(planes, -1) @ _plane_upsampling(rows, columns) * 0.125, out=inputs[:planes])
        if vectors.any():
            inputs[planes : planes + 2] = motion_features(vectors).reshape(2, -1)
        inputs[planes + 2], inputs[planes + 3] = 8 * intra, level
        return np.ascontiguousarray(inputs.T).reshape(h, w, -1)

    def start(self, side: Exact) -> Pass:
        """Begin a pass over the steps of one frame. side: see `side`."""
        return Pass(self, side)

    def all_indexes(self, symbols: NDArray[np.integer], side: Exact) -> Ints:
        """Tables of every symbol [C, h, w] as the steps would see them if all of `symbols` were final."""
        channels, h, w = symbols.shape
        cells = board(h, w)
        ordered = symbols.reshape(channels, -1)[:, cells.order]
        found = np.empty(ordered.shape, np.int64)
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
        h, w, inputs = side.shape
        self._scales, self._board = scales, board(h, w)
        self.cells = self._board.cells
        ordered = side.reshape(h * w, inputs)[self._board.order]
        # Hidden sums [cells + 1, steps of this colour * hidden]; the last row takes what falls beyond the rim.
        self.hidden: list[NDArray[np.floating]] = []
        for colour in (0, 1):
            sums = np.empty((self.cells + 1, scales._here_bias[colour].size), scales.sums)
            sums[:-1] = ordered[self.slots(colour)] @ scales._here[colour] + scales._here_bias[colour]
            sums[-1] = 0
            self.hidden.append(sums)

    def slots(self, number: int) -> slice:
        """Where the cells of a step are in coding order."""
        return slice(self.cells, 2 * self.cells) if number % 2 else slice(0, self.cells)

    def indexes(self, number: int) -> NDArray[np.uint8]:
        """Tables of step `number`, [channels of the step, cells]; all earlier steps must have been added."""
        step, width = self._scales.steps[number], self._scales.hidden
        group, colour = divmod(number, 2)
        sums = self.hidden[colour][:-1, group * width : (group + 1) * width]
        hidden = np.maximum(sums, 0, dtype=np.float64)
        result = step.out @ hidden.T
        result += step.bias
        # Cutting the fraction off is the floor, since nothing below zero is left.
        return np.minimum(np.maximum(result, 0, out=result), TABLES - 1, out=result).astype(np.uint8)

    def add(self, number: int, symbols: NDArray[np.integer]) -> None:
        """Tell the later steps what was coded in step `number`: symbols [channels of the step, cells]."""
        if number + 1 == len(self._scales.steps):
            return
        busy = np.bitwise_or.reduce(symbols, axis=0).nonzero()[0]
        if not busy.size:
            return
        step, colour = self._scales.steps[number], number % 2
        magnitudes = _LOG_MAGNITUDE.take(np.abs(symbols[:, busy]), mode="clip").T.astype(step.other.dtype, copy=False)
        targets = self._board.targets[colour][:, busy]
        for taps, weights, start, sums in (
            (_SAME, step.same, step.same_from, self.hidden[colour]),
            (_OTHER, step.other, step.other_from, self.hidden[1 - colour]),
        ):
            if weights.size:
                added = (magnitudes @ weights).reshape(len(busy), len(taps), -1)
                part = sums[:, start:]
                for place, tap in enumerate(taps):  # no cell is met twice at one tap
                    part[targets[tap]] += added[:, place]


def _most(part: dict[str, Exact]) -> float:
    """What no hidden sum of a step can exceed: all inputs as large as they get, each with its weight's own sign."""
    here = np.abs(part["here"])
    inputs = np.full(here.shape[1], 8.0 * 8 * 32)  # z and motion: below 32, in eighths, multiplied up
    inputs[-1] = LEVELS
    near = np.abs(part["near"]).sum((1, 2, 3)) * 8 * LOG_MAGNITUDE[-1]
    return float((near + here @ inputs + np.abs(part["here_bias"]) * 64).max())


def _spread(
    parts: list[dict[str, Exact]], start: int, channels: tuple[int, int], taps: tuple[int, ...]
) -> tuple[NDArray[np.floating], int]:
    """The weights by which the magnitudes of some channels enter steps `start`, `start + 2`, ... at some taps.

    Args:
        parts: the arrays of every step.
        start: the first step that is told.
        channels: (first, seen), the channels that tell.
        taps: those of the 3x3 window that lead to the cells of these steps.

    Returns:
        Weights [channels, taps * hidden of all these steps], in float32 where no sum over the channels can reach
        2^24; and the number of step `start` among those of its colour.
    """
    first, seen = channels
    later = parts[start::2]
    if not later:
        return np.zeros((seen - first, 0), np.float32), 0
    near = np.stack([p["near"][:, first:seen].reshape(-1, seen - first, 9)[..., list(taps)] for p in later])
    # [steps, hidden, channels, taps] to [channels, taps, steps, hidden]; multiplied up like the other inputs.
    weights = near.transpose(2, 3, 0, 1).reshape(seen - first, -1)
    exact = np.float32 if np.abs(weights).sum(0).max() * LOG_MAGNITUDE[-1] < 1 << 24 else np.float64
    return np.ascontiguousarray(weights * 8, exact), start // 2
