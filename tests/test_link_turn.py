"""STUN and TURN against a real coturn, and what is said when they do not answer."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from link_pair import HELLO, Seen, eventually, packet

from vidcodec.errors import PeerError, UsageError
from vidcodec.link import IceOptions, IceServer, LinkOptions, ReceiverServer, connect


@pytest.fixture
def coturn(tmp_path: Path) -> Iterator[str]:
    """Address of a TURN server on loopback, user `u`, password `p`."""
    if not shutil.which("turnserver"):
        pytest.skip("no coturn on this machine (Debian package coturn)")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = ["turnserver", "-n", "--listening-ip=127.0.0.1", "--relay-ip=127.0.0.1", f"--listening-port={port}"]
    command += ["--lt-cred-mech", "--user=u:p", "--realm=test", "--allow-loopback-peers", "--no-cli", "--no-tls"]
    command += ["--no-dtls", f"--pidfile={tmp_path / 'pid'}", f"--userdb={tmp_path / 'db'}", "--log-file=stdout"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        time.sleep(0.5)
        assert server.poll() is None, "coturn does not start"
        yield f"127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


def relayed(address: str, password: str = "p") -> LinkOptions:
    server = IceServer(f"turn:{address}?transport=udp", "u", password)
    return LinkOptions(ice=IceOptions((server,), relay_only=True))


def test_session_runs_over_a_relay_only(coturn: str) -> None:
    seen = Seen()
    options = relayed(coturn)
    with (
        ReceiverServer("127.0.0.1:0", HELLO, seen.receiver_handlers(), options=options) as server,
        connect(server.url, HELLO, options) as link,
    ):
        local, remote = [
            description.sdp for description in (link._session._pc.localDescription, link._session._pc.remoteDescription)
        ]
        for sdp in (local, remote):
            candidates = [line for line in sdp.splitlines() if line.startswith("a=candidate:")]
            assert candidates and all(" typ relay" in line for line in candidates)
        for number in range(20):
            link.send_frame(number, packet(number))
            time.sleep(0.01)
        assert eventually(lambda: len(seen.frames) == 20)


def test_wrong_turn_password_is_said_in_time(coturn: str) -> None:
    with ReceiverServer("127.0.0.1:0", HELLO) as server:
        started = time.monotonic()
        with pytest.raises(PeerError, match="TURN server and its credentials"):
            connect(server.url, HELLO, relayed(coturn, "wrong"))
        assert time.monotonic() - started < 4.0


def test_dead_stun_server_costs_its_two_seconds_and_no_more() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        url = f"stun:127.0.0.1:{silent.getsockname()[1]}"
        options = LinkOptions(ice=IceOptions((IceServer(url),), gathering_timeout_s=0.5))
        with ReceiverServer("127.0.0.1:0", HELLO) as server:
            started = time.monotonic()
            with connect(server.url, HELLO, options) as link:
                assert 0.4 < time.monotonic() - started < 3.0
                assert link.closed is None


@pytest.mark.parametrize("url", ["http://x", "stun:", "turn:x:y"])
def test_bad_server_url_is_a_usage_error(url: str) -> None:
    with ReceiverServer("127.0.0.1:0", HELLO) as server, pytest.raises(UsageError, match="STUN or TURN"):
        connect(server.url, HELLO, LinkOptions(ice=IceOptions((IceServer(url),))))


def test_relay_only_without_a_turn_server_is_a_usage_error() -> None:
    with ReceiverServer("127.0.0.1:0", HELLO) as server, pytest.raises(UsageError, match="TURN server"):
        connect(server.url, HELLO, LinkOptions(ice=IceOptions(relay_only=True)))
