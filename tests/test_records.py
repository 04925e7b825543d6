"""Frame records on their way to the other end: exact, compact, and safe to read whatever they are."""

import base64
import contextlib
import json
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidcodec.records import (
    MAX_ROWS,
    TICK_NS,
    SentFrame,
    ShownFrame,
    pack_sent,
    pack_shown,
    unpack_sent,
    unpack_shown,
)

times = st.integers(0, 10**13).map(lambda tick: tick * TICK_NS)
counts = st.integers(0, 2**40)
maybe = st.none() | counts
offsets = st.integers(-(10**12), 10**12).map(lambda tick: tick * TICK_NS)
sent_frames = st.builds(
    SentFrame, counts, times, times, times, times, counts, counts, offsets, maybe, maybe, maybe, maybe
)
shown_frames = st.builds(ShownFrame, counts, times, times, times, maybe, maybe, maybe)


@given(st.lists(sent_frames, max_size=20))
def test_sent_records_come_back_exactly(frames: list[SentFrame]) -> None:
    assert unpack_sent(pack_sent(frames)) == frames


@given(st.lists(shown_frames, max_size=20))
def test_shown_records_come_back_exactly(frames: list[ShownFrame]) -> None:
    assert unpack_shown(pack_shown(frames)) == frames


def test_times_are_rounded_to_a_tenth_of_a_millisecond_and_nothing_else_is() -> None:
    frame = SentFrame(7, 1_234_567_890, 1_234_999_999, 1_300_000_001, 1_400_000_000, 432, 3, -1_950_000, 123_456_789)
    (back,) = unpack_sent(pack_sent([frame]))
    assert abs(back.captured_ns - frame.captured_ns) < TICK_NS
    assert abs(back.offset_ns - frame.offset_ns) < TICK_NS
    assert (back.number, back.payload_bytes, back.quality, back.squared_error) == (7, 432, 3, 123_456_789)


def test_a_second_of_call_takes_less_than_six_kbit() -> None:
    rng = np.random.default_rng(0)
    frames = []
    for number in range(30):
        start = 5_000_000_000_000 + number * 33_333_333 + int(rng.integers(0, 500_000))
        moments = start + np.cumsum(rng.integers(200_000, 4_000_000, 3))
        errors = [int(value) for value in rng.integers(1_000_000, 3_000_000, 2)]
        frames.append(
            SentFrame(
                1000 + number,
                start,
                *map(int, moments),
                int(rng.integers(60, 300)),
                30,
                0,
                errors[0],
                None,
                errors[1],
                200,
            )
        )
    assert len(pack_sent(frames)) * 8 < 6_000


@settings(max_examples=200)
@given(st.binary(max_size=300))
def test_random_bytes_are_refused_and_nothing_else_happens(data: bytes) -> None:
    for text in (data.decode("latin-1"), base64.b64encode(data).decode()):
        for unpack in (unpack_sent, unpack_shown):
            with contextlib.suppress(ValueError):
                assert unpack(text) == []


def pack_json(table: object) -> str:
    return base64.b64encode(zlib.compress(json.dumps(table).encode())).decode()


@pytest.mark.parametrize(
    "table",
    [
        {"a": 1},
        [[1]] * 6,
        [[1]] * 8,
        [[1], [1], [1], [1], [1], [1], [1, 2]],
        [["1"]] * 7,
        [[1.5]] * 7,
        [[True]] * 7,
        [[None]] * 7,
        [[-1], [1], [1], [1], [1], [1], [1]],
        [[1], [1], [1], [None], [1], [1], [1]],
        [[1 << 70]] * 7,
        [[]] * 7,
        [[0] * (MAX_ROWS + 1)] * 7,
        [[[[]]]] * 7,
    ],
)
def test_tables_of_another_shape_are_refused(table: object) -> None:
    with pytest.raises(ValueError, match="record"):
        unpack_shown(pack_json(table))


def test_text_that_inflates_to_gigabytes_is_refused_in_little_memory() -> None:
    bomb = base64.b64encode(zlib.compress(b"[" * 50_000_000, 9)).decode()
    assert len(bomb) < 100_000
    with pytest.raises(ValueError, match="too long"):
        unpack_sent(bomb)
