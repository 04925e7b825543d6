"""Packets in any order, late, lost or damaged: every picture shown is the right one, and delay does not build up."""

import random
import threading
import time

import numpy as np
import pytest
from delta_codec import DeltaCodec, pictures

from receiver.decoding import LATE_MS, MAX_QUEUED, WAIT_MS, FrameDecoder, PacketQueue, Picture, Spacing, is_intra
from vidcodec.codec import State
from vidcodec.link.framing import FrameStatus
from vidcodec.link.options import Frame
from vidcodec.packet import Packet

CODEC = DeltaCodec()
ORIGINALS = pictures(40)


def coded(intra: frozenset[int] = frozenset()) -> list[Frame]:
    """The originals as packets, each predicted from the one before but for those in `intra`; 10 ms apart."""
    state, frames = CODEC.blank_state(), []
    for number, picture in enumerate(ORIGINALS):
        packet, state = CODEC.encode(picture, CODEC.blank_state() if number in intra else state, 1, number)
        frames.append(Frame(number, packet.to_bytes(), 10.0 * number))
    return frames


def test_packets_out_of_order_come_out_right_and_none_is_lost() -> None:
    frames = coded()
    rng = random.Random(3)
    shuffled = [frame for start in range(0, 40, 5) for frame in rng.sample(frames[start : start + 5], 5)]
    decoder = FrameDecoder(CODEC)
    verdicts = [verdict for frame in shuffled for verdict in decoder.push(frame)]
    assert sorted(verdict.frame.number for verdict in verdicts) == list(range(40))
    for verdict in verdicts:
        assert verdict.status is FrameStatus.OK
        assert verdict.picture is not None
        assert np.array_equal(verdict.picture, ORIGINALS[verdict.frame.number])


def test_lost_packet_stops_what_depends_on_it_until_the_next_intra_frame() -> None:
    frames = coded(intra=frozenset({20}))
    decoder = FrameDecoder(CODEC)
    good, missing = [], []
    for frame in frames:
        if frame.number == 10:
            continue
        for verdict in [*decoder.push(frame), *decoder.expire(frame.received_ms)]:
            (good if verdict.status is FrameStatus.OK else missing).append(verdict)
    missing += decoder.expire(frames[-1].received_ms + WAIT_MS + 1.0)
    assert [verdict.frame.number for verdict in good] == [*range(10), *range(20, 40)]
    assert {verdict.status for verdict in missing} == {FrameStatus.MISSING_REFERENCE}
    assert [verdict.frame.number for verdict in missing] == list(range(11, 20))
    assert decoder.newest == 39


def test_packet_waits_for_a_late_reference_and_no_longer_than_that() -> None:
    frames = coded()
    decoder = FrameDecoder(CODEC)
    list(decoder.push(frames[0]))
    assert list(decoder.push(frames[2])) == []
    assert decoder.expire(frames[2].received_ms + WAIT_MS) == []
    (verdict,) = decoder.expire(frames[2].received_ms + WAIT_MS + 1)
    assert (verdict.status, verdict.frame.number) == (FrameStatus.MISSING_REFERENCE, 2)
    assert [v.frame.number for v in decoder.push(frames[1])] == [1]
    assert decoder.expire(1e9) == []


def test_what_waited_is_shown_picture_by_picture_and_not_all_at_the_end() -> None:
    class Counting(DeltaCodec):
        decoded = 0

        def decode(self, packet: Packet, state: State) -> tuple[Picture, State]:
            self.decoded += 1
            return super().decode(packet, state)

    codec, frames = Counting(), coded()
    decoder = FrameDecoder(codec)
    assert [verdict.frame.number for frame in (frames[0], frames[3], frames[2]) for verdict in decoder.push(frame)] == [
        0
    ]
    seen = [(verdict.frame.number, codec.decoded, decoder.more) for verdict in decoder.push(frames[1])]
    assert seen == [(1, 2, True), (2, 3, True), (3, 4, False)]


@pytest.mark.parametrize("data", [b"", b"abc", b"\x00\x00\x00\x00\x00", b"\x00\x00\x04\x00\x00zzz", bytes(200)])
def test_damaged_packets_are_told_and_the_next_good_one_decodes(data: bytes) -> None:
    frames = coded()
    decoder = FrameDecoder(CODEC)
    (verdict,) = decoder.push(Frame(0, data, 0.0))
    assert verdict.status is FrameStatus.DAMAGED
    assert verdict.reason
    assert [verdict.status for verdict in decoder.push(frames[0])] == [FrameStatus.OK]


def test_a_flipped_bit_anywhere_never_shows_a_wrong_picture() -> None:
    frame = coded()[0]
    rng = random.Random(5)
    for _ in range(100):
        data = bytearray(frame.packet)
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        for verdict in FrameDecoder(CODEC).push(Frame(0, bytes(data), 0.0)):
            # Quality is in the checksum too; what still decodes has the very symbols.
            assert verdict.status is FrameStatus.DAMAGED or np.array_equal(verdict.picture, ORIGINALS[0])


def test_old_states_are_let_go() -> None:
    decoder = FrameDecoder(CODEC)
    assert len([verdict for frame in coded() for verdict in decoder.push(frame)]) == 40
    assert len(decoder._states) == 32
    late = [Frame(200 + number, coded()[5].packet, 0.0) for number in range(100)]
    assert [verdict for frame in late for verdict in decoder.push(frame)] == []
    assert len(decoder._waiting) <= 16


def test_queue_hands_packets_on_in_order_and_wakes_its_reader() -> None:
    queue = PacketQueue()
    got: list[Frame | None] = []
    reader = threading.Thread(target=lambda: got.extend(queue.get(2.0) for _ in range(3)))
    reader.start()
    frames = coded()
    for frame in frames[:3]:
        queue.put(frame)
    reader.join(5)
    assert got == frames[:3]
    assert queue.get(0.0) is None
    assert queue.skipped == 0


def test_queue_that_has_fallen_behind_goes_on_at_the_newest_intra_frame() -> None:
    frames = coded(intra=frozenset({6, 12}))
    queue = PacketQueue()
    for frame in frames[:16]:
        queue.put(frame)
    assert frames[15].received_ms - frames[0].received_ms > LATE_MS
    first = queue.get(0.0)
    assert first is not None
    assert first.number == 12
    assert queue.skipped == 12
    second = queue.get(0.0)
    assert second is not None
    assert second.number == 13


def test_queue_without_an_intra_frame_skips_nothing_until_it_is_full() -> None:
    frames = coded()
    queue = PacketQueue()
    for round_ in range(3):
        for frame in frames[1:]:
            queue.put(Frame(40 * round_ + frame.number, frame.packet, frame.received_ms + 400 * round_))
    assert queue.skipped == 3 * 39 - MAX_QUEUED
    first = queue.get(0.0)
    assert first is not None
    assert first.number > 40


def test_closed_queue_gives_what_it_has_and_takes_nothing_more() -> None:
    queue = PacketQueue()
    frames = coded()
    queue.put(frames[0])
    queue.close()
    queue.put(frames[1])
    assert not queue.drained
    assert queue.get(1.0) == frames[0]
    assert queue.drained
    began_s = time.monotonic()
    assert queue.get(5.0) is None
    assert time.monotonic() - began_s < 1.0


def test_intra_packets_are_told_by_their_header() -> None:
    frames = coded(intra=frozenset({7}))
    assert [frame.number for frame in frames if is_intra(frame.packet)] == [0, 7]
    assert not is_intra(b"")


def test_second_frame_of_a_message_is_shown_a_frame_later() -> None:
    spacing = Spacing(30.0)
    assert spacing.wait_s(Frame(0, b"", 100.0), 0.110, False) == 0.0
    assert spacing.wait_s(Frame(1, b"", 100.0), 0.121, False) == pytest.approx(1 / 30 - 0.011)
    assert spacing.wait_s(Frame(2, b"", 166.0), 0.176, False) == 0.0, "it came by itself"


def test_frames_that_others_wait_behind_are_not_held_back() -> None:
    spacing = Spacing(30.0)
    spacing.wait_s(Frame(0, b"", 100.0), 0.110, False)
    assert spacing.wait_s(Frame(1, b"", 100.0), 0.121, True) == 0.0
    assert spacing.wait_s(Frame(2, b"", 100.0), 0.200, False) == 0.0, "it is late enough already"


def test_slow_source_holds_nothing_back_for_long() -> None:
    spacing = Spacing(0.01)
    spacing.wait_s(Frame(0, b"", 100.0), 0.110, False)
    assert spacing.wait_s(Frame(1, b"", 100.0), 0.110, False) <= 0.05
