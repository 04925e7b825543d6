"""The entropy coder: symbols to bytes and back by range coding with integer tables. NumPy and bytes, no torch.

A frame is one range-coder stream (`constriction`, Rust). What makes it reproducible everywhere is that a table is a row
of integers out of the weights file and that the row is chosen by an integer known exactly to both ends; no float that
a network computed takes part. Symbols that share a table are coded one after the other, so that many of them take one
call, which keeps Python out of the loop over the thousands of symbols of a first frame.

The coder emits 32-bit words; at 30 frames a second each byte costs 240 bit/s, so the tail is cut to the shortest byte
string inside the final interval, trailing zero bytes dropped.
"""

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import constriction
import numpy as np
from numpy.typing import ArrayLike, NDArray

from vidcodec.errors import DamagedPacket

Categorical = constriction.stream.model.Categorical
RangeEncoder = constriction.stream.queue.RangeEncoder
RangeDecoder = constriction.stream.queue.RangeDecoder

Ints = NDArray[np.int32]
Symbols = NDArray[np.int16]
MAX_TOTAL = 1 << 22
FEW = 300
RUN = 8
"""Up to `FEW` symbols are read one by one, and up to `RUN` to a table on average are written so; more, table by table.
A call of the coder takes a third of a microsecond with an array and a twentieth with a number; what is around it takes
more, and the two meet about here."""


@dataclass(frozen=True)
class Tables:
    """Integer frequency tables, one a row, over symbols `low .. low + columns - 1`.

    A row may use only a run of the columns, the rest being zero: `lows` and `highs` bound what it can code. A row with
    a single non-zero column codes its symbol for nothing.

    Args:
        frequencies: `[rows, columns]` integers >= 0, each row with a sum of 1..4,194,304 and without gaps.
        low: the symbol of the first column. All symbols fit into 16 bits.

    Raises:
        ValueError: the frequencies are not as said.
    """

    frequencies: NDArray[np.int64]
    low: int
    lows: Symbols = field(init=False)
    highs: Symbols = field(init=False)
    _open: NDArray[np.bool_] = field(init=False, repr=False)  # whether a row codes more than one symbol
    _first_open: int | None = field(init=False, repr=False)  # all rows from here on do and none before; None: mixed
    _zero: bool = field(init=False, repr=False)  # whether every row codes zero
    _closed_zero: bool = field(init=False, repr=False)  # whether the rows that code one symbol all code zero
    _models: NDArray[np.object_] = field(init=False, repr=False)

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
        if max(-self.low, self.low + freq.shape[1], freq.shape[1]) > 1 << 15:
            raise ValueError("symbols of the tables, or their number, do not fit into 16 bits")
        # Exact integers in float64: the coder's own fixed-point conversion is then plain IEEE arithmetic without
        # rounding surprises, the same on every machine. `perfect=False` pins the conversion across versions.
        models = np.full(len(freq), None, object)
        for row in (last > first).nonzero()[0]:
            used_here = freq[row, first[row] : last[row] + 1].astype(np.float64)
            models[row] = Categorical(used_here, lazy=False, perfect=False)
        freq.setflags(write=False)
        object.__setattr__(self, "frequencies", freq)
        object.__setattr__(self, "lows", (first + self.low).astype(np.int16))
        object.__setattr__(self, "highs", (last + self.low).astype(np.int16))
        is_open = last > first
        start = int(is_open.argmax()) if is_open.any() else len(freq)
        object.__setattr__(self, "_open", is_open)
        object.__setattr__(self, "_first_open", start if is_open[start:].all() else None)
        object.__setattr__(self, "_zero", bool(np.all((first + self.low <= 0) & (last + self.low >= 0))))
        object.__setattr__(self, "_closed_zero", not np.any(self.lows[~is_open]))
        object.__setattr__(self, "_models", models)

    def __len__(self) -> int:
        return len(self._models)

    def clip(self, symbols: ArrayLike, rows: ArrayLike) -> Ints:
        """Symbols brought into the range that their tables can code (same shape as `symbols`, int32)."""
        index = np.asarray(rows)
        return np.minimum(np.maximum(symbols, self.lows[index]), self.highs[index]).astype(np.int32)

    def holds(self, symbols: NDArray[np.integer], rows: NDArray[np.integer]) -> bool:
        """Whether each of the symbols [n] is in its table: `clip` would change nothing."""
        some: Any = (symbols != 0).nonzero()[0] if self._zero else slice(None)
        index, values = rows[some], symbols[some]
        return not np.any((values < self.lows[index]) | (values > self.highs[index]))

    def bits(self, symbols: ArrayLike, rows: ArrayLike) -> float:
        """Ideal cost in bits of coding `symbols`, each with its table."""
        index = np.asarray(rows)
        freq = self.frequencies[index, np.asarray(symbols) - self.low]
        return float(np.log2(self.frequencies.sum(axis=1)[index] / freq).sum())

    def order(self, rows: NDArray[np.integer], sizes: tuple[int, ...] = ()) -> NDArray[np.intp]:
        """Positions in coding order: part by part if there are parts of these sizes, in a part table by table, in a
        table as they stand. Rows that code for nothing are left out: most symbols of an idle frame are of such rows, so
        sorting the rest is little work."""
        coded, keys = None, rows
        if self._first_open != 0:
            chosen = self._open[rows] if self._first_open is None else rows >= self._first_open
            coded = chosen.nonzero()[0]
            keys = rows[coded]
        # Sorting numbers of 8 or 16 bits takes time in proportion to their number.
        if keys.dtype != np.uint8 and len(self) < 1 << 15:
            keys = keys.astype(np.int16, copy=False)
        if len(sizes) > 1:
            parts = _part_keys(sizes, len(self))
            keys = keys + (parts if coded is None else parts[coded])
        order = keys.argsort(kind="stable")
        return order if coded is None else coded[order]


def _rows(tables: Tables, rows: ArrayLike) -> NDArray[np.integer]:
    index = np.asarray(rows).reshape(-1)
    if index.dtype != np.uint8:
        index = index.astype(np.int64, copy=False)
    # As an unsigned number a negative index is a very large one.
    if index.size and np.maximum.reduce(index.view(f"u{index.itemsize}")) >= len(tables):
        raise ValueError(f"table index out of range: there are {len(tables)} tables")
    return index


@lru_cache(maxsize=16)
def _part_keys(sizes: tuple[int, ...], tables: int) -> NDArray[np.integer]:
    """For every symbol of parts of these sizes, the number of its part times that of tables."""
    first = np.arange(len(sizes)) * tables
    keys = np.repeat(first.astype(np.int16 if len(sizes) * tables < 1 << 15 else np.int64), sizes)
    keys.setflags(write=False)
    return keys


class SymbolEncoder:
    """Writes one frame's symbols, part by part, into one stream."""

    def __init__(self, checks: bool = True) -> None:
        """checks: whether `put` looks for what the tables do not have; else the caller answers for it."""
        self._checks = checks
        self._coder = RangeEncoder()

    def put(self, tables: Tables, symbols: ArrayLike, rows: ArrayLike, sizes: tuple[int, ...] = ()) -> None:
        """Append symbols, each coded with its table (equal shapes, taken in C order): one part, or parts of these
        sizes.

        Raises:
            ValueError: a symbol is outside its table (see `Tables.clip`), or a row does not exist.
        """
        index, values = np.asarray(rows).reshape(-1), np.asarray(symbols).reshape(-1)
        if self._checks:
            index = _rows(tables, index)
            if len(index) != len(values):
                raise ValueError(f"{values.size} symbols but {index.size} table indexes")
            if not tables.holds(values, index):
                raise ValueError("a symbol is outside its table")
        order = tables.order(index, sizes)
        index = index[order]
        offsets = (values[order] - tables.lows.take(index)).astype(np.int32)
        encode, models = self._coder.encode, tables._models
        cuts = (index[1:] != index[:-1]).nonzero()[0] + 1
        if len(index) <= RUN * (len(cuts) + 1):
            for offset, model in zip(offsets.tolist(), models.take(index).tolist(), strict=True):
                encode(offset, model)
        else:
            starts = [0, *cuts.tolist()]
            for start, stop, model in zip(starts, [*starts[1:], len(index)], models[index[starts]], strict=True):
                encode(offsets[start:stop], model)

    def finish(self) -> bytes:
        """The shortest byte string that decodes to what was put, given that a decoder reads zeros after its end."""
        return _cut(self._coder)


def _cut(coder: Any) -> bytes:
    """What a range encoder holds, cut to the bytes that matter."""
    words = coder.get_compressed()
    position, (lower, width) = coder.pos()
    total_bits = 32 * (position + 2)
    point = int.from_bytes(words.astype(">u4").tobytes(), "big") << (total_bits - 32 * len(words))
    # `point` lies in the final interval [low, low + width); `lower` is low modulo 2^64.
    low = point - ((point - lower) & 0xFFFF_FFFF_FFFF_FFFF)
    if low == 0:
        return b""
    # The highest bit that changes within the interval is that of its roundest number; whole bytes are cut off.
    cut = (((low - 1) ^ (low + width - 1)).bit_length() - 1) & ~7
    return (-(-low >> cut)).to_bytes((total_bits - cut) // 8, "big").rstrip(b"\0")


class SymbolDecoder:
    """Reads one frame's symbols back, part by part, in the order in which they were put."""

    def __init__(self, data: bytes, checks: bool = True) -> None:
        """checks: whether `take` looks for rows that do not exist; else the caller answers for them."""
        self._checks = checks
        padded = data + bytes(8 + -len(data) % 4)
        self._coder = RangeDecoder(np.frombuffer(padded, dtype=">u4").astype(np.uint32))

    def take(self, tables: Tables, rows: NDArray[np.integer]) -> Symbols:
        """Read as many symbols as there are `rows`, each with its table; the result has the shape of `rows`.

        The time and memory are set by the size of `rows`, whatever the bytes.

        Raises:
            DamagedPacket: the bytes are no stream of these tables.
        """
        index = _rows(tables, rows) if self._checks else rows.reshape(-1)
        order = tables.order(index)
        values = np.zeros(len(index), np.int16) if tables._closed_zero else tables.lows[index]
        if order.size:
            sorted_rows = index[order]
            values[order] = self._offsets(tables._models, sorted_rows) + tables.lows.take(sorted_rows)
        return values.reshape(rows.shape)

    def _offsets(self, models: NDArray[np.object_], rows: NDArray[np.integer]) -> Symbols:
        """How far each symbol lies above the lowest of its table; `rows` rise."""
        decode = self._coder.decode
        try:
            if len(rows) <= FEW:
                return np.fromiter(map(decode, models.take(rows)), np.int16, len(rows))
            counts = enumerate(np.bincount(rows).tolist())
            return np.concatenate([decode(models[row], count) for row, count in counts if count], dtype=np.int16)
        except AssertionError as error:  # what constriction raises on impossible data
            raise DamagedPacket("packet body is not a valid entropy-coded stream") from error
