"""What `--watch` lets in and what not, without a browser."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from sender.options import check_options, make_parser
from vidcodec.errors import InputError, PeerError, UsageError
from vidcodec.link import Hello, LinkOptions, SenderHandlers
from vidcodec.link.ice import check_sdp
from vidcodec.link.sender import SenderSession
from vidcodec.watch.export import copy_runtime
from vidcodec.watch.files import RUNTIME_FILES, STATIC, WatchFiles
from vidcodec.watch.server import Wanted, WatchServer, reveal

SHA256 = "ab" * 32
OFFER = "\r\n".join(
    [
        "v=0",
        "o=- 3 2 IN IP4 127.0.0.1",
        "s=-",
        "t=0 0",
        "m=application 9 UDP/DTLS/SCTP webrtc-datachannel",
        "c=IN IP4 0.0.0.0",
        "a=candidate:1 1 udp 2113937151 7434451a-2d04-4085-b55e-b2d22f1bc57f.local 34975 typ host",
        "a=ice-ufrag:Dv8h",
        "a=ice-pwd:3ZPyEYgcvM3gIqgDufwno3Ym",
        "a=fingerprint:sha-256 " + ":".join(["F3"] * 32),
        "a=setup:actpass",
        "a=mid:0",
        "a=sctp-port:5000",
        "",
    ]
)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[WatchServer]:
    (tmp_path / "secret.json").write_text("{}")
    opened = WatchServer("127.0.0.1:0", WatchFiles.find(tmp_path, "s-1", SHA256))
    yield opened
    opened.close()


async def ask(server: WatchServer, method: str, path: str, token: str | None = None, body: str = "") -> tuple[int, str]:
    base = server.url.partition("/watch")[0]
    headers = {"Content-Type": "application/sdp", **({"Authorization": f"Bearer {token}"} if token else {})}
    async with (
        aiohttp.ClientSession() as http,
        http.request(method, base + path, headers=headers, data=body) as response,
    ):
        assert response.headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert "'none'" in response.headers["Content-Security-Policy"]
        return response.status, await response.text()


async def test_wrong_token_is_refused_and_after_ten_nobody_is_heard(server: WatchServer) -> None:
    for token in (None, *["wrong"] * 9):
        assert (await ask(server, "POST", "/whep", token, OFFER))[0] == 401
    assert (await ask(server, "POST", "/whep", server.token, OFFER))[0] == 429


async def test_what_is_no_offer_is_refused(server: WatchServer) -> None:
    status, text = await ask(server, "POST", "/whep", server.token, "v=0\r\nm=video 9 RTP/AVP 96\r\n")
    assert status == 400 and "data channels" in text
    assert (await ask(server, "POST", "/whep", server.token, "x" * 20_000))[0] in (400, 413)
    assert (await ask(server, "DELETE", "/whep/nobody", server.token))[0] == 404


async def test_browser_that_comes_before_the_call_is_told_to_wait(server: WatchServer) -> None:
    status, text = await ask(server, "POST", "/whep", server.token, OFFER)
    assert status == 409 and "not begun" in text


async def test_viewer_that_leaves_as_soon_as_it_greeted_makes_room_for_the_next(
    server: WatchServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def greeted_and_gone(self: SenderSession) -> Hello:
        self.accept(self.hello)
        self.end(PeerError("gone"))
        return self.hello

    monkeypatch.setattr(SenderSession, "wait_opened", greeted_and_gone)
    hello = Hello(1, "s-1", SHA256)
    server._wanted = wanted = Wanted(hello, LinkOptions(), SenderHandlers())
    assert (await ask(server, "POST", "/whep", server.token, OFFER))[0] == 201
    for _ in range(200):
        if server._wanted is wanted and not server._sessions:
            break
        await asyncio.sleep(0.02)
    assert server._wanted is wanted and server._sessions == {}
    assert server._links.empty()  # nobody is handed a call that is over


async def test_only_files_of_the_page_are_served(server: WatchServer) -> None:
    status, text = await ask(server, "GET", "/watch")
    assert status == 200 and "/watch/watch.js" in text
    for path in STATIC.glob("*.js"):
        assert (await ask(server, "GET", f"/watch/{path.name}"))[0] == 200
    for path in (
        "/watch/secret.json",
        "/watch/../secret.json",
        "/watch/%2e%2e/server.py",
        "/etc/passwd",
        "/watch/runtime/",
    ):
        assert (await ask(server, "GET", path))[0] == 404


def test_waiting_for_a_browser_ends_when_told(server: WatchServer) -> None:
    hello = Hello(1, "s-1", SHA256)
    with pytest.raises(PeerError, match="no browser"):
        server.wait(hello, LinkOptions(), SenderHandlers(), wants_to_stop=lambda: True)
    with pytest.raises(PeerError, match="no browser"):
        server.wait(hello, LinkOptions(), SenderHandlers(), timeout_s=0.1)


def test_offer_that_hides_its_addresses_gets_the_one_it_came_from() -> None:
    with pytest.raises(PeerError, match="mDNS"):
        check_sdp(OFFER)
    revealed = reveal(OFFER, "192.0.2.7")
    assert check_sdp(revealed) == check_sdp(reveal(OFFER, "::1"))
    assert [line for line in revealed.splitlines() if "candidate" in line] == [
        "a=candidate:1 1 udp 1 192.0.2.7 9 typ host"
    ]
    open_offer = OFFER.replace("7434451a-2d04-4085-b55e-b2d22f1bc57f.local", "192.0.2.9")
    assert reveal(open_offer, "192.0.2.7") == open_offer


def test_missing_files_are_told_in_one_line(tmp_path: Path) -> None:
    assert "ONNX Runtime Web is not in" in WatchFiles.find(tmp_path, "s-1", SHA256).missing
    dist = tmp_path / "package" / "dist"
    dist.mkdir(parents=True)
    (dist / RUNTIME_FILES[0]).write_bytes(b"1")
    with pytest.raises(InputError, match="give the folder of onnxruntime-web"):
        copy_runtime(tmp_path / "package", tmp_path / "runtime")
    with pytest.raises(InputError, match=r"no ort\.wasm\.min\.mjs there"):
        copy_runtime(tmp_path, tmp_path / "runtime")
    for name in RUNTIME_FILES:
        (dist / name).write_bytes(b"1")
    copy_runtime(tmp_path / "package", tmp_path / "runtime")
    missing = WatchFiles.find(tmp_path, "s-1", SHA256).missing
    assert "model s-1" in missing and "export-web" in missing and "\n" not in missing


@pytest.mark.parametrize(
    "words", [["--model", "seed"], ["--display", "window"], ["--record", "a.mkv"], ["--demo", "out"]]
)
def test_options_that_need_another_receiver_are_refused(words: list[str]) -> None:
    with pytest.raises(UsageError):
        check_options(make_parser().parse_args(["--watch", "127.0.0.1:0", *words]))
