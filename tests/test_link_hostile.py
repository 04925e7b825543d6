"""A peer that has the token and means harm: bounded memory and time, one log line each, the good traffic goes on."""

import logging
import random
import time
from collections.abc import Callable
from typing import Any

import pytest
from link_pair import HELLO, Seen, eventually, packet, pair

from vidcodec.errors import PeerError
from vidcodec.link import IceOptions, LinkOptions, ReceiverServer, connect
from vidcodec.link.framing import AckEntry, FrameStatus, join_acks, join_packets
from vidcodec.link.messages import Bye, Hello, Ping, Stats, to_json
from vidcodec.link.sender import SenderSession


def raw(link: Any, channel: str, data: bytes | str) -> None:
    """Send bytes past everything the link checks."""
    link._loop.call(getattr(link._session._channels, channel).send, data)


def settle(link: Any, other: Any, sent: int) -> bool:
    """Wait until the peer has counted this many bad messages."""
    return bool(eventually(lambda: other.stats["invalidMessagesReceived"] >= sent))


def test_random_bytes_on_both_channels_both_ways_are_counted_and_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    generator = random.Random(3)
    with pair() as (link, receiver, seen, _server):
        for end, other in ((link, receiver), (receiver, link)):
            for _ in range(80):
                raw(end, "control", generator.randbytes(generator.randint(1, 300)))
            for _ in range(80):
                raw(end, "frames", b"\xc0" + generator.randbytes(generator.randint(0, 1100)))
            raw(end, "frames", "text")
            assert settle(end, other, 100)
        assert link.send_frame(0, packet(0))
        assert eventually(lambda: [frame.number for frame in seen.frames] == [0])
        assert eventually(lambda: seen.acks)
        lines = [record.getMessage() for record in caplog.records]
        assert len(lines) == 4, lines  # a line for each channel at each end
        assert all("\n" not in line and len(line) < 250 for line in lines)


def test_random_frames_messages_never_disturb_the_frames_between_them() -> None:
    generator = random.Random(4)
    with pair() as (link, _, seen, _server):
        for number in range(60):
            for _ in range(5):
                raw(link, "frames", generator.randbytes(generator.choice((1, 4, 9, 200, 1160))))
            eventually(lambda: link.can_send)
            assert link.send_frame(number, packet(number))
            time.sleep(0.002)
        good = {(number, packet(number)) for number in range(60)}
        assert eventually(lambda: good & {(frame.number, frame.packet) for frame in seen.frames} == good)


def test_acknowledgements_of_what_was_never_sent_change_nothing() -> None:
    with pair() as (link, receiver, seen, _server):
        link.send_frame(0, packet(0))
        assert eventually(lambda: seen.acks)
        entries = [AckEntry(number, FrameStatus.OK, 0.0) for number in range(500, 560)]
        for _ in range(50):
            raw(receiver, "frames", join_acks(entries, 0.0))
        assert eventually(lambda: link.stats["acksUnknown"] == 3000)
        assert {ack.number for ack in seen.acks} == {0}
        assert link.stats["framesAcknowledged"] == 1


def test_receiver_that_never_acknowledges_gets_the_window_and_no_more() -> None:
    with pair(LinkOptions(rate_kbps=400.0, horizon_ms=100.0)) as (link, receiver, seen, _server):
        receiver._session._schedule_acks = lambda: None  # type: ignore[method-assign]
        started = time.monotonic()
        taken = 0
        while time.monotonic() - started < 1.5:
            taken += link.send_frame(taken, packet(taken, 1000))
            time.sleep(0.001)
        # 60 ms of the rate are 3,000 bytes; they come back by time-out at most four times a second.
        assert 4 <= taken <= 45
        assert eventually(lambda: len(seen.lost) == taken and link.can_send)


def test_replayed_and_reordered_messages_give_each_frame_once() -> None:
    with pair() as (link, receiver, seen, _server):
        messages = [join_packets([packet(number)]) for number in range(40)] * 3
        random.Random(1).shuffle(messages)
        for message in messages:
            raw(link, "frames", message)
        assert eventually(lambda: receiver.stats["framesDuplicated"] == 80)
        assert sorted(frame.number for frame in seen.frames) == list(range(40))


def test_flood_of_control_messages_is_dropped_beyond_what_a_session_needs() -> None:
    with pair() as (link, receiver, seen, _server):
        for _ in range(1000):
            raw(link, "control", to_json(Stats({})))
        assert settle(link, receiver, 500)
        assert len(seen.stats) < 500
        link.send_frame(0, packet(0))
        assert eventually(lambda: seen.frames)


@pytest.mark.parametrize(
    "message", [to_json(HELLO), '{"type":"refresh","have":null,"reason":""}'], ids=["second hello", "wrong role"]
)
def test_message_out_of_place_is_dropped(message: str) -> None:
    with pair() as (link, receiver, seen, _server):
        raw(link, "control", message)
        assert settle(link, receiver, 1)
        assert len(seen.links) == 1 and receiver.closed is None


def test_frames_from_the_receiver_and_acknowledgements_from_the_sender_are_dropped() -> None:
    with pair() as (link, receiver, seen, _server):
        raw(receiver, "frames", join_packets([packet(0)]))
        raw(link, "frames", join_acks([AckEntry(0, FrameStatus.OK, 0.0)], 0.0))
        assert settle(receiver, link, 1) and settle(link, receiver, 1)
        assert seen.frames == [] and seen.acks == []


def test_channel_outside_the_protocol_ends_the_session() -> None:
    with pair() as (link, _, seen, _server):
        link._loop.call(link._session._pc.createDataChannel, "shell")
        assert eventually(lambda: seen.receiver_closed)
        assert "not in the protocol" in str(seen.receiver_closed[0].error)


def test_frames_before_hello_are_dropped_and_a_silent_sender_is_sent_away(monkeypatch: pytest.MonkeyPatch) -> None:
    def greet(self: SenderSession) -> None:
        for number in range(10):
            self._channels.frames.send(join_packets([packet(number)]))
        self._channels.control.send(to_json(Stats({"early": 1})))

    monkeypatch.setattr(SenderSession, "_opened_channels", greet)
    seen = Seen()
    options = LinkOptions(ice=IceOptions(connect_timeout_s=0.6))
    with ReceiverServer("127.0.0.1:0", HELLO, seen.receiver_handlers(), options=options) as server:
        with pytest.raises(PeerError, match=r"connection|peer|closed"):
            connect(server.url, HELLO, options)
        assert eventually(lambda: server._sessions == {})
        assert seen.frames == [] and seen.stats == [] and seen.links == []


@pytest.mark.parametrize(
    "bye", [lambda: to_json(Bye({"x": 1})), lambda: to_json(Ping(1.0))], ids=["goodbye twice", "pings"]
)
def test_repeated_messages_have_no_further_effect(bye: Callable[[], str]) -> None:
    said: list[Any] = []
    with pair(receiver={"on_bye": lambda link, stats: said.append(stats)}) as (link, receiver, seen, _server):
        for _ in range(20):
            raw(link, "control", bye())
        eventually(lambda: False, 0.1)
        assert len(said) <= 1
        receiver.close({"final": 1})
        assert eventually(lambda: seen.receiver_closed)


def test_hello_with_terminal_escapes_is_no_hello() -> None:
    with ReceiverServer("127.0.0.1:0", HELLO) as server, pytest.raises(PeerError, match="no connection"):
        connect(server.url, Hello(1, "\x1b[2J", "ab" * 32), LinkOptions(ice=IceOptions(connect_timeout_s=0.5)))
