"""The frames channel's messages: packets, fragments, acknowledgements, and any other bytes."""

import random

import pytest

from vidcodec.errors import DamagedPacket
from vidcodec.link.framing import (
    CLOCK_WRAP_MS,
    MAX_DATAGRAM_BYTES,
    MAX_MESSAGE_BYTES,
    AckEntry,
    Acks,
    Fragment,
    FrameStatus,
    Reassembler,
    join_acks,
    join_packets,
    parse_message,
    split_message,
)


def test_lone_packet_costs_one_byte() -> None:
    packet = bytes(range(60))
    message = join_packets([packet])
    assert len(message) == 61
    assert parse_message(message) == [packet]


@pytest.mark.parametrize("sizes", [(1, 1), (5, 127, 128), (200, 16_384, 3), (1,) * 16])
def test_packets_in_one_message_come_apart_again(sizes: tuple[int, ...]) -> None:
    packets = [random.Random(size).randbytes(size) for size in sizes]
    assert parse_message(join_packets(packets)) == packets


def test_golden_bytes_of_the_three_kinds() -> None:
    assert join_packets([b"old", b"newer"]).hex() == "01036f6c646e65776572"
    entries = [AckEntry(1023, FrameStatus.OK, 99.0), AckEntry(2, FrameStatus.MISSING_REFERENCE, 100.0)]
    assert join_acks(entries, 100.5).hex() == "82000003ed07ff000f0c020005"
    assert split_message(bytes(1157), 7)[0].hex() == bytes(1157).hex()
    assert split_message(bytes(1161), 0x1FFFF)[1].hex() == "4102ffff0000000000"


@pytest.mark.parametrize("packets", [[], [b""], [b"a", b""], [b"a"] * 17, [bytes(MAX_MESSAGE_BYTES)]])
def test_what_fits_no_message_is_refused(packets: list[bytes]) -> None:
    with pytest.raises(ValueError):
        join_packets(packets)


@pytest.mark.parametrize("size", [1161, 5_000, 65_537, MAX_MESSAGE_BYTES])
def test_fragments_in_any_order_and_twice_give_the_message_once(size: int) -> None:
    message = random.Random(size).randbytes(size)
    datagrams = split_message(message, 70_000)
    assert max(map(len, datagrams)) <= MAX_DATAGRAM_BYTES
    shuffled = datagrams * 2
    random.Random(1).shuffle(shuffled)
    reassembler = Reassembler()
    results = []
    for datagram in shuffled:
        fragment = parse_message(datagram)
        assert isinstance(fragment, Fragment)
        results.append(reassembler.add(fragment, 0.0))
    assert [result for result in results if result is not None] == [message]


def test_a_lost_fragment_costs_its_message_and_no_other() -> None:
    reassembler = Reassembler()
    done = []
    for number in range(40):
        message = bytes([number]) * 3000
        for index, datagram in enumerate(split_message(message, number)):
            if number % 10 == 3 and index == 1:
                continue
            fragment = parse_message(datagram)
            assert isinstance(fragment, Fragment)
            whole = reassembler.add(fragment, 33.0 * number)
            if whole is not None:
                done.append(whole[0])
    assert done == [number for number in range(40) if number % 10 != 3]
    assert reassembler.incomplete == 1  # of 3, 13, 23 and 33 only the first is older than a second


def test_message_id_that_comes_again_after_65536_messages_is_another_message() -> None:
    reassembler = Reassembler()
    for number, now_ms in ((7, 0.0), (7 + 65_536, 2_185_000.0)):
        first, second = (parse_message(datagram) for datagram in split_message(bytes(2000), number))
        assert isinstance(first, Fragment) and isinstance(second, Fragment)
        assert reassembler.add(first, now_ms) is None
        assert reassembler.add(second, now_ms) == bytes(2000)
        assert reassembler.add(first, now_ms + 500.0) is None  # a copy on its way
    assert len(reassembler._partial) == 0


def test_fragments_that_never_complete_take_bounded_memory() -> None:
    reassembler = Reassembler(max_partial=4)
    for message_id in range(10_000):
        assert reassembler.add(Fragment(message_id, 0, 64, bytes(1156)), 0.0) is None
    assert len(reassembler._partial) == 4
    assert reassembler.incomplete == 9_996
    assert reassembler.add(Fragment(60_000, 0, 2, bytes(1156)), 5_000.0) is None
    assert len(reassembler._partial) == 1


def test_fragment_that_disagrees_on_the_count_starts_anew() -> None:
    reassembler = Reassembler()
    assert reassembler.add(Fragment(1, 0, 3, bytes(1156)), 0.0) is None
    assert reassembler.add(Fragment(1, 0, 2, b"a" * 1156), 0.0) is None
    assert reassembler.add(Fragment(1, 1, 2, b"b"), 0.0) == b"a" * 1156 + b"b"


def test_acks_keep_number_status_and_arrival_to_a_tenth_of_a_millisecond() -> None:
    now_ms = 123_456_789.25
    entries = [AckEntry(number, FrameStatus(number % 4), now_ms - 3.3 * number) for number in range(63)]
    parsed = parse_message(join_acks(entries, now_ms))
    assert isinstance(parsed, Acks)
    for entry, back in zip(entries, parsed.entries, strict=True):
        assert (back.number, back.status) == (entry.number, entry.status)
        assert abs((parsed.sent_ms - back.received_ms) % CLOCK_WRAP_MS - (now_ms - entry.received_ms)) < 0.11


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00",
        b"\x01\x05abc",
        b"\x01\xff\xff\xff\xff",
        b"\x01\x01a",
        b"\x10\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
        b"@\x02\x00\x00",
        b"@\x01\x00\x00a",
        b"B\x02\x00\x00a",
        b"@\x02\x00\x00a",
        b"\x80\x00",
        b"\x81\x00\x00\x00\x00\x00\x00\x00",
        b"\xc0abc",
        b"\x81\x00\x00\x00\x00\xf0\x00\x00\x00",
        bytes(MAX_MESSAGE_BYTES + 1),
    ],
)
def test_bytes_that_are_no_message_raise_damaged_packet(data: bytes) -> None:
    with pytest.raises(DamagedPacket):
        parse_message(data)


def test_random_bytes_parse_or_raise_damaged_packet_and_nothing_else() -> None:
    generator = random.Random(5)
    reassembler = Reassembler()
    parsed = 0
    for _ in range(20_000):
        data = generator.randbytes(generator.choice((1, 2, 4, 5, 9, 40, 1160)))
        try:
            content = parse_message(data)
        except DamagedPacket:
            continue
        parsed += 1
        if isinstance(content, Fragment):
            reassembler.add(content, 0.0)
    assert 0 < parsed < 20_000
