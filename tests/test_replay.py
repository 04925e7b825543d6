"""Recorded streams with losses: what was shown comes out again, and what was lost stands still."""

import numpy as np
import pytest
from delta_codec import DeltaCodec, pictures

from vidcodec.codec import State
from vidcodec.errors import DamagedPacket, MissingReference
from vidcodec.packet import NUMBERS, Header, Packet
from vidcodec.replay import Replay

CODEC = DeltaCodec()
ORIGINALS = pictures(30)


def coded(references: dict[int, int | None]) -> list[Packet]:
    """The originals as packets, each predicted from the one before, but for those in `references`."""
    states: list[State] = []
    packets = []
    for number, picture in enumerate(ORIGINALS):
        reference = references.get(number, number - 1 if number else None)
        state = CODEC.blank_state() if reference is None else states[reference]
        packet, after = CODEC.encode(picture, state, 1, number)
        packets.append(packet)
        states.append(after)
    return packets


def test_frames_predicted_from_an_older_one_after_a_loss_come_out_right() -> None:
    packets = coded({12: 8})
    replay = Replay(CODEC)
    for number, packet in enumerate(packets):
        if number in (9, 10, 11):
            if number > 9:
                with pytest.raises(MissingReference, match="was lost"):
                    replay.decode(packet)
            assert np.array_equal(replay.picture, ORIGINALS[8]), "the last good picture stands"
        else:
            assert np.array_equal(replay.decode(packet), ORIGINALS[number])


def test_frame_that_stands_alone_begins_anew() -> None:
    packets = coded({15: None})
    replay = Replay(CODEC)
    assert np.array_equal(replay.decode(packets[15]), ORIGINALS[15])
    assert np.array_equal(replay.decode(packets[16]), ORIGINALS[16])


def test_numbers_that_come_round_again_mean_the_newest_frame_of_that_number() -> None:
    replay, state = Replay(CODEC), CODEC.blank_state()
    for count in range(NUMBERS + 5):
        packet, state = CODEC.encode(ORIGINALS[count % 30], state, 1)
        assert packet.header.number == count % NUMBERS
        assert np.array_equal(replay.decode(packet), ORIGINALS[count % 30])
    assert len(replay._states) <= 63


def test_damaged_packet_changes_nothing() -> None:
    packets = coded({})
    replay = Replay(CODEC)
    replay.decode(packets[0])
    with pytest.raises(DamagedPacket):
        replay.decode(Packet(Header(1, 1, 1), b"nonsense"))
    assert np.array_equal(replay.picture, ORIGINALS[0])
    assert np.array_equal(replay.decode(packets[1]), ORIGINALS[1])
