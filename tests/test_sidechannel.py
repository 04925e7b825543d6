"""Originals beside the link: exact pixels over a local socket, bounded, and closed to strangers."""

import threading
import time
from collections.abc import Iterator
from multiprocessing.connection import Listener

import numpy as np
import pytest

from vidcodec.errors import PeerError
from vidcodec.sidechannel import ENVIRONMENT, KEPT, SidePictures, SideReceiver, SideSender

RNG = np.random.default_rng(0)
PICTURES = [RNG.integers(0, 256, (192, 192, 3), np.uint8) for _ in range(3)]


@pytest.fixture
def ends() -> Iterator[tuple[SideSender, SideReceiver]]:
    sender = SideSender()
    receiver = SideReceiver(sender.environment[ENVIRONMENT])
    sender._thread.join(5)
    yield sender, receiver
    receiver.close()
    sender.close()


def test_pictures_arrive_exactly_and_by_number(ends: tuple[SideSender, SideReceiver]) -> None:
    sender, receiver = ends
    for number in (7, 8):
        sender.send_original(number, PICTURES[number - 7])
        sender.send_baseline(number, PICTURES[2], 123 + number, "vp8 1/2")
    for number in (8, 7):
        got = receiver.take(number, 5.0)
        assert got.complete
        assert got.original is not None
        assert got.baseline is not None
        assert np.array_equal(got.original, PICTURES[number - 7])
        assert np.array_equal(got.baseline, PICTURES[2])
        assert (got.baseline_bytes, got.label) == (123 + number, "vp8 1/2")
    assert receiver.take(7, 0.0) == SidePictures(), "taken once"


def test_frame_without_a_baseline_is_complete_too(ends: tuple[SideSender, SideReceiver]) -> None:
    sender, receiver = ends
    sender.send_original(1, PICTURES[0])
    sender.send_baseline(1, None, 0, "none")
    got = receiver.take(1, 5.0)
    assert got.complete
    assert got.baseline is None


def test_waiting_ends_in_time_or_with_the_last_picture(ends: tuple[SideSender, SideReceiver]) -> None:
    sender, receiver = ends
    began_s = time.monotonic()
    assert receiver.take(1, 0.1) == SidePictures()
    assert 0.09 < time.monotonic() - began_s < 2
    timer = threading.Timer(0.1, sender.send_baseline, args=(2, PICTURES[0], 5, "h264"))
    timer.start()
    assert receiver.take(2, 5.0).label == "h264"
    assert receiver.peek(3) == SidePictures()


def test_only_the_newest_frames_are_kept(ends: tuple[SideSender, SideReceiver]) -> None:
    sender, receiver = ends
    for number in range(KEPT + 20):
        sender.send_original(number, PICTURES[0])
    sender.send_baseline(KEPT + 20, None, 0, "")
    assert receiver.take(KEPT + 20, 10.0).complete
    assert len(receiver._pictures) <= KEPT
    assert receiver.peek(0).original is None


def test_stranger_without_the_key_is_not_let_in() -> None:
    sender = SideSender()
    key, _, path = sender.environment[ENVIRONMENT].partition("@")
    with pytest.raises(PeerError, match="local channel"):
        SideReceiver("00" * 32 + "@" + path)
    with pytest.raises(PeerError):
        SideReceiver("nonsense")
    assert bytes.fromhex(key) != bytes(32)
    sender.close()


def test_messages_of_another_form_end_the_channel_and_nothing_else() -> None:
    with Listener(authkey=b"k" * 32) as listener:
        accepted = []
        thread = threading.Thread(target=lambda: accepted.append(listener.accept()))
        thread.start()
        receiver = SideReceiver((b"k" * 32).hex() + f"@{listener.address}")
        thread.join(5)
        accepted[0].send_bytes(b"\x09" * 40)
        receiver._thread.join(5)
        assert not receiver._thread.is_alive()
        assert receiver.closed
        assert receiver.take(1, 5.0) == SidePictures()


def test_sender_goes_on_when_the_receiver_has_gone() -> None:
    sender = SideSender()
    receiver = SideReceiver(sender.environment[ENVIRONMENT])
    sender._thread.join(5)
    receiver.close()
    for number in range(50):
        sender.send_original(number, PICTURES[0])
    assert sender._connection is None
    sender.close()


def test_sending_before_anybody_is_there_does_nothing() -> None:
    sender = SideSender()
    sender.send_original(0, PICTURES[0])
    sender.close()
    assert sender._connection is None
