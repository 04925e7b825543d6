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
from itertools import groupby
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
FEW = 200
"""Up to so many symbols are handed to the coder one by one; above, table by table. A call takes a third of a
microsecond with an array, a twentieth with a number; what is around it takes more, and the two meet about here."""


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
    _first_open: int | None = field(init=False, repr=False)  # all rows from here on do and none before; None: mixed
    _zero: bool = field(init=False, repr=False)  # whether every row codes zero
    _closed_zero: bool = field(init=False, repr=False)  # whether the rows that code one symbol all code zero
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
        if not self._zero:
            return np.minimum(np.maximum(symbols, self.lows[index]), self.highs[index]).astype(np.int32)
        clipped = np.array(symbols, dtype=np.int32, order="C")  # a copy, whose flat form is a view of it
        flat = clipped.reshape(-1)
        some = (flat != 0).nonzero()[0]  # most are zero, and may be
        if some.size:
            index = index.reshape(-1)[some]
            flat[some] = np.minimum(np.maximum(flat[some], self.lows[index]), self.highs[index])
        return clipped

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

    def order(self, rows: NDArray[np.integer], parts: NDArray[np.integer] | None = None) -> NDArray[np.intp]:
        """Positions in coding order: part by part (all one part if None), in a part table by table, in a table as they
        stand. Rows that code for nothing are left out: most symbols of an idle frame are of such rows, so sorting the
        rest is little work."""
        coded, keys, most = None, rows, len(self)
        if self._first_open != 0:
            chosen = self._open[rows] if self._first_open is None else rows >= self._first_open
            coded = chosen.nonzero()[0]
            keys = rows[coded]
        count = 1 if parts is None or not parts.size else int(parts[-1]) + 1
        # Sorting 16-bit keys takes time in proportion to their number.
        keys = keys.astype(np.int16 if count * most < 1 << 15 else np.int64)
        if parts is not None:
            keys += (parts if coded is None else parts[coded]).astype(keys.dtype) * keys.dtype.type(most)
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
def _part_numbers(sizes: tuple[int, ...]) -> NDArray[np.int16]:
    """The number of its part for every symbol of parts of these sizes."""
    numbers = np.repeat(np.arange(len(sizes), dtype=np.int16), sizes)
    numbers.setflags(write=False)
    return numbers


def _runs(rows: NDArray[np.integer]) -> list[tuple[int, int, int]]:
    """(row, start, stop) of each run of equal numbers; there is at least one."""
    cuts = ((rows[1:] != rows[:-1]).nonzero()[0] + 1).tolist()
    starts = [0, *cuts]
    return list(zip(rows[starts].tolist(), starts, [*cuts, len(rows)], strict=True))


class SymbolEncoder:
    """Writes one frame's symbols, part by part, into one stream."""

    def __init__(self, checks: bool = True) -> None:
        """checks: whether `finish` looks for what the tables do not have; else the caller answers for it."""
        self._checks = checks
        self._parts: list[tuple[Tables, ArrayLike, ArrayLike]] = []

    def put(self, tables: Tables, symbols: ArrayLike, rows: ArrayLike) -> None:
        """Append symbols, each coded with its table (any equal shapes, taken in C order)."""
        self._parts.append((tables, symbols, rows))

    def finish(self) -> bytes:
        """The shortest byte string that decodes to what was put, given that a decoder reads zeros after its end.

        Raises:
            ValueError: a symbol is outside its table (see `Tables.clip`), or a row does not exist.
        """
        coder = RangeEncoder()
        # Neighbouring parts of the same tables are sorted in one go.
        for _, parts in groupby(self._parts, key=lambda part: id(part[0])):
            _encode(coder, list(parts), self._checks)
        return _cut(coder)


def _encode(coder: Any, parts: list[tuple[Tables, ArrayLike, ArrayLike]], checks: bool) -> None:
    tables = parts[0][0]
    each = [np.asarray(rows).reshape(-1) for _, _, rows in parts]
    index = np.concatenate(each)
    values = np.concatenate([np.asarray(symbols).reshape(-1) for _, symbols, _ in parts]).astype(np.int32, copy=False)
    if checks:
        index = _rows(tables, index)
        if any(len(rows) != np.size(symbols) for rows, (_, symbols, _) in zip(each, parts, strict=True)):
            raise ValueError(f"{values.size} symbols but {index.size} table indexes")
        if not tables.holds(values, index):
            raise ValueError("a symbol is outside its table")
    order = tables.order(index, _part_numbers(tuple(map(len, each))) if len(each) > 1 else None)
    rows = index[order]
    offsets, models = values[order] - tables.lows[rows], tables._models
    if len(rows) <= FEW:
        encode = coder.encode
        for row, offset in zip(rows.tolist(), offsets.tolist(), strict=True):
            encode(offset, models[row])
    else:
        for row, start, stop in _runs(rows):
            coder.encode(offsets[start:stop], models[row])


def _cut(coder: Any) -> bytes:
    """What a range encoder holds, cut to the bytes that matter."""
    words = coder.get_compressed()
    position, (lower, width) = coder.pos()
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

    def __init__(self, data: bytes, checks: bool = True) -> None:
        """checks: whether `take` looks for rows that do not exist; else the caller answers for them."""
        self._checks = checks
        padded = data + bytes(8 + -len(data) % 4)
        self._coder = RangeDecoder(np.frombuffer(padded, dtype=">u4").astype(np.uint32))

    def take(self, tables: Tables, rows: ArrayLike) -> Ints:
        """Read as many symbols as there are `rows`, each with its table; the result has the shape of `rows`.

        The time and memory are set by the size of `rows`, whatever the bytes.

        Raises:
            DamagedPacket: the bytes are no stream of these tables.
        """
        index = _rows(tables, rows) if self._checks else np.asarray(rows).reshape(-1)
        order = tables.order(index)
        values = np.zeros(len(index), np.int32) if tables._closed_zero else tables.lows[index]
        if order.size:
            sorted_rows, models, decode = index[order], tables._models, self._coder.decode
            try:
                if len(sorted_rows) <= FEW:
                    offsets: ArrayLike = [decode(models[row]) for row in sorted_rows.tolist()]
                else:
                    runs = _runs(sorted_rows)
                    offsets = np.concatenate([decode(models[row], stop - start) for row, start, stop in runs])
            except AssertionError as error:  # what constriction raises on impossible data
                raise DamagedPacket("packet body is not a valid entropy-coded stream") from error
            values[order] = tables.lows[sorted_rows] + np.asarray(offsets, dtype=np.int32)
        return values.reshape(np.shape(rows))
