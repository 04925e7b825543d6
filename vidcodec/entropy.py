"""The entropy coder: symbols to bytes and back by range coding with integer tables. NumPy and bytes, no torch.

A frame is one range-coder stream (`constriction`, Rust). What makes it reproducible everywhere is that a table is a row
of integers out of the weights file and that the row is chosen by an integer known exactly to both ends; no float that
a network computed takes part. Symbols that share a table are coded together in one call, which keeps Python out of the
loop over symbols.

The coder emits 32-bit words; at 30 frames a second each byte costs 240 bit/s, so the tail is cut to the shortest byte
string inside the final interval, trailing zero bytes dropped.
"""

from dataclasses import dataclass, field
from typing import Any

import constriction
import numpy as np
from numpy.typing import ArrayLike, NDArray

from vidcodec.errors import DamagedPacket

Categorical = constriction.stream.model.Categorical
RangeEncoder = constriction.stream.queue.RangeEncoder
RangeDecoder = constriction.stream.queue.RangeDecoder

Ints = NDArray[np.int32]
MAX_TOTAL = 1 << 22


@dataclass(frozen=True)
class Tables:
    """Integer frequency tables, one a row, over symbols `low .. low + columns - 1`.

    A row may use only a run of the columns, the rest being zero: `lows` and `highs` bound what it can code. A row with
    a single non-zero column codes its symbol for nothing.

    Args:
        frequencies: `[rows, columns]` integers >= 0, each row with a sum of 1..4,194,304 and without gaps.
        low: the symbol of the first column.

    Raises:
        ValueError: the frequencies are not as said.
    """

    frequencies: NDArray[np.int64]
    low: int
    lows: Ints = field(init=False)
    highs: Ints = field(init=False)
    _open: NDArray[np.bool_] = field(init=False, repr=False)  # whether a row codes more than one symbol
    _models: tuple[Any, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        freq = np.ascontiguousarray(self.frequencies, dtype=np.int64)
        if freq.ndim != 2 or freq.size == 0 or freq.min() < 0:
            raise ValueError("frequencies must be a [rows, columns] array of integers >= 0")
        used = freq > 0
        totals = freq.sum(axis=1)
        if totals.min() < 1 or totals.max() > MAX_TOTAL:
            raise ValueError(f"each table needs a sum of 1 to {MAX_TOTAL}")
        first = used.argmax(axis=1)
        last = freq.shape[1] - 1 - used[:, ::-1].argmax(axis=1)
        if not np.array_equal(used.sum(axis=1), last - first + 1):
            raise ValueError("a table must not have a zero between two used symbols")
        # Exact integers in float64: the coder's own fixed-point conversion is then plain IEEE arithmetic without
        # rounding surprises, the same on every machine. `perfect=False` pins the conversion across versions.
        models = tuple(
            Categorical(freq[row, a : b + 1].astype(np.float64), lazy=False, perfect=False) if b > a else None
            for row, (a, b) in enumerate(zip(first, last, strict=True))
        )
        freq.setflags(write=False)
        object.__setattr__(self, "frequencies", freq)
        object.__setattr__(self, "lows", (first + self.low).astype(np.int32))
        object.__setattr__(self, "highs", (last + self.low).astype(np.int32))
        object.__setattr__(self, "_open", last > first)
        object.__setattr__(self, "_models", models)

    def __len__(self) -> int:
        return len(self._models)

    def clip(self, symbols: ArrayLike, rows: ArrayLike) -> Ints:
        """Symbols brought into the range that their tables can code (same shape as `symbols`, int32)."""
        index = np.asarray(rows)
        return np.minimum(np.maximum(symbols, self.lows[index]), self.highs[index]).astype(np.int32)

    def bits(self, symbols: ArrayLike, rows: ArrayLike) -> float:
        """Ideal cost in bits of coding `symbols`, each with its table."""
        index = np.asarray(rows)
        freq = self.frequencies[index, np.asarray(symbols) - self.low]
        return float(np.log2(self.frequencies.sum(axis=1)[index] / freq).sum())

    def groups(self, rows: NDArray[np.integer]) -> tuple[NDArray[np.intp], list[tuple[int, int, int]]]:
        """Order that brings equal rows together, leaving out rows that code for nothing, and the (row, start, stop) of
        each group in that order. Most symbols of an idle frame are of such rows, so sorting the rest is little work."""
        coded = np.flatnonzero(self._open[rows])
        keys = rows[coded]
        # Sorting 16-bit keys takes time in proportion to their number.
        order = coded[np.argsort(keys.astype(np.int16) if len(self) < 1 << 15 else keys, kind="stable")]
        counts = np.bincount(keys)
        used = np.flatnonzero(counts)
        ends = np.cumsum(counts[used]).tolist()
        return order, list(zip(used.tolist(), [0, *ends[:-1]], ends, strict=True)) if ends else []


def _rows(tables: Tables, rows: ArrayLike) -> NDArray[np.int64]:
    index = np.asarray(rows, dtype=np.int64).reshape(-1)
    if index.size and not 0 <= index.min() <= index.max() < len(tables):
        raise ValueError(f"table index out of range: there are {len(tables)} tables")
    return index


class SymbolEncoder:
    """Writes one frame's symbols, part by part, into one stream."""

    def __init__(self) -> None:
        self._coder = RangeEncoder()

    def put(self, tables: Tables, symbols: ArrayLike, rows: ArrayLike) -> None:
        """Append symbols, each coded with its table (any equal shapes, taken in C order).

        Raises:
            ValueError: a symbol is outside its table (see `Tables.clip`), or a row does not exist.
        """
        index = _rows(tables, rows)
        values = np.asarray(symbols, dtype=np.int32).reshape(-1)
        if values.shape != index.shape:
            raise ValueError(f"{values.size} symbols but {index.size} table indexes")
        low = tables.lows[index]
        if np.any((values < low) | (values > tables.highs[index])):
            raise ValueError("a symbol is outside its table")
        order, runs = tables.groups(index)
        offsets = (values - low)[order]
        for row, start, stop in runs:
            self._coder.encode(offsets[start:stop], tables._models[row])

    def finish(self) -> bytes:
        """The shortest byte string that decodes to what was put, given that a decoder reads zeros after its end."""
        words = self._coder.get_compressed()
        position, (lower, width) = self._coder.pos()
        total_bits = 32 * (position + 2)
        point = int.from_bytes(words.astype(">u4").tobytes(), "big") << (total_bits - 32 * len(words))
        # `point` lies in the final interval [low, low + width); `lower` is low modulo 2^64.
        low = point - ((point - lower) & 0xFFFF_FFFF_FFFF_FFFF)
        for length in range(max(0, 4 * position - 4), 4 * position + 9):
            unit = 1 << (total_bits - 8 * length)
            value = -(-low // unit)
            if value * unit < low + width:
                return value.to_bytes(length, "big").rstrip(b"\0")
        raise AssertionError("the final interval of a range coder holds at least one 64-bit number")


class SymbolDecoder:
    """Reads one frame's symbols back, part by part, in the order in which they were put."""

    def __init__(self, data: bytes) -> None:
        padded = data + bytes(8 + -len(data) % 4)
        self._coder = RangeDecoder(np.frombuffer(padded, dtype=">u4").astype(np.uint32))

    def take(self, tables: Tables, rows: ArrayLike) -> Ints:
        """Read as many symbols as there are `rows`, each with its table; the result has the shape of `rows`.

        The time and memory are set by the size of `rows`, whatever the bytes.

        Raises:
            DamagedPacket: the bytes are no stream of these tables.
        """
        index = _rows(tables, rows)
        order, runs = tables.groups(index)
        offsets = np.empty(order.shape, dtype=np.int32)
        try:
            for row, start, stop in runs:
                offsets[start:stop] = self._coder.decode(tables._models[row], stop - start)
        except AssertionError as error:  # what constriction raises on impossible data
            raise DamagedPacket("packet body is not a valid entropy-coded stream") from error
        values = tables.lows[index]
        values[order] += offsets
        return values.reshape(np.shape(rows))
