"""Entropy coder: exact round trips near the entropy, golden bytes, and nothing but DamagedPacket on garbage."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidcodec.entropy import SymbolDecoder, SymbolEncoder, Tables
from vidcodec.errors import DamagedPacket


def laplace_tables(rows: int = 16) -> Tables:
    symbols = np.arange(-40, 41)
    scales = np.geomspace(0.05, 8, rows)[:, None]
    return Tables(np.maximum(1, np.floor(65536 * np.exp(-np.abs(symbols) / scales))).astype(np.int64), -40)


TABLES = laplace_tables()


def code(symbols: np.ndarray, rows: np.ndarray) -> bytes:
    encoder = SymbolEncoder()
    encoder.put(TABLES, symbols, rows)
    return encoder.finish()


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 400))
def test_symbols_come_back_within_a_byte_of_the_entropy(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, len(TABLES), count)
    symbols = TABLES.clip(np.rint(rng.laplace(0, 2, count)), rows)
    data = code(symbols, rows)
    assert np.array_equal(SymbolDecoder(data).take(TABLES, rows), symbols)
    assert len(data) <= TABLES.bits(symbols, rows) / 8 + 1.01


def test_golden_bytes() -> None:
    rows = np.arange(64).reshape(4, 16) % 16
    symbols = TABLES.clip((np.arange(64) * 7919 % 13 - 6).reshape(4, 16) * (rows > 7), rows)
    assert code(symbols, rows).hex() == GOLDEN


def test_parts_are_read_in_the_order_they_were_put() -> None:
    rng = np.random.default_rng(3)
    parts = [(rng.integers(0, 16, (2, 5)), rng.integers(-3, 4, (2, 5))) for _ in range(4)]
    encoder = SymbolEncoder()
    for rows, symbols in parts:
        encoder.put(TABLES, symbols, rows)
    decoder = SymbolDecoder(encoder.finish())
    for rows, symbols in parts:
        assert np.array_equal(decoder.take(TABLES, rows), symbols)


def test_parts_of_any_kind_of_tables_come_back_without_checks_and_with_narrow_numbers() -> None:
    rng = np.random.default_rng(8)
    wide = np.array([[1, 4, 9, 4, 1], [0, 3, 9, 0, 0], [2, 9, 5, 1, 1]])
    closed_first, mixed = np.array([[0, 0, 9, 0, 0], *wide]), np.array([wide[0], [0, 0, 0, 0, 7], wide[1]])
    kinds = [Tables(wide, -2), Tables(closed_first, -2), Tables(mixed, -2), Tables(wide, 5)]
    for tables in kinds:
        parts = [rng.integers(0, len(tables), size).astype(np.uint8) for size in (7, 0, 900, 40)]
        symbols = [tables.clip(rng.integers(-3, 12, len(rows)), rows) for rows in parts]
        assert all(np.all((s >= tables.lows[r]) & (s <= tables.highs[r])) for s, r in zip(symbols, parts, strict=True))
        data = []
        for checks in (True, False):
            encoder = SymbolEncoder(checks)
            for rows, values in zip(parts, symbols, strict=True):
                encoder.put(tables, values.astype(np.int16), rows)
            data.append(encoder.finish())
        assert data[0] == data[1]
        for checks, kind in ((True, np.int64), (False, np.uint8)):
            decoder = SymbolDecoder(data[0], checks)
            for rows, values in zip(parts, symbols, strict=True):
                assert np.array_equal(decoder.take(tables, rows.astype(kind)), values)


def test_parts_put_at_once_are_those_put_one_by_one() -> None:
    rng = np.random.default_rng(4)
    for sizes in ((5, 0, 9), (700, 1, 1200), (40,) * 3000):  # with keys of 16 bits, and of more
        rows = rng.integers(0, len(TABLES), sum(sizes)).astype(np.uint8)
        symbols = TABLES.clip(rng.integers(-3, 4, len(rows)), rows)
        whole, parts = SymbolEncoder(), SymbolEncoder()
        whole.put(TABLES, symbols, rows, sizes)
        cuts = np.cumsum(sizes)[:-1]
        for some, their_rows in zip(np.split(symbols, cuts), np.split(rows, cuts), strict=True):
            parts.put(TABLES, some, their_rows)
        assert whole.finish() == parts.finish()


def test_nothing_costs_nothing() -> None:
    assert SymbolEncoder().finish() == b""
    certain = Tables(np.array([[0, 9, 0]]), -1)
    encoder = SymbolEncoder()
    encoder.put(certain, np.zeros(100), np.zeros(100))
    assert encoder.finish() == b""
    assert np.array_equal(SymbolDecoder(b"").take(certain, np.zeros(100, int)), np.zeros(100))


def test_idle_frame_of_9216_symbols_takes_few_bytes() -> None:
    rows = np.zeros(9216, int)
    assert len(code(np.zeros(9216, int), rows)) <= 3


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 2**32 - 1))
def test_any_bytes_decode_to_symbols_of_the_tables_or_are_damaged(data: bytes, seed: int) -> None:
    rows = np.random.default_rng(seed).integers(0, len(TABLES), 300)
    try:
        symbols = SymbolDecoder(data).take(TABLES, rows)
    except DamagedPacket:
        return
    assert np.all((symbols >= TABLES.lows[rows]) & (symbols <= TABLES.highs[rows]))


def test_symbol_outside_its_table_is_refused() -> None:
    with pytest.raises(ValueError, match="outside its table"):
        code(np.array([41]), np.array([0]))
    with pytest.raises(ValueError, match="table index"):
        code(np.array([0]), np.array([16]))
    with pytest.raises(ValueError, match="2 symbols but 1"):
        code(np.array([0, 0]), np.array([1]))


@pytest.mark.parametrize(
    "frequencies", [np.array([[1, 0, 1]]), np.array([[0, 0]]), np.array([[-1, 2]]), np.array([1, 2]), np.zeros((0, 3))]
)
def test_bad_tables_are_refused(frequencies: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"table|frequencies"):
        Tables(frequencies, 0)


@pytest.mark.parametrize("low", [-32769, 32767])
def test_symbols_of_more_than_16_bits_are_refused(low: int) -> None:
    with pytest.raises(ValueError, match="16 bits"):
        Tables(np.array([[1, 1]]), low)


GOLDEN = "70dfd8584307d952241acc6813f9502516f5e872"


@pytest.mark.parametrize("low", [-40, 0])
def test_clip_keeps_to_the_tables_however_the_symbols_lie_in_memory(low: int) -> None:
    tables = Tables(np.ones((4, 81), np.int64), low)
    symbols = np.arange(-300, 300, 25).reshape(2, 3, 4).transpose(2, 0, 1).astype(np.float32)
    rows = np.arange(24).reshape(symbols.shape) % 4
    clipped = tables.clip(symbols, rows)
    assert np.array_equal(clipped, np.clip(symbols, low, low + 80))
