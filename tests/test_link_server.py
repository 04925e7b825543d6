"""The WHIP endpoint: token, limits, one sender at a time, what each refusal says. And the URL."""

import asyncio
import gc
import os
import signal
import socket
import threading
import time
import warnings
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest
from link_pair import HELLO, Seen, eventually, packet, pair

from vidcodec.errors import InputError, PeerError, UsageError, VidcodecError
from vidcodec.link import Hello, Impairment, LinkOptions, ReceiverServer, connect, parse_impairment
from vidcodec.link.ice import reachable_address
from vidcodec.link.limits import AttemptLimit, ConnectionGuard
from vidcodec.link.server import load_tls
from vidcodec.link.whip import Target, parse_listen, parse_url


def refusal(url: str, hello: Hello = HELLO, options: LinkOptions | None = None) -> str:
    """The one line that `connect` ends with."""
    started = time.monotonic()
    with pytest.raises(PeerError) as caught:
        connect(url, hello, options)
    assert time.monotonic() - started < 5.0
    assert caught.value.exit_status == 4 and "\n" not in str(caught.value)
    return str(caught.value)


async def request(server: ReceiverServer, method: str = "POST", path: str = "/whip", **rest: object) -> tuple[int, str]:
    headers = {"Authorization": f"Bearer {server.token}", "Content-Type": "application/sdp"}
    headers |= rest.pop("headers", {})  # type: ignore[arg-type]
    url = f"http://127.0.0.1:{server.port}{path}"
    async with aiohttp.ClientSession() as http, http.request(method, url, headers=headers, **rest) as response:  # type: ignore[arg-type]
        return response.status, await response.text()


def test_wrong_or_missing_token_is_refused_with_status_4() -> None:
    with ReceiverServer("127.0.0.1:0", HELLO) as server:
        assert "token refused" in refusal(server.url + "x")
        assert "token refused" in refusal(server.url.partition("#")[0])


def test_nobody_listening_is_said_at_once() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    assert f"nobody listens at http://127.0.0.1:{port}/whip" in refusal(f"http://127.0.0.1:{port}/whip#token=a")


def test_unknown_host_and_unreachable_network_are_told_apart() -> None:
    assert "'no-such-host.invalid' is not known" in refusal("http://no-such-host.invalid:1/whip#token=a")
    assert "cannot reach" in refusal("http://[2001:db8::1]:9/whip#token=a")


@pytest.mark.parametrize("impair", [None, parse_impairment("delay=1")], ids=["straight", "relay"])
@pytest.mark.parametrize("host", ["[::1]", reachable_address()], ids=["ipv6", "own address"])
def test_session_over_other_addresses_than_127_0_0_1(host: str, impair: Impairment | None) -> None:
    seen = Seen()
    try:
        server = ReceiverServer(f"{host}:0", HELLO, seen.receiver_handlers())
    except UsageError:
        pytest.skip(f"this machine cannot listen on {host}")
    with server, connect(server.url, HELLO, LinkOptions(impair=impair)) as link:
        link.send_frame(0, packet(0))
        assert eventually(lambda: seen.frames)


def test_interrupt_while_connecting_leaves_nothing_behind() -> None:
    before = set(threading.enumerate())
    # A shell starts background commands with the interrupt ignored, and Python then leaves it so.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt):
            connect(f"http://127.0.0.1:{silent.getsockname()[1]}/whip#token=a", HELLO)
    assert eventually(lambda: set(threading.enumerate()) <= before)


def test_interrupted_sender_does_not_keep_the_receiver_from_the_next_one() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with ReceiverServer("127.0.0.1:0", HELLO) as server:
        connect(server.url, HELLO).close()  # what is imported on the way takes no time below
        threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt):
            connect(server.url, HELLO, LinkOptions(impair=parse_impairment("delay=400")))
        connect(server.url, HELLO).close()


def test_something_else_listening_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        other.settimeout(0.0)
        url = f"http://127.0.0.1:{other.getsockname()[1]}/whip#token=a"

        async def greet() -> None:
            loop = asyncio.get_running_loop()
            connected = loop.run_in_executor(None, refusal, url)
            while True:
                try:
                    peer, _ = other.accept()
                    break
                except BlockingIOError:
                    await asyncio.sleep(0.01)
            peer.sendall(b"SSH-2.0-OpenSSH\r\n")
            peer.close()
            assert "does not speak HTTP" in await connected

        asyncio.run(greet())


@pytest.mark.parametrize(
    ("other", "word"),
    [
        (replace(HELLO, weights_sha256="cd" * 32), "other weights"),
        (replace(HELLO, model_id="s"), "model"),
        (replace(HELLO, bitstream=9), "same version"),
        (replace(HELLO, protocol=9), "same version"),
    ],
)
def test_mismatch_is_the_same_clear_line_on_both_ends(other: Hello, word: str) -> None:
    seen = Seen()
    with ReceiverServer("127.0.0.1:0", HELLO, seen.receiver_handlers()) as server:
        line = refusal(server.url, other)
        assert word in line
        assert len(seen.refused) == 1 and str(seen.refused[0]) in line
        assert seen.links == [] and seen.receiver_closed == []
        with connect(server.url, HELLO) as link:  # and the next one is welcome
            assert link.closed is None


def test_policy_may_choose_our_hello_or_refuse() -> None:
    def policy(theirs: Hello) -> Hello:
        if theirs.fps > 30:
            raise PeerError("more than 30 frames a second is too much for this machine")
        return replace(theirs, options={"ready": True})

    with ReceiverServer("127.0.0.1:0", policy) as server:
        assert "too much for this machine" in refusal(server.url, replace(HELLO, fps=60.0))
        with connect(server.url, replace(HELLO, model_id="s")) as link:
            assert link.peer.options == {"ready": True}


def test_second_sender_is_refused_and_the_first_goes_on_and_the_next_is_taken_after_it() -> None:
    with pair() as (link, _, seen, server):
        assert "another sender is connected" in refusal(server.url)
        link.send_frame(0, packet(0))
        assert eventually(lambda: len(seen.frames) == 1)
        link.close()
        with connect(server.url, HELLO) as following:
            following.send_frame(0, packet(0))
            assert eventually(lambda: len(seen.frames) == 2)
            assert len(seen.links) == 2


def test_two_senders_at_once_where_the_receiver_allows_it() -> None:
    seen = Seen()
    with (
        ReceiverServer("127.0.0.1:0", HELLO, seen.receiver_handlers(), max_peers=2) as server,
        connect(server.url, HELLO) as one,
        connect(server.url, HELLO) as two,
    ):
        one.send_frame(0, packet(0))
        two.send_frame(0, packet(0))
        assert eventually(lambda: len(seen.frames) == 2)
        assert "another sender" in refusal(server.url)


async def test_requests_that_are_no_offer_get_their_status() -> None:
    with ReceiverServer("127.0.0.1:0", HELLO) as server:
        assert (await request(server, data=b"v=0\r\n" + b"x" * 20_000))[0] in (400, 413)
        assert (await request(server, data=b"hello"))[0] == 400
        assert (await request(server, data=b"\xff\xfe"))[0] == 400
        assert (await request(server, data=b"{}", headers={"Content-Type": "application/json"}))[0] == 415
        assert (await request(server, "GET"))[0] == 405
        assert (await request(server, "DELETE", "/whip/nothing"))[0] == 404
        assert (await request(server, path="/other"))[0] == 404
        audio = (
            "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=fingerprint:sha-256 00\r\n"
            "a=candidate:1 1 udp 1 127.0.0.1 9 typ host"
        )
        assert await request(server, data=audio.encode()) == (
            400,
            "peer's session description does not have exactly one section, for data channels\n",
        )
        broken = audio.replace("m=audio 9 UDP/TLS/RTP/SAVPF 0", "m=application x y z")
        assert (await request(server, data=broken.encode()))[0] == 400
        assert server._sessions == {} and server._starting == 0


async def test_slow_body_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vidcodec.link.door.BODY_TIMEOUT_S", 0.2)
    with ReceiverServer("127.0.0.1:0", HELLO) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        head = f"POST /whip HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.token}\r\n"
        writer.write(f"{head}Content-Type: application/sdp\r\nContent-Length: 1000\r\n\r\nv=0".encode())
        assert b"408" in await asyncio.wait_for(reader.readline(), 3.0)
        writer.close()


async def test_connections_that_never_send_a_request_are_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ConnectionGuard.__init__, "__defaults__", (0.5, 8, frozenset()))
    with ReceiverServer("127.0.0.1:0", HELLO) as server:
        idle = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(20)]
        for _, writer in idle:
            writer.write(b"POST /whip HTTP/1.1\r\n")
        ends = [asyncio.wait_for(reader.read(), 5.0) for reader, _ in idle]
        assert await asyncio.gather(*ends) == [b""] * 20
        for _, writer in idle:
            writer.close()
        assert (await request(server, data=b"v=0"))[0] == 400


async def test_guessing_tokens_is_cut_off_and_costs_nothing_else() -> None:
    with ReceiverServer("127.0.0.1:0", HELLO) as server:
        statuses = [(await request(server, headers={"Authorization": f"Bearer {n}"}))[0] for n in range(12)]
        assert statuses == [401] * 10 + [429] * 2
        assert (await request(server))[0] == 429  # the right one too, from this address, for a minute


def test_attempt_limit_forgets_after_its_window_and_remembers_a_bounded_number() -> None:
    limit = AttemptLimit(tries=2, window_ms=1000.0, addresses=3)
    limit.failed("a", 0.0)
    assert not limit.blocked("a", 1.0)
    limit.failed("a", 500.0)
    assert limit.blocked("a", 999.0) and not limit.blocked("b", 999.0)
    assert not limit.blocked("a", 1001.0)
    for number in range(100):
        limit.failed(str(number), 2000.0)
    assert len(limit._failures) == 3


def test_tls_works_with_a_trusted_certificate_and_is_refused_without(tmp_path: Path) -> None:
    cert, key = self_signed(tmp_path)
    seen = Seen()
    with ReceiverServer("127.0.0.1:0", HELLO, seen.receiver_handlers(), cert=cert, key=key) as server:
        assert server.url.startswith("https://127.0.0.1:")
        said = refusal(server.url)
        assert said.endswith("/whip (self-signed certificate): give its CA with --ca") and "no trust" in said
        with connect(server.url, HELLO, LinkOptions(ca_file=str(cert))) as link:
            link.send_frame(0, packet(0))
            assert eventually(lambda: seen.frames)
        for name, why in (("none.pem", "No such file or directory"), ("key.pem", "no certificate in PEM")):
            with pytest.raises(InputError, match=rf"^--ca .*{name}: {why}; give"):
                connect(server.url, HELLO, LinkOptions(ca_file=str(tmp_path / name)))
    with ReceiverServer("127.0.0.1:0", HELLO, seen.receiver_handlers()) as server:
        assert "does not speak https" in refusal(server.url.replace("http:", "https:"))


def test_key_of_another_certificate_is_said(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    cert, _ = self_signed(tmp_path)
    _, key = self_signed(tmp_path / "other")
    with pytest.raises(InputError, match=r"^--cert .*, --key .*: the key is not this certificate's$"):
        load_tls(cert, key)


def self_signed(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 and its key."""
    import datetime
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    cert = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "cert.pem", folder / "key.pem"
    paths[0].write_bytes(cert.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return paths


@pytest.mark.parametrize(
    ("listen", "address"),
    [
        ("127.0.0.1:8443", ("127.0.0.1", 8443)),
        ("0.0.0.0:0", ("0.0.0.0", 0)),
        (":9000", ("127.0.0.1", 9000)),
        ("localhost", ("localhost", 8443)),
        ("[::1]:9000", ("::1", 9000)),
    ],
)
def test_listen_address_is_read(listen: str, address: tuple[str, int]) -> None:
    assert parse_listen(listen) == address


@pytest.mark.parametrize("listen", ["127.0.0.1:99999", "a:b", "::1:80:", "http://x:1", "x:1/whip", "a..b:1"])
def test_listen_address_that_is_none_is_a_usage_error(listen: str) -> None:
    with pytest.raises(UsageError):
        parse_listen(listen)


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "[::]:0"])
def test_url_of_a_receiver_that_listens_everywhere_reaches_it(listen: str) -> None:
    try:
        server = ReceiverServer(listen, HELLO)
    except UsageError:
        pytest.skip(f"this machine cannot listen on {listen}")
    with server:
        connect(server.url, HELLO).close()


def test_address_in_use_or_foreign_is_a_usage_error_in_one_line() -> None:
    with ReceiverServer("127.0.0.1:0", HELLO) as server:
        taken = f"127.0.0.1:{server.port}"
        for listen, reason in ((taken, "address already in use"), ("192.0.2.1:0", "cannot assign requested address")):
            with pytest.raises(UsageError) as caught:
                ReceiverServer(listen, HELLO)
            assert str(caught.value) == f"cannot listen on {listen}: {reason}; choose another --listen HOST:PORT"
            assert caught.value.exit_status == 2


def test_url_carries_the_token_behind_a_hash_and_the_command_quotes_it() -> None:
    with ReceiverServer("127.0.0.1:0", HELLO, token="a.b-c_d~e+f/g=") as server:
        assert server.url == f"http://127.0.0.1:{server.port}/whip#token=a.b-c_d~e+f/g="
        assert server.command_line == f"python -m sender --connect '{server.url}'"
        assert parse_url(server.url) == Target("http", "127.0.0.1", server.port, "/whip", "a.b-c_d~e+f/g=")
        connect(server.url, HELLO).close()
    with ReceiverServer("127.0.0.1:0", HELLO) as server:
        assert len(server.token) >= 22


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("127.0.0.1:9000", Target("http", "127.0.0.1", 9000, "/whip", "")),
        ("https://[::1]:9000/whip?token=abc", Target("https", "::1", 9000, "/whip", "abc")),
        ("http://host/#token=x", Target("http", "host", 8443, "/whip", "x")),
    ],
)
def test_url_is_read_in_its_forms(url: str, target: Target) -> None:
    assert parse_url(url) == target


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ftp://x/whip",
        "http://x:999999/",
        "http://[::1",
        "http://x#token=a%0d%0ab",
        "http://a..b/",
        f"http://{64 * 'a'}/",
    ],
)
def test_url_that_is_none_is_a_usage_error(url: str) -> None:
    with pytest.raises(VidcodecError) as caught:
        connect(url, HELLO)
    assert caught.value.exit_status == 2


def test_token_that_no_header_can_carry_is_a_usage_error() -> None:
    for token in ("", "a b", "a\nb", "x" * 257):
        with pytest.raises(UsageError, match="token"):
            ReceiverServer("127.0.0.1:0", HELLO, token=token)


def test_connection_that_comes_while_the_server_closes_is_closed_too() -> None:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for _ in range(5):
            server = ReceiverServer("127.0.0.1:0", HELLO)
            late = socket.create_connection(("127.0.0.1", server.port))
            server.close()
            late.close()
            gc.collect()
    assert [warning for warning in said if "unclosed transport" in str(warning.message)] == []
