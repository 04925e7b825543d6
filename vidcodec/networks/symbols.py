"""A frame as whole numbers, and the one walk over them that encoder, decoder and table fitting share.

Order in the stream: what there is (motion? symbols?), motion, totals of z, z, y in its steps. Each part chooses its
tables by whole numbers that came before it in the same packet, so a packet needs nothing but itself to be read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vidcodec.entropy import SymbolDecoder, SymbolEncoder, Tables
from vidcodec.errors import DamagedPacket
from vidcodec.networks.integer import TABLES, Exact, IntegerScales, Ints, bit_length, board, side_levels
from vidcodec.networks.vectors import (
    LIMIT,
    PASSES,
    SPREADS,
    all_passes,
    median,
    motion_passes,
    predicted_vectors,
    second_row,
)

Whole = NDArray[np.integer]

LEVEL_CLASSES = 8
TOTALS = 24  # bit lengths of a group's summed magnitudes
SYMBOL_LIMIT = 255
# name -> (number of tables, lowest symbol, highest symbol)
TABLE_SHAPES: dict[str, tuple[int, int, int]] = {
    "parts": (2 * LEVEL_CLASSES, 0, 3),
    "motion": (PASSES * SPREADS * 4, -2 * LIMIT, 2 * LIMIT),
    "totals": (3 * 2 * LEVEL_CLASSES, 0, TOTALS - 1),
    "z": (3 * TOTALS, 0, TOTALS - 1),
    "y": (TABLES, -SYMBOL_LIMIT, SYMBOL_LIMIT),
}


@dataclass(frozen=True)
class FrameSymbols:
    """Everything a packet says: vectors int [h, w, 2], z int [groups, h/4, w/4], y int [C, h, w]."""

    vectors: Ints
    z: Ints
    y: Ints


class Port(Protocol):
    """Where a walk puts its symbols or takes them from."""

    def code(self, table: str, rows: Whole, values: Whole | None) -> Ints:
        """Code symbols with the rows of a table; returns what the receiver gets."""


class EncodePort:
    """Writes symbols, brought into the range of their tables."""

    def __init__(self, tables: Mapping[str, Tables]) -> None:
        self.tables, self.encoder = tables, SymbolEncoder(checks=False)  # symbols are clipped, rows are the walk's
        self.coded: list[bytes] = []

    def code(self, table: str, rows: Whole, values: Whole | None) -> Ints:
        if values is None:
            raise ValueError("nothing to encode")
        clipped = self.tables[table].clip(values, rows)
        self.encoder.put(self.tables[table], clipped, rows)
        self.coded.append(clipped.astype("<i2").tobytes())
        return clipped.astype(np.int64)

    def code_whole(self, table: str, rows: Whole, values: Whole, sizes: Sequence[int]) -> bool:
        """Code parts of these sizes, one after the other, all at once; False, and nothing is coded, where a symbol is
        outside its table."""
        if not self.tables[table].holds(values, rows):
            return False
        start = 0
        for size in sizes:
            self.encoder.put(self.tables[table], values[start : start + size], rows[start : start + size])
            start += size
        self.coded.append(values.astype("<i2", copy=False).tobytes())
        return True


class DecodePort:
    """Reads symbols from a packet's body."""

    def __init__(self, tables: Mapping[str, Tables], body: bytes) -> None:
        self.tables, self.decoder = tables, SymbolDecoder(body, checks=False)  # rows are the walk's, whatever is read
        self.coded: list[bytes] = []
        self.parts: list[tuple[str, Whole, Ints]] = []  # (table, rows, symbols) of every part read

    def code(self, table: str, rows: Whole, values: Whole | None) -> Ints:
        taken = self.decoder.take(self.tables[table], rows)
        self.coded.append(taken.astype("<i2").tobytes())
        read = taken.astype(np.int64)
        self.parts.append((table, rows, read))
        return read

    def bits(self) -> dict[str, float]:
        """Ideal cost in bits of what was read, by the name of its tables."""
        sums = dict.fromkeys(self.tables, 0.0)
        for name, rows, symbols in self.parts:
            sums[name] += self.tables[name].bits(symbols, rows)
        return sums


class CountPort:
    """Counts which symbol was met in which table, for fitting the tables."""

    def __init__(self) -> None:
        self.counts = {
            name: np.zeros((rows, high - low + 1), np.int64) for name, (rows, low, high) in TABLE_SHAPES.items()
        }

    def code(self, table: str, rows: Whole, values: Whole | None) -> Ints:
        if values is None:
            raise ValueError("nothing to count")
        _, low, high = TABLE_SHAPES[table]
        clipped = np.clip(values, low, high).astype(np.int64)
        np.add.at(self.counts[table], (rows, clipped - low), 1)
        return clipped


def walk(
    port: Port, scales: IntegerScales, cells: int, intra: bool, level: int, *, known: FrameSymbols | None
) -> FrameSymbols:
    """Code one frame of cells x cells latent positions at a quality level; `known` is None when decoding.

    Raises DamagedPacket when what is read cannot have been written.
    """
    groups = scales.groups
    band = min(level * LEVEL_CLASSES // 64, LEVEL_CLASSES - 1)
    parts = None
    if known is not None:
        parts = np.array([int(known.vectors.any()) + 2 * int(known.y.any())])
    has = int(port.code("parts", np.array([band + LEVEL_CLASSES * intra]), parts)[0])
    vectors = np.zeros((cells, cells, 2), np.int64)
    if has & 1:
        vectors = _walk_motion(port, cells, None if known is None else known.vectors)
        if np.abs(vectors).max() > LIMIT:
            raise DamagedPacket("a motion vector in the packet is out of range")
    y = np.zeros((groups[-1], cells, cells), np.int64)
    z = np.zeros((len(groups), cells // 4, cells // 4), np.int64)
    if has & 2:
        z = _walk_side(port, z.shape, band + LEVEL_CLASSES * intra, None if known is None else known.z)
        order = board(cells, cells).order
        wanted = None if known is None else known.y.reshape(groups[-1], -1).astype(np.int16).take(order, 1)
        side = scales.side(z, vectors, intra, level)
        if wanted is not None and isinstance(port, EncodePort) and _code_known(port, scales, side, wanted):
            assert known is not None
            return FrameSymbols(vectors, z, known.y)
        ordered = np.empty((groups[-1], cells * cells), np.int16)
        run = scales.start(side)
        for number, step in enumerate(scales.steps):
            part = slice(step.first, step.seen), run.slots(number)
            index = run.indexes(number)
            coded = port.code("y", index.reshape(-1), None if wanted is None else wanted[part].reshape(-1))
            ordered[part] = coded.reshape(index.shape)
            run.add(number, ordered[part])
        y.reshape(groups[-1], -1)[:, order] = ordered
    return FrameSymbols(vectors, z, y)


def _code_known(port: EncodePort, scales: IntegerScales, side: Exact, wanted: NDArray[np.int16]) -> bool:
    """Code symbols [C, cells in coding order] in one go, if their tables have them: what a step is told is then what
    was wanted. Else nothing is coded, and the steps must be walked one by one."""
    run = scales.start(side)
    rows, values = [], []
    for number, step in enumerate(scales.steps):
        symbols = wanted[step.first : step.seen, run.slots(number)]
        rows.append(run.indexes(number).reshape(-1))
        values.append(symbols.reshape(-1))
        run.add(number, symbols)
    return port.code_whole("y", np.concatenate(rows), np.concatenate(values), [len(row) for row in rows])


def with_side(vectors: Ints, y: Ints, groups: tuple[int, ...]) -> FrameSymbols:
    """The symbols of a frame with the z that belongs to them."""
    return FrameSymbols(vectors, side_levels(y, groups), y)


def _walk_side(port: Port, shape: tuple[int, ...], condition: int, known: Ints | None) -> Ints:
    """Code z [groups, rows, columns] behind a total for each group."""
    groups = np.arange(shape[0])
    totals = None
    if known is not None:
        # A bit length b stands for magnitudes up to 2^b - 1: the total of a group bounds each of its cells.
        totals = bit_length(((1 << known) - 1).sum((1, 2)))
    totals = port.code("totals", groups * 2 * LEVEL_CLASSES + condition, totals)
    rows = np.repeat(groups * TOTALS + totals, shape[1] * shape[2])
    return port.code("z", rows, None if known is None else known.reshape(-1)).reshape(shape)


def _walk_motion(port: Port, cells: int, known: Ints | None) -> Ints:
    """Code vectors [cells, cells, 2] from coarse to fine: a common vector, then each from the middle of its neighbours.

    The more the neighbours disagree, the wider the table.
    """
    if known is not None:
        return _walk_known_motion(port, cells, known)
    shared = port.code("motion", np.zeros(2, np.int64), None)
    field = np.empty((cells * cells, 2), np.int64)
    for number, (where, near) in enumerate(motion_passes(cells), start=1):
        around = field[near] if number > 1 else np.broadcast_to(shared, (4, len(where), 2))
        predicted, row = predicted_vectors(around, number * SPREADS)
        x = port.code("motion", row, None)
        y = port.code("motion", second_row(row, x), None)
        field[where] = predicted + np.stack([x, y], axis=1)
    return field.reshape(cells, cells, 2)


def _walk_known_motion(port: Port, cells: int, known: Ints) -> Ints:
    """The same where all vectors are known: neighbours, tables and differences of all passes are worked out at once."""
    if np.abs(known).max() > LIMIT:
        raise ValueError(f"a motion vector is longer than {LIMIT} half pixels")  # within it no difference is clipped
    flat = known.reshape(-1, 2)
    shared = port.code("motion", np.zeros(2, np.int64), median(flat))
    where, near, first_rows, parts = all_passes(cells)
    around = flat[near]
    around[:, parts[0]] = shared
    predicted, row = predicted_vectors(around, first_rows)
    rest = flat[where] - predicted
    second = second_row(row, rest[:, 0])
    if isinstance(port, EncodePort):
        tables = np.concatenate([column[part] for part in parts for column in (row, second)])
        values = np.concatenate([rest[part, axis] for part in parts for axis in (0, 1)])
        sizes = [part.stop - part.start for part in parts for _ in (0, 1)]
        if port.code_whole("motion", tables, values.astype(np.int16), sizes):
            return known
    for part in parts:
        port.code("motion", row[part], rest[part, 0])
        port.code("motion", second[part], rest[part, 1])
    return known
