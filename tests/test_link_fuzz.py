"""Mutated input of every kind the link reads. A short form; VIDCODEC_FUZZ=20 does twenty times as much."""

import asyncio
import os
import random
import socket
import time

import pytest
from link_pair import HELLO, Seen, eventually, packet

from vidcodec.errors import DamagedPacket, PeerError
from vidcodec.link import LinkOptions, ReceiverServer, connect
from vidcodec.link.acks import AckQueue
from vidcodec.link.counters import Counters
from vidcodec.link.estimator import BandwidthEstimator
from vidcodec.link.flow import Flow
from vidcodec.link.framing import (
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
from vidcodec.link.ice import IceOptions, make_peer_connection
from vidcodec.link.limits import AttemptLimit
from vidcodec.link.messages import Bye, Hello, InvalidMessage, Pong, Refresh, Stats, from_json, to_json
from vidcodec.link.negotiation import Negotiation
from vidcodec.link.pacing import ClockOffset, Window
from vidcodec.packet import Packet

TIMES = int(os.environ.get("VIDCODEC_FUZZ", "1"))


def mutate(data: bytes, generator: random.Random) -> bytes:
    """Flip, cut, insert, repeat."""
    changed = bytearray(data)
    for _ in range(generator.randint(1, 5)):
        place = generator.randrange(len(changed) + 1)
        kind = generator.randrange(5)
        if kind == 0 and changed:
            changed[place % len(changed)] ^= 1 << generator.randrange(8)
        elif kind == 1:
            del changed[place : place + generator.randint(1, 20)]
        elif kind == 2:
            changed[place:place] = generator.randbytes(generator.randint(1, 20))
        elif kind == 3:
            changed[place:place] = changed[: generator.randint(0, 40)]
        elif changed:
            changed[place % len(changed)] = generator.choice((0, 1, 0x3F, 0x40, 0x7F, 0x80, 0xFF))
    return bytes(changed)


def test_mutated_frames_messages_end_in_packets_or_damaged_packet_in_bounded_memory() -> None:
    generator = random.Random(11)
    seeds = [join_packets([packet(n, 30 + n) for n in range(count)]) for count in (1, 2, 5)]
    seeds += split_message(join_packets([packet(1, 5000)]), 3)
    seeds += [join_acks([AckEntry(n, FrameStatus(n % 4), 100.0 - n) for n in range(count)], 120.0) for count in (1, 9)]
    reassembler, queue, counters = Reassembler(), AckQueue(), Counters()
    flow = Flow(Window(1e5), BandwidthEstimator(1e5), counters)
    damaged = 0
    for round_ in range(5_000 * TIMES):
        now_ms = 3.0 * round_
        if round_ % 50 == 0:
            flow.take([(round_ // 50, packet(round_ // 50))], [], now_ms)
        try:
            content = parse_message(mutate(generator.choice(seeds), generator))
            if isinstance(content, Acks):
                flow.acknowledge(content, now_ms, 0.0)
            elif isinstance(content, Fragment):
                whole = reassembler.add(content, now_ms)
                content = parse_message(whole) if whole is not None else []
            if isinstance(content, list):
                for data in content:
                    queue.arrived(Packet.from_bytes(data).header.number, now_ms)
        except DamagedPacket:
            damaged += 1
        flow.lost(now_ms)
        assert len(reassembler._partial) <= 4 and len(queue.take(now_ms)) <= 32
    assert 0 < damaged < 5_000 * TIMES
    assert len(flow._sent) <= 512 and flow.estimator is not None
    assert 20.0 <= flow.estimator.rate_kbps <= 1e5


def test_mutated_control_messages_end_in_a_message_or_invalid_message() -> None:
    generator = random.Random(12)
    seeds = [HELLO, Pong(1.0, 2.0, 3.0), Refresh(5, "x"), Stats({"a": [1, {"b": None}]}), Bye({"c": 1.5}, "why")]
    clock = ClockOffset()
    valid = 0
    for _ in range(2_000 * TIMES):
        try:
            message = from_json(mutate(to_json(generator.choice(seeds)).encode(), generator))
        except InvalidMessage as error:
            assert len(str(error)) < 300 and str(error).isprintable()
            continue
        valid += 1
        assert from_json(to_json(message)) == message
        if isinstance(message, Pong):
            clock.add(message.sent_ms, message.received_ms, message.answered_ms, 10.0)
        assert not isinstance(message, Hello) or message.model_id.isprintable()
    assert 0 < valid < 2_000 * TIMES


async def test_mutated_session_descriptions_end_in_an_answer_or_peer_error() -> None:
    generator = random.Random(13)
    options = LinkOptions(ice=IceOptions())
    offerer = make_peer_connection(options.ice)
    offerer.createDataChannel("frames", negotiated=True, id=0)
    offer = (await Negotiation(offerer, options).offer(loopback=True)).encode()
    await offerer.close()
    outcomes = {"answer": 0, "error": 0}
    for _ in range(40 * TIMES):
        pc = make_peer_connection(options.ice)
        pc.createDataChannel("frames", negotiated=True, id=0)
        try:
            mutated = mutate(offer, generator).decode("utf-8", "replace")
            await asyncio.wait_for(Negotiation(pc, options).answer(mutated, loopback=True), 3.0)
            outcomes["answer"] += 1
        except PeerError as error:
            outcomes["error"] += 1
            assert "\n" not in str(error)
        finally:
            await pc.close()
    assert all(outcomes.values())


def test_garbage_at_the_http_port_leaves_the_server_working_and_the_log_empty(
    caplog: pytest.LogCaptureFixture,
) -> None:
    generator = random.Random(14)
    seen = Seen()
    with ReceiverServer("127.0.0.1:0", HELLO, seen.receiver_handlers()) as server:
        server._limit = AttemptLimit(tries=1_000_000)  # a mutated token is a wrong one
        head = f"POST /whip HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.token}\r\n".encode()
        head += b"Content-Type: application/sdp\r\n"
        seeds = [head + b"Content-Length: 5\r\n\r\nv=0\r\n", head + b"Transfer-Encoding: chunked\r\n\r\n"]
        started = time.monotonic()
        for _ in range(50 * TIMES):
            with socket.create_connection(("127.0.0.1", server.port), 2.0) as client:
                client.sendall(mutate(generator.choice(seeds), generator))
        assert time.monotonic() - started < 10.0 * TIMES
        with connect(server.url, HELLO) as link:
            link.send_frame(0, packet(0))
            assert eventually(lambda: seen.frames)
    assert caplog.records == []
