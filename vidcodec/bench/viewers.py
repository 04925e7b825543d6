"""Who looks at a call's page: a real browser, a program that reads everything, one that reads nothing.

Each is a context manager that takes the address that the command printed, and may leave and come back; `drawn` says how
many frames it got in all.
"""

import asyncio
import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from vidcodec.errors import InputError, PeerError

if TYPE_CHECKING:
    import aiohttp

START_S = 60.0
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
COUNT = """(() => {
    let count = 0;
    const seen = document.querySelector("#pictures");
    new MutationObserver(() => { count += 1; }).observe(seen, { attributeFilter: ["data-number"] });
    window.framesDrawn = () => count;
})()"""


def find_browser() -> str | None:
    """A Chromium: the variable CHROMIUM, or one that is installed."""
    named = os.environ.get("CHROMIUM")
    return named or next((path for name in BROWSERS if (path := shutil.which(name))), None)


class Nobody:
    """Looks at nothing.

    Attributes:
        drawn: how many frames it drew, None where nothing is drawn.
        session: of its processes; None where it has none of its own.
    """

    session: int | None = None

    def __init__(self) -> None:
        self.drawn: int | None = None

    def look(self, url: str) -> None:
        """Do nothing."""

    def leave(self) -> None:
        """Look no more. May be called twice."""

    def __enter__(self) -> "Nobody":
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()


class Stuck(Nobody):
    """Opens the page's socket, and then reads nothing more, as a browser that hangs."""

    def __init__(self) -> None:
        super().__init__()
        self._socket: socket.socket | None = None

    def look(self, url: str) -> None:
        """Open the socket."""
        at = urlsplit(url)
        cookie = log_in(url)
        self._socket = opened = socket.socket()
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        opened.settimeout(START_S)
        opened.connect((at.hostname, at.port))
        lines = [
            "GET /pixels HTTP/1.1",
            f"Host: {at.netloc}",
            f"Origin: http://{at.netloc}",
            f"Cookie: {cookie}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
            "Sec-WebSocket-Version: 13",
        ]
        opened.sendall("\r\n".join([*lines, "", ""]).encode())
        answer = opened.recv(12)
        if answer != b"HTTP/1.1 101":
            raise PeerError(f"the page answered {answer!r} to a viewer")

    def leave(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class Reader(Nobody):
    """Reads every frame and says that it drew it, at next to no cost: a browser on another machine."""

    def __init__(self) -> None:
        super().__init__()
        self.drawn = 0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def look(self, url: str) -> None:
        """Begin to read."""
        self._stop.clear()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._read(url)), daemon=True)
        self._thread.start()

    def leave(self) -> None:
        """Read no more: the socket is closed with the next message."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(5.0)
            self._thread = None

    async def _read(self, url: str) -> None:
        import aiohttp

        at = urlsplit(url)
        headers = {"Cookie": log_in(url), "Origin": f"http://{at.netloc}"}
        with contextlib.suppress(aiohttp.ClientError):  # the call is over, and its page with it
            async with (
                aiohttp.ClientSession() as http_session,
                http_session.ws_connect(f"http://{at.netloc}/pixels", headers=headers, max_msg_size=0) as page,
            ):
                async for message in page:
                    if self._stop.is_set():
                        return
                    if message.type is aiohttp.WSMsgType.BINARY:
                        self.drawn = (self.drawn or 0) + 1
                        await page.send_str('{"type":"drawn"}')


class Browser(Nobody):
    """A headless Chromium, steered over its DevTools socket.

    Raises:
        InputError: none is installed, or it does not start.
    """

    def __init__(self) -> None:
        super().__init__()
        self.drawn = 0
        program = find_browser()
        if program is None:
            raise InputError("no Chromium here: install one, or name it in the variable CHROMIUM")
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self._process = subprocess.Popen(
            [program, *FLAGS, f"--user-data-dir={self._folder.name}", "--remote-debugging-port=0", "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.session = self._process.pid
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._port = self._wait_for_port()

    def look(self, url: str) -> None:
        """Open the page, and count what it draws."""
        self._stop.clear()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._watch(url)), daemon=True)
        self._thread.start()

    def leave(self) -> None:
        """Show an empty page instead."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(10.0)
            self._thread = None

    def __exit__(self, *_: object) -> None:
        self.leave()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._folder.cleanup()

    def _wait_for_port(self) -> int:
        file = Path(self._folder.name) / "DevToolsActivePort"
        until_s = time.monotonic() + START_S
        while time.monotonic() < until_s and self._process.poll() is None:
            with contextlib.suppress(OSError, ValueError, IndexError):  # not written yet
                return int(file.read_text().splitlines()[0])
            time.sleep(0.05)
        self.__exit__()
        raise InputError(f"the browser did not start within {START_S:.0f} s")

    async def _watch(self, url: str) -> None:
        import aiohttp

        with contextlib.suppress(aiohttp.ClientError, ConnectionError):  # it was ended
            async with aiohttp.ClientSession() as http_session:
                async with http_session.get(f"http://127.0.0.1:{self._port}/json") as answer:
                    tabs = json.loads(await answer.text())
                tab = next(tab for tab in tabs if tab["type"] == "page")
                async with http_session.ws_connect(tab["webSocketDebuggerUrl"], max_msg_size=0) as tools:
                    await self._ask(tools, "Page.navigate", url=url)
                    counting, before = False, self.drawn or 0
                    while not self._stop.is_set():
                        await asyncio.sleep(0.25)
                        if not counting:
                            ready = "document.readyState === 'complete' && !!document.querySelector('#pictures')"
                            counting = bool(await self._evaluate(tools, ready))
                            if counting:
                                await self._evaluate(tools, COUNT)
                        else:
                            self.drawn = before + int(await self._evaluate(tools, "window.framesDrawn()") or 0)
                    await self._ask(tools, "Page.navigate", url="about:blank")

    async def _evaluate(self, tools: "aiohttp.ClientWebSocketResponse", script: str) -> Any:
        answer = await self._ask(tools, "Runtime.evaluate", expression=script, returnByValue=True)
        return answer.get("result", {}).get("value")

    @staticmethod
    async def _ask(tools: "aiohttp.ClientWebSocketResponse", method: str, **params: object) -> dict[str, Any]:
        await tools.send_str(json.dumps({"id": 1, "method": method, "params": params}))
        while True:
            message = json.loads(await tools.receive_str(timeout=START_S))
            if message.get("id") == 1:
                result: dict[str, Any] = message.get("result", {})
                return result


def log_in(url: str) -> str:
    """The cookie that a page gets for the token in its address.

    Raises:
        PeerError: the token is refused.
    """
    at = urlsplit(url)
    connection = http.client.HTTPConnection(at.hostname or "", at.port, timeout=START_S)
    try:
        connection.request("POST", "/session", headers={"Authorization": f"Bearer {at.fragment.partition('=')[2]}"})
        cookie = connection.getresponse().getheader("Set-Cookie")
    finally:
        connection.close()
    if cookie is None:
        raise PeerError("the page refused its own token")
    return cookie.partition(";")[0]
