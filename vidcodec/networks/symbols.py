"""A frame as whole numbers, and the one walk over them that encoder, decoder and table fitting share.

Order in the stream: what there is (motion? symbols?), motion, totals of z, z, y in its steps. Each part chooses its
tables by whole numbers that came before it in the same packet, so a packet needs nothing but itself to be read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from vidcodec.entropy import SymbolDecoder, SymbolEncoder, Symbols, Tables
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
_LITTLE = np.dtype("<i2")  # how a packet's checksum sees symbols


@dataclass(frozen=True)
class FrameSymbols:
    """Everything a packet says: vectors int [h, w, 2], z int [groups, h/4, w/4], y int [C, h, w]."""

    vectors: Ints
    z: Whole
    y: Whole


class Port(Protocol):
    """Where a walk puts its symbols or takes them from."""

    def code(self, table: str, rows: Whole, values: Whole | None) -> Whole:
        """Code symbols with the rows of a table; returns what the receiver gets."""


class EncodePort:
    """Writes symbols, brought into the range of their tables."""

    def __init__(self, tables: Mapping[str, Tables]) -> None:
        self.tables, self.encoder = tables, SymbolEncoder(checks=False)  # symbols are clipped, rows are the walk's
        self.coded: list[bytes] = []

    def code(self, table: str, rows: Whole, values: Whole | None) -> Whole:
        if values is None:
            raise ValueError("nothing to encode")
        clipped = self.tables[table].clip(values, rows).astype(_LITTLE)
        self.encoder.put(self.tables[table], clipped, rows)
        self.coded.append(clipped.tobytes())
        return clipped

    def code_whole(self, table: str, rows: Whole, values: Whole, sizes: tuple[int, ...]) -> bool:
        """Code parts of these sizes, one after the other, all at once; False, and nothing is coded, where a symbol is
        outside its table."""
        if not self.tables[table].holds(values, rows):
            return False
        self.encoder.put(self.tables[table], values, rows, sizes)
        self.coded.append(values.astype(_LITTLE, copy=False).tobytes())
        return True


class DecodePort:
    """Reads symbols from a packet's body."""

    def __init__(self, tables: Mapping[str, Tables], body: bytes) -> None:
        self.tables, self.decoder = tables, SymbolDecoder(body, checks=False)  # rows are the walk's, whatever is read
        self.coded: list[bytes] = []
        self.parts: list[tuple[str, Whole, Whole]] = []  # (table, rows, symbols) of every part read

    def code(self, table: str, rows: Whole, values: Whole | None) -> Whole:
        taken = self.decoder.take(self.tables[table], rows)
        self.coded.append(taken.astype(_LITTLE, copy=False).tobytes())
        self.parts.append((table, rows, taken))
        return taken

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

    def code(self, table: str, rows: Whole, values: Whole | None) -> Whole:
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
    shape_of_y, shape_of_z = (groups[-1], cells, cells), (len(groups), cells // 4, cells // 4)
    if not has & 2:
        return FrameSymbols(vectors, np.zeros(shape_of_z, np.int16), np.zeros(shape_of_y, np.int16))
    z = _walk_side(port, shape_of_z, band + LEVEL_CLASSES * intra, None if known is None else known.z)
    side = scales.side(z, vectors, intra, level)
    order = _order_of_y(groups, cells)
    wanted = None if known is None else _moved(known.y, order.slots)
    if wanted is not None and isinstance(port, EncodePort) and _code_known(port, scales, side, wanted, order.steps):
        assert known is not None
        return FrameSymbols(vectors, z, known.y)
    coded = np.empty(len(order.places), np.int16)
    run = scales.start(side)
    for number, part in enumerate(order.steps):
        index = run.indexes(number)
        coded[part] = port.code("y", index.reshape(-1), None if wanted is None else wanted[part])
        run.add(number, coded[part].reshape(index.shape))
    return FrameSymbols(vectors, z, _moved(coded, order.places).reshape(shape_of_y))


class OrderOfY(NamedTuple):
    """In which order y [C, h, w] is coded: `places`, of what is coded, in flat y; `slots`, of flat y, in what is coded;
    `steps`, where in what is coded each step is."""

    places: Ints
    slots: Ints
    steps: tuple[slice, ...]


@cache
def _order_of_y(groups: tuple[int, ...], cells: int) -> OrderOfY:
    colours = board(cells, cells).order.reshape(2, -1)
    steps = [
        (np.arange(first, seen)[:, None] * cells**2 + colour).reshape(-1)
        for first, seen in zip((0, *groups), groups, strict=False)
        for colour in colours
    ]
    places = np.concatenate(steps)
    ends = np.cumsum([len(step) for step in steps]).tolist()
    return OrderOfY(places, places.argsort(), tuple(slice(a, b) for a, b in zip([0, *ends], ends, strict=False)))


def _moved(symbols: Whole, where: Ints) -> Symbols:
    """Each symbol to its place in a flat array; most are zero."""
    flat, moved = symbols.reshape(-1), np.zeros(symbols.size, np.int16)
    some = (flat != 0).nonzero()[0]
    moved[where.take(some)] = flat.take(some)
    return moved


def _code_known(
    port: EncodePort, scales: IntegerScales, side: Exact, wanted: Symbols, parts: tuple[slice, ...]
) -> bool:
    """Code all symbols in one go, if their tables have them: what a step is told is then what was wanted. Else nothing
    is coded, and the steps must be walked one by one."""
    run = scales.start(side)
    rows = np.empty(len(wanted), np.uint8)
    for number, part in enumerate(parts):
        index = run.indexes(number)
        rows[part] = index.reshape(-1)
        run.add(number, wanted[part].reshape(index.shape))
    return port.code_whole("y", rows, wanted, tuple(part.stop - part.start for part in parts))


def with_side(vectors: Ints, y: Whole, groups: tuple[int, ...]) -> FrameSymbols:
    """The symbols of a frame with the z that belongs to them."""
    return FrameSymbols(vectors, side_levels(y, groups), y)


def _walk_side(port: Port, shape: tuple[int, ...], condition: int, known: Whole | None) -> Whole:
    """Code z [groups, rows, columns] behind a total for each group."""
    groups = np.arange(shape[0], dtype=np.uint8)
    totals: Any = None
    if known is not None:
        # A bit length b stands for magnitudes up to 2^b - 1: the total of a group bounds each of its cells.
        totals = bit_length(((np.int64(1) << known) - 1).sum((1, 2)))
    totals = port.code("totals", groups * (2 * LEVEL_CLASSES) + condition, totals)
    rows = (groups * TOTALS + totals).astype(np.uint8).repeat(shape[1] * shape[2])
    return port.code("z", rows, None if known is None else known.reshape(-1)).reshape(shape)


def _walk_motion(port: Port, cells: int, known: Ints | None) -> Ints:
    """Code vectors [cells, cells, 2] from coarse to fine: a common vector, then each from the middle of its neighbours.

    The more the neighbours disagree, the wider the table.
    """
    if known is not None:
        return _walk_known_motion(port, cells, known)
    field = np.empty((cells * cells, 2), np.int16)
    field[:] = port.code("motion", np.zeros(2, np.uint8), None)
    for number, (where, near) in enumerate(motion_passes(cells), start=1):
        vectors, row = predicted_vectors(field.take(near, 0), number * SPREADS * 4)
        x = port.code("motion", row, None)
        vectors[:, 0] += x
        vectors[:, 1] += port.code("motion", second_row(row, x), None)
        field[where] = vectors
    return field.reshape(cells, cells, 2).astype(np.int64)


def _walk_known_motion(port: Port, cells: int, known: Ints) -> Ints:
    """The same where all vectors are known: neighbours, tables and differences of all passes are worked out at once."""
    if np.abs(known).max() > LIMIT:
        raise ValueError(f"a motion vector is longer than {LIMIT} half pixels")  # within it no difference is clipped
    flat = known.reshape(-1, 2).astype(np.int16)
    shared = port.code("motion", np.zeros(2, np.uint8), median(flat))
    where, near, first_rows, parts, order = all_passes(cells)
    around = flat.take(near, 0)
    around[:, : len(motion_passes(cells)[0][0])] = shared
    predicted, row = predicted_vectors(around, first_rows)
    rest = (flat.take(where, 0) - predicted).T
    tables = np.concatenate([row, second_row(row, rest[0])]).take(order)
    values = rest.reshape(-1).take(order)
    sizes = tuple(part.stop - part.start for part in parts)
    if not isinstance(port, EncodePort) or not port.code_whole("motion", tables, values, sizes):
        for part in parts:
            port.code("motion", tables[part], values[part])
    return known
