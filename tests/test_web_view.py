"""The page's server by plain HTTP and WebSocket: who gets in, what a slow page costs, what is on the wire."""

import asyncio
import hashlib
import json
import re
import socket
import ssl
import struct
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import numpy as np
import pytest
from test_link_server import self_signed
from yarl import URL

from vidcodec.errors import UsageError
from vidcodec.link.limits import ConnectionGuard
from vidcodec.link.server import load_tls
from vidcodec.web import Change, WebView, call_controls
from vidcodec.web.callpage import CallPage
from vidcodec.web.page import WINDOW, Page
from vidcodec.web.pixels import make_frame
from vidcodec.web.samples import MAX_ROWS, SERIES, Samples, plain
from vidcodec.web.server import MAX_PAGES, STATIC, load_files

TOKEN = "correct-horse"


def address(view: WebView, path: str = "") -> str:
    return f"http://127.0.0.1:{view.port}{path}"


def picture(value: int) -> np.ndarray:
    return np.random.default_rng(value).integers(0, 256, (192, 192, 3), np.uint8)


async def eventually(condition: Callable[[], bool], within_s: float = 5.0) -> None:
    end_s = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end_s, "did not happen in time"
        await asyncio.sleep(0.01)


@asynccontextmanager
async def visitor(view: WebView, token: str = TOKEN) -> AsyncIterator[aiohttp.ClientSession]:
    """A browser's session behind the right token."""
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as http:
        bearer = {"Authorization": f"Bearer {token}"}
        async with http.post(address(view, "/session"), headers=bearer) as answer:
            assert answer.status == 204
        yield http


def origin(view: WebView) -> dict[str, str]:
    return {"Origin": address(view)}


@pytest.fixture
def view() -> Iterator[WebView]:
    with WebView(token=TOKEN, controls=call_controls(pause=True)) as made:
        yield made


async def test_wrong_token_gets_no_session_and_no_pixels(view: WebView) -> None:
    async with aiohttp.ClientSession() as http:
        for authorization in ("", "Bearer ", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x"):
            headers = {"Authorization": authorization}
            async with http.post(address(view, "/session"), headers=headers) as answer:
                assert answer.status == 401 and "Set-Cookie" not in answer.headers
        for cookie in ("", "wrong"):
            headers = {**origin(view), "Cookie": f"vidcodec_{view.port}={cookie}"}
            with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
                await http.ws_connect(address(view, "/pixels"), headers=headers)
            assert caught.value.status == 401
    assert view.page_count == 0


async def test_guessing_tokens_is_stopped(view: WebView) -> None:
    async with aiohttp.ClientSession() as http:
        statuses = []
        for guess in range(12):
            headers = {"Authorization": f"Bearer {guess}"}
            async with http.post(address(view, "/session"), headers=headers) as answer:
                statuses.append(answer.status)
    assert statuses[:10] == [401] * 10 and statuses[10:] == [429] * 2


async def test_cookie_is_out_of_reach_of_scripts_and_other_sites(view: WebView) -> None:
    async with aiohttp.ClientSession() as http:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with http.post(address(view, "/session"), headers=headers) as answer:
            cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie and TOKEN not in cookie


async def test_other_origin_is_refused_even_with_the_cookie(view: WebView) -> None:
    async with visitor(view) as http:
        for headers in ({"Origin": "https://example.org"}, {}):
            with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
                await http.ws_connect(address(view, "/pixels"), headers=headers)
            assert caught.value.status == 403


async def test_only_the_pages_own_files_are_served(view: WebView) -> None:
    async with aiohttp.ClientSession() as http:
        for path in ("/", "/app.js", "/style.css", "/vendor/uPlot.esm.js"):
            async with http.get(address(view, path)) as answer:
                assert answer.status == 200
                assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
                assert TOKEN not in await answer.text()
        for path in ("/server.py", "/%2e%2e/server.py", "/static/app.js", "/vendor", "/vendor/README.md"):
            async with http.get(address(view, path)) as answer:
                assert answer.status == 404


async def test_frame_arrives_with_its_exact_pixels(view: WebView) -> None:
    async with visitor(view) as http, http.ws_connect(address(view, "/pixels"), headers=origin(view)) as opened:
        hello = await opened.receive_json(timeout=2)
        assert hello["type"] == "hello" and hello["panels"] == ["original", "ours", "baseline"]
        assert [control["name"] for control in hello["controls"]] == ["pause"]
        await eventually(lambda: view.page_count == 1)
        shown = (picture(1), picture(2), None)
        view.show(shown, 7)
        data = await opened.receive_bytes(timeout=2)
        assert struct.unpack("<IHHB3x", data[:12]) == (7, 192, 192, 0b011)
        assert data[12:] == picture(1).tobytes() + picture(2).tobytes()


async def test_page_that_reads_nothing_costs_neither_time_nor_memory(view: WebView) -> None:
    shown = tuple(picture(value) for value in range(3))
    async with visitor(view) as http, http.ws_connect(address(view, "/pixels"), headers=origin(view)):
        await eventually(lambda: view.page_count == 1)
        (page,) = view._server.pages
        slowest_s = 0.0
        for number in range(300):
            start_s = time.perf_counter()
            view.show(shown, number)
            slowest_s = max(slowest_s, time.perf_counter() - start_s)
            view.figures({"time_s": number / 30})
            await asyncio.sleep(0.001)
        assert page.frames_sent <= WINDOW
        assert slowest_s < 0.1
        assert len(page._texts) <= 4


async def test_slow_page_gets_the_newest_frame(view: WebView) -> None:
    async with visitor(view) as http, http.ws_connect(address(view, "/pixels"), headers=origin(view)) as opened:
        await opened.receive_json(timeout=2)
        await eventually(lambda: view.page_count == 1)
        numbers = []
        for number in range(50):
            view.show((picture(number), None, None), number)
            await asyncio.sleep(0.002)
        for _ in range(WINDOW + 1):
            numbers.append(struct.unpack("<I", (await opened.receive_bytes(timeout=2))[:4])[0])
            await opened.send_json({"type": "drawn"})
        assert numbers == sorted(numbers) and numbers[-1] == 49


class SlowSocket:
    """A page that takes one message each time it is told to."""

    closed = False

    def __init__(self) -> None:
        self.taken: list[object] = []
        self.room = asyncio.Semaphore(0)

    async def send_str(self, text: str) -> None:
        await self.room.acquire()
        self.taken.append(text)

    send_bytes = send_str


async def test_slow_page_hears_of_a_new_call_before_anything_of_it_and_of_nothing_older() -> None:
    socket_ = SlowSocket()
    page = Page(socket_)  # type: ignore[arg-type]
    pump = asyncio.create_task(page.pump())
    page.offer_text("hello", "hello 1")
    await asyncio.sleep(0.01)  # the page is stuck from here on
    page.offer_text("settings", "settings 1")
    page.offer_text("end", "end 1")
    page.offer_frame(make_frame(1, [picture(1)], 1))
    page.begin("hello 2")
    page.offer_text("settings", "settings 2")
    page.begin("hello 3")
    page.offer_text("figures", "figures 3")
    page.offer_text("settings", "settings 3")
    page.offer_text("figures", "figures 3, newer")
    for _ in range(10):
        socket_.room.release()
    await eventually(lambda: len(socket_.taken) >= 4)
    pump.cancel()
    assert socket_.taken == ["hello 1", "hello 3", "settings 3", "figures 3, newer"]


async def test_page_opened_late_sees_the_picture_and_the_past(view: WebView) -> None:
    view.show((picture(1), picture(2), picture(3)), 5)
    for step in range(3):
        view.figures({"time_s": step, "psnr_db": 30.0 + step, "baseline": {"mse": float("nan")}})
    view.settings({"pause": True})
    async with visitor(view) as http, http.ws_connect(address(view, "/pixels"), headers=origin(view)) as opened:
        hello = await opened.receive_json(timeout=2)
        column = hello["series"].index("psnr_db")
        assert [row[column] for row in hello["rows"]] == [30.0, 31.0, 32.0]
        assert hello["settings"] == {"pause": True}
        figures = await opened.receive_json(timeout=2)
        assert figures["figures"]["baseline"]["mse"] is None
        assert struct.unpack("<I", (await opened.receive_bytes(timeout=2))[:4])[0] == 5


async def test_control_reaches_the_call_and_a_bad_one_is_refused_with_its_reason() -> None:
    changes: list[Change] = []
    with WebView(token=TOKEN, controls=call_controls(pause=True), on_control=changes.append) as view:
        async with visitor(view) as http, http.ws_connect(address(view, "/pixels"), headers=origin(view)) as opened:
            await opened.receive_json(timeout=2)
            await opened.send_json({"type": "control", "name": "pause", "value": True})
            await eventually(lambda: changes == [Change("pause", True)])
            for bad in ('{"type": "control", "name": "bitrate", "value": 1}', "junk", '{"type": "launch"}'):
                await opened.send_str(bad)
                refusal = await opened.receive_json(timeout=2)
                assert refusal["type"] == "refused" and refusal["reason"]
    assert changes == [Change("pause", True)]


async def test_handler_that_fails_leaves_the_page_open() -> None:
    def fail(_: Change) -> None:
        raise RuntimeError("disk is full")

    with WebView(token=TOKEN, controls=call_controls(pause=True), on_control=fail) as view:
        async with visitor(view) as http, http.ws_connect(address(view, "/pixels"), headers=origin(view)) as opened:
            await opened.receive_json(timeout=2)
            await opened.send_json({"type": "control", "name": "pause", "value": True})
            assert (await opened.receive_json(timeout=2))["type"] == "refused"
            view.show((picture(1), None, None), 1)
            assert len(await opened.receive_bytes(timeout=2)) == 12 + 192 * 192 * 3


@pytest.mark.parametrize("hostile", ["flood", "long", "binary"])
async def test_hostile_page_is_closed_and_the_view_lives(view: WebView, hostile: str) -> None:
    async with visitor(view) as http, http.ws_connect(address(view, "/pixels"), headers=origin(view)) as opened:
        await eventually(lambda: view.page_count == 1)
        if hostile == "long":
            await opened.send_str("x" * 5000)
        elif hostile == "binary":
            await opened.send_bytes(b"\0" * 100)
        else:
            for _ in range(3000):
                if not opened.closed:
                    await opened.send_str('{"type": "drawn"}')
        await eventually(lambda: view.page_count == 0)
    async with visitor(view) as http, http.ws_connect(address(view, "/pixels"), headers=origin(view)) as opened:
        assert (await opened.receive_json(timeout=2))["type"] == "hello"


async def test_https_page_has_a_cookie_for_https_only(tmp_path: Path) -> None:
    cert, key = self_signed(tmp_path)
    trust = ssl.create_default_context(cafile=cert)
    with WebView(token=TOKEN, tls=load_tls(cert, key)) as view:
        assert view.url.startswith(f"https://127.0.0.1:{view.port}/#token=")
        jar = aiohttp.CookieJar(unsafe=True)
        async with aiohttp.ClientSession(cookie_jar=jar, connector=aiohttp.TCPConnector(ssl=trust)) as http:
            base = view.url.partition("/#")[0]
            bearer = {"Authorization": f"Bearer {TOKEN}"}
            async with http.post(f"{base}/session", headers=bearer) as answer:
                assert "Secure" in answer.headers["Set-Cookie"]
            async with http.ws_connect(f"{base}/pixels", headers={"Origin": base}) as opened:
                assert (await opened.receive_json(timeout=2))["type"] == "hello"


async def test_number_of_pages_is_limited(view: WebView) -> None:
    async with visitor(view) as http:
        sockets = [await http.ws_connect(address(view, "/pixels"), headers=origin(view)) for _ in range(MAX_PAGES)]
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await http.ws_connect(address(view, "/pixels"), headers=origin(view))
        assert caught.value.status == 503
        for opened in sockets:
            await opened.close()


async def test_close_ends_open_pages_and_may_come_twice() -> None:
    view = WebView(token=TOKEN)
    async with visitor(view) as http, http.ws_connect(address(view, "/pixels"), headers=origin(view)) as opened:
        await opened.receive_json(timeout=2)
        await asyncio.to_thread(view.close)
        assert (await opened.receive(timeout=2)).type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED)
    await asyncio.to_thread(view.close)
    view.show((picture(1), None, None), 1)
    view.figures({})


async def test_close_does_not_wait_for_a_page_that_reads_nothing() -> None:
    view = WebView(token=TOKEN)
    async with visitor(view) as http:
        name = f"vidcodec_{view.port}"
        cookie = f"{name}={http.cookie_jar.filter_cookies(URL(address(view)))[name].value}"
    with socket.socket() as stuck:
        stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        stuck.connect(("127.0.0.1", view.port))
        lines = [
            "GET /pixels HTTP/1.1",
            f"Host: 127.0.0.1:{view.port}",
            f"Origin: {address(view)}",
            f"Cookie: {cookie}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
        ]
        stuck.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        await eventually(lambda: view.page_count == 1)
        for number in range(60):
            view.show(tuple(picture(value) for value in range(3)), number)
            view.figures({"time_s": number, "link": {"x": "y" * 100_000}})
            await asyncio.sleep(0.005)
        began_s = time.monotonic()
        await asyncio.to_thread(view.close)
        assert time.monotonic() - began_s < 3.0


def test_taken_port_and_bad_arguments_are_usage_errors(view: WebView) -> None:
    with pytest.raises(UsageError, match="Address already in use; choose another"):
        WebView(f"127.0.0.1:{view.port}")
    for arguments in ({"listen": "nowhere:x"}, {"token": "a b"}, {"panels": ()}, {"panels": ("theirs",)}):
        with pytest.raises(UsageError):
            WebView(**arguments)  # type: ignore[arg-type]


def test_pictures_of_wrong_shape_are_refused() -> None:
    good = picture(1)
    for pictures in ((good,), (good, good[:, :, 0]), (good, good[:96]), (good.astype(np.float32), None)):
        with pytest.raises(UsageError):
            make_frame(0, pictures, 2)  # type: ignore[arg-type]
    assert make_frame(0, (None, None), 2).message == bytes(12)


def test_figures_are_made_safe_and_the_past_is_bounded() -> None:
    figures = plain({"time_s": np.float32(1.23456789), "mse": float("inf"), "codec": Path("x"), 3: (1, None)})
    assert figures == {"time_s": 1.23457, "mse": None, "codec": "x", "3": [1, None]}
    samples = Samples()
    for step in range(MAX_ROWS + 5):
        message = json.loads(samples.add({"time_s": step, "latency_ms": {"total": {"p50": 40}}}))
    assert len(samples.rows) == MAX_ROWS and len(message["row"]) == len(SERIES)
    assert message["row"][SERIES.index("latency_ms.total.p50")] == 40


def test_vendored_files_are_those_that_their_readme_names() -> None:
    text = (STATIC / "vendor" / "README.md").read_text("utf-8")
    sums = dict(re.findall(r"\| `(uPlot\S+)` \| `dist/\S+` \| `([0-9a-f]{64})` \|", text))
    assert len(sums) == 2 and "MIT" in text
    for name, expected in sums.items():
        assert hashlib.sha256((STATIC / "vendor" / name).read_bytes()).hexdigest() == expected
    assert "/vendor/uPlot.esm.js" in load_files()


async def test_connections_that_ask_for_nothing_are_ended_and_an_open_page_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ConnectionGuard.__init__, "__defaults__", (15.0, 8, frozenset()))
    with WebView("127.0.0.1:0", token=TOKEN) as view:
        async with visitor(view) as http, http.ws_connect(address(view, "/pixels"), headers=origin(view)) as page:
            assert (await page.receive_json(timeout=5.0))["type"] == "hello"
            idle = [await asyncio.open_connection("127.0.0.1", view.port) for _ in range(20)]
            for _, writer in idle:
                writer.write(b"GET / HTTP/1.1\r\n")
            ends = [asyncio.create_task(reader.read()) for reader, _ in idle]
            await eventually(lambda: sum(end.done() for end in ends) >= 12)
            view.figures({"time_s": 1.0})
            assert (await page.receive_json(timeout=5.0))["type"] == "figures"
            assert view.page_count == 1
            for (_, writer), end in zip(idle, ends, strict=True):
                writer.close()
                end.cancel()


async def test_request_that_is_no_http_leaves_no_traceback_in_the_log(
    view: WebView, caplog: pytest.LogCaptureFixture
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", view.port)
    writer.write(b"GET / HTTP/1.1\r\nno header\r\n\r\n")
    assert b" 400 " in await asyncio.wait_for(reader.readline(), 5.0)
    writer.close()
    assert caplog.records == []


async def test_settings_of_a_hostile_sender_do_not_pile_up(caplog: pytest.LogCaptureFixture) -> None:
    page = CallPage("127.0.0.1:0", "receiver", TOKEN)
    try:
        page.begin(("ours",), lambda _: None, lambda: None)
        view = page._view
        assert view is not None
        for turn in range(50):
            names = {f"name{turn}_{each}": "x" * 1000 for each in range(30)}
            page.heard(
                {"offer": {"pause": True, "crop": True}, "settings": {**names, "pause": True, "crop": "y" * 999}}
            )
        page.heard({"offer": {"pause": True, "crop": True}, "settings": {"crop": "face", "pause": [[1]]}})
        for unsound in ({"settings": 1}, {"offer": {"pause": 3}, "settings": {}}, None) * 20:
            page.heard(unsound)
        assert len(caplog.records) == 1
        await eventually(lambda: view._settings.get("crop") == "face")
        assert view._settings == {"pause": True, "crop": "face"}
    finally:
        page.close()
