"""Peers that die, freeze and come back."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from link_pair import HELLO, Seen, eventually, packet

from vidcodec.link import ReceiverServer, connect

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


def test_idle_session_stays_alive() -> None:
    seen = Seen()
    with (
        ReceiverServer("127.0.0.1:0", HELLO, seen.receiver_handlers()) as server,
        connect(server.url, HELLO) as link,
    ):
        assert link.wait_closed(4.0) is None
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
