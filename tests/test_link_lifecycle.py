"""Peers that die, freeze and come back."""

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from link_pair import HELLO, Seen, eventually, packet

from vidcodec.errors import PeerError
from vidcodec.link import (
    Backoff,
    LinkOptions,
    PeerRefused,
    ReceiverServer,
    connect,
    parse_impairment,
    reconnect,
)

TESTS = Path(__file__).parent


@contextmanager
def process(program: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Another Python process that can import the link and the test helpers; killed at the end."""
    environment = os.environ | {"PYTHONPATH": f"{TESTS.parent}:{TESTS}"}
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    try:
        yield child
    finally:
        child.kill()
        child.wait()


RECEIVER = """
    import time
    from link_pair import HELLO, Seen
    from vidcodec.link import ReceiverServer
    server = ReceiverServer("127.0.0.1:0", HELLO, Seen().receiver_handlers())
    print(server.url, flush=True)
    time.sleep(60)
"""
SENDER = """
    import sys, time
    from link_pair import HELLO, packet
    from vidcodec.link import connect
    link = connect(sys.argv[1], HELLO)
    print("connected", flush=True)
    for number in range(2000):
        link.send_frame(number, packet(number))
        time.sleep(0.03)
"""


@pytest.mark.parametrize("kind", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "frozen"])
def test_dead_receiver_is_noticed_within_four_seconds(kind: signal.Signals) -> None:
    seen = Seen()
    with process(RECEIVER) as receiver:
        assert receiver.stdout is not None
        link = connect(receiver.stdout.readline().strip(), HELLO, handlers=seen.sender_handlers())
        for number in range(10):
            link.send_frame(number, packet(number))
            time.sleep(0.03)
        receiver.send_signal(kind)
        died = time.monotonic()
        number = 10
        while link.closed is None and time.monotonic() - died < 6.0:
            link.send_frame(number, packet(number))
            number += 1
            time.sleep(0.03)
        assert 0.0 < time.monotonic() - died < 4.0
        assert link.closed is not None and link.closed.reason == "lost"
        assert "silent" in str(link.closed.error) and link.closed.peer_stats is None
        assert not link.send_frame(number, packet(number))
        assert link.close({"sent": number}) is None
        assert len(seen.sender_closed) == 1


def test_killed_sender_is_noticed_within_four_seconds_and_the_next_one_is_taken() -> None:
    seen = Seen()
    with ReceiverServer("127.0.0.1:0", HELLO, seen.receiver_handlers()) as server:
        with process(SENDER, server.url) as sender:
            assert sender.stdout is not None and sender.stdout.readline() == "connected\n"
            assert eventually(lambda: len(seen.frames) > 5)
            sender.kill()
            died = time.monotonic()
            assert eventually(lambda: seen.receiver_closed, 6.0)
        assert time.monotonic() - died < 4.0
        assert seen.receiver_closed[0].reason == "lost" and "silent" in str(seen.receiver_closed[0].error)
        with connect(server.url, HELLO) as link:
            link.send_frame(0, packet(0))
            assert eventually(lambda: seen.links[-1].stats["framesReceived"] == 1)


def test_sender_that_comes_back_early_takes_the_place_of_its_dead_session() -> None:
    seen = Seen()
    with ReceiverServer("127.0.0.1:0", HELLO, seen.receiver_handlers()) as server:
        with process(SENDER, server.url) as sender:
            assert sender.stdout is not None and sender.stdout.readline() == "connected\n"
        time.sleep(1.7)
        with connect(server.url, HELLO):
            assert len(seen.links) == 2
            assert "took its place" in str(seen.receiver_closed[0].error)


def test_ends_hear_each_other_while_a_message_takes_longer_than_a_peer_may_be_silent() -> None:
    seen = Seen()
    narrow = LinkOptions(dead_after_ms=1200.0, impair=parse_impairment("rate=24,queue=9000"))
    told = {"text": "x" * 9000}  # 3.4 s, of which nothing is a message before the last byte
    with (
        ReceiverServer("127.0.0.1:0", HELLO, seen.receiver_handlers(), options=narrow) as server,
        connect(server.url, HELLO, replace(narrow, impair=None), seen.sender_handlers()) as link,
    ):
        assert eventually(lambda: seen.links)
        link.send_stats(told)
        assert eventually(lambda: seen.stats, 8.0) == [told]
        assert link.closed is None and not seen.receiver_closed


def test_idle_session_stays_alive() -> None:
    seen = Seen()
    options = LinkOptions(dead_after_ms=1700.0)
    with (
        ReceiverServer("127.0.0.1:0", HELLO, seen.receiver_handlers(), options=options) as server,
        connect(server.url, HELLO, options) as link,
    ):
        assert link.wait_closed(2.5) is None
        link.send_frame(0, packet(0))
        assert eventually(lambda: seen.frames)


def test_server_that_closes_ends_the_session_at_the_sender_at_once() -> None:
    seen = Seen()
    server = ReceiverServer("127.0.0.1:0", HELLO, seen.receiver_handlers())
    with connect(server.url, HELLO, handlers=seen.sender_handlers()) as link:
        server.close()
        closed = link.wait_closed(2.0)
        assert closed is not None and closed.reason == "lost" and seen.sender_closed == [closed]
        server.close()


def test_back_off_doubles_up_to_its_limit() -> None:
    backoff = Backoff(0.5, 8.0)
    assert [backoff.next_s() for _ in range(7)] == [0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0]


def test_receiver_that_is_killed_and_started_again_is_found_within_three_seconds() -> None:
    first, again = Seen(), Seen()
    server = ReceiverServer("127.0.0.1:0", HELLO, first.receiver_handlers(), token="same")
    link = connect(server.url, HELLO)
    url, listen = server.url, f"127.0.0.1:{server.port}"
    link.send_frame(0, packet(0))
    assert eventually(lambda: first.frames)
    server.close()
    assert link.wait_closed(4.0) is not None
    link.close()
    listening: list[float] = []
    servers: list[ReceiverServer] = []

    def start_again() -> None:
        listening.append(time.monotonic())
        servers.append(ReceiverServer(listen, HELLO, again.receiver_handlers(), token="same"))

    timer = threading.Timer(1.2, start_again)
    timer.start()
    failures: list[PeerError] = []
    with reconnect(url, replace(HELLO, first=5000), on_failure=failures.append) as back:
        assert time.monotonic() - listening[0] < 3.0
        assert failures and all("nobody listens" in str(error) for error in failures)
        back.send_frame(5000, packet(5000))
        assert eventually(lambda: [frame.number for frame in again.frames] == [5000])
        assert eventually(lambda: back.stats["framesAcknowledged"] == 1)
    servers[0].close()


def test_reconnecting_stops_at_its_time_on_demand_and_at_once_when_refused() -> None:
    with ReceiverServer("127.0.0.1:0", HELLO) as server:
        failures: list[PeerError] = []
        with pytest.raises(PeerRefused, match="token"):
            reconnect(server.url + "x", HELLO, on_failure=failures.append)
        with pytest.raises(PeerRefused, match="weights"):
            reconnect(server.url, replace(HELLO, weights_sha256="0" * 64), on_failure=failures.append)
        assert failures == []
    started = time.monotonic()
    with pytest.raises(PeerError, match="nobody listens"):
        reconnect(server.url, HELLO, timeout_s=0.7)
    assert time.monotonic() - started < 2.0
    stop = threading.Event()
    stop.set()
    with pytest.raises(PeerError, match="nobody listens"):
        reconnect(server.url, HELLO, stop=stop)
    assert time.monotonic() - started < 4.0


def test_receiver_that_hangs_holds_an_attempt_to_reconnect_for_four_seconds_and_no_longer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as hanging:
        started = time.monotonic()
        with pytest.raises(PeerError, match="no answer"):
            reconnect(f"http://127.0.0.1:{hanging.getsockname()[1]}/whip#token=x", HELLO, timeout_s=1.0)
        assert time.monotonic() - started < 6.0


def test_blackout_ends_the_session_and_the_call_resumes_within_three_seconds_of_its_end(tmp_path: Path) -> None:
    seen = Seen()
    trace = tmp_path / "trace.json"
    trace.write_text(json.dumps([{"at": 0, "delay": 5}, {"at": 1, "loss": 100}, {"at": 6, "loss": 0}]))
    began = time.monotonic()
    options = LinkOptions(impair=parse_impairment(str(trace)), impair_since_ms=began * 1000.0, bye_timeout_s=0.3)
    with ReceiverServer("127.0.0.1:0", HELLO, seen.receiver_handlers()) as server:
        link = connect(server.url, HELLO, options)
        number = 0
        while link.closed is None and time.monotonic() - began < 8.0:
            number += link.send_frame(number, packet(number))
            time.sleep(0.03)
        assert 3.9 < time.monotonic() - began < 5.5
        link.close()
        with reconnect(server.url, replace(HELLO, first=number), options) as back:
            assert 6.0 < time.monotonic() - began < 9.0
            back.send_frame(number, packet(number))
            assert eventually(lambda: seen.frames[-1].number == number)
