"""The page's HTTP server: static files, a token for a session, one WebSocket for each page.

The token stands behind `#` in the URL, which no browser sends and no server logs. The page's script posts it once, in
the Authorization header, and gets a cookie that no script can read; the WebSocket needs the cookie and an Origin of
this very server. The files themselves hold nothing secret and need no token.
"""

import asyncio
import concurrent.futures
import hmac
import logging
import os
import secrets
import ssl
import time
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from pathlib import Path
from urllib.parse import urlsplit

from aiohttp import WSMsgType, web
from aiohttp.http_exceptions import HttpProcessingError

from vidcodec.errors import UsageError, reason_of
from vidcodec.link.limits import AttemptLimit, ConnectionGuard, end_connections
from vidcodec.link.loop import LoopThread
from vidcodec.link.whip import join_host_port, parse_listen
from vidcodec.web.controls import MAX_MESSAGE_BYTES
from vidcodec.web.page import Page

log = logging.getLogger("vidcodec.web")

STATIC = Path(__file__).parent / "static"
TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
MAX_PAGES = 8
CONNECTION_S = 60.0
"""For a connection that brings files; a page that is let in keeps its WebSocket."""

HEARTBEAT_S = 10.0
GOODBYE_S = 0.5
CLOSE_S = 5.0

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' blob: data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


def load_files(folder: Path = STATIC) -> dict[str, tuple[bytes, str]]:
    """The page's files by URL path, with their media types. No other path is ever served."""
    files = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix in TYPES:
            files["/" + path.relative_to(folder).as_posix()] = (path.read_bytes(), TYPES[path.suffix])
    files["/"] = files["/index.html"]
    return files


class PageServer:
    """The web application. Everything runs on one event loop.

    Args:
        token: what a page must show.
        secure: served by https, so that the cookie is for https only.
        on_open: called with each new page, before anything is sent to it.
        on_text: called with each text message of a page.

    Attributes:
        pages: those that are open.
        let_in: their connections.
    """

    def __init__(
        self,
        token: str,
        secure: bool,
        on_open: Callable[[Page], object],
        on_text: Callable[[Page, str], object],
    ) -> None:
        self.pages: set[Page] = set()
        self.let_in: set[object] = set()
        self._token = token
        self._secure = secure
        self._session = secrets.token_urlsafe(32)
        self._on_open = on_open
        self._on_text = on_text
        self._limit = AttemptLimit()
        self._files = load_files()
        self._sockets: dict[web.WebSocketResponse, asyncio.Transport | None] = {}

    def application(self) -> web.Application:
        """The application, with its routes and limits."""
        app = web.Application(client_max_size=1024)
        app.router.add_get("/session", self._say_session)
        app.router.add_post("/session", self._log_in)
        app.router.add_get("/pixels", self._serve_page)
        app.router.add_get("/{path:.*}", self._serve_file)
        app.on_response_prepare.append(_add_headers)
        app.on_shutdown.append(self._close_sockets)
        return app

    async def _serve_file(self, request: web.Request) -> web.Response:
        entry = self._files.get(request.path)
        if entry is None:
            return web.Response(status=404, text="no such page\n")
        body, media_type = entry
        return web.Response(body=body, content_type=media_type, charset="utf-8")

    async def _say_session(self, request: web.Request) -> web.Response:
        """Whether this browser has a session, and no page more would be let in; no secret, and no error in the
        browser's console."""
        known = self._known(request)
        return web.json_response({"known": known, "full": known and len(self.pages) >= MAX_PAGES})

    async def _log_in(self, request: web.Request) -> web.Response:
        """A cookie for the right token."""
        address = request.remote or "?"
        if self._limit.blocked(address, time.monotonic() * 1000):
            return web.Response(status=429, text="too many wrong tokens\n", headers={"Retry-After": "60"})
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        right = hmac.compare_digest(token.strip().encode(errors="replace"), self._token.encode())
        if not right or scheme.lower() != "bearer":
            self._limit.failed(address, time.monotonic() * 1000)
            return web.Response(status=401, text="token refused\n", headers={"WWW-Authenticate": "Bearer"})
        response = web.Response(status=204)
        response.set_cookie(
            self._cookie(request), self._session, httponly=True, samesite="Strict", secure=self._secure, path="/"
        )
        return response

    async def _serve_page(self, request: web.Request) -> web.StreamResponse:
        """The WebSocket of a page."""
        if not self._known(request):
            return web.Response(status=401, text="no session: open the page by the URL that the command printed\n")
        if urlsplit(request.headers.get("Origin", "")).netloc != request.host:
            return web.Response(status=403, text="another site asked for this\n")
        if len(self.pages) >= MAX_PAGES:
            return web.Response(status=503, text=f"{MAX_PAGES} pages are open already\n")
        socket = web.WebSocketResponse(
            max_msg_size=MAX_MESSAGE_BYTES, heartbeat=HEARTBEAT_S, compress=False, timeout=2.0
        )
        await socket.prepare(request)
        page = Page(socket)
        self.pages.add(page)
        self.let_in.add(request.protocol)
        self._sockets[socket] = request.transport
        pump = asyncio.create_task(_until_gone(page))
        try:
            self._on_open(page)
            async for message in socket:
                if message.type is not WSMsgType.TEXT or page.flooding(time.monotonic()):
                    await socket.close(code=1008, message=b"messages that no page of ours sends")
                    break
                self._on_text(page, message.data)
        finally:
            self.pages.discard(page)
            self.let_in.discard(request.protocol)
            self._sockets.pop(socket, None)
            pump.cancel()
        return socket

    async def _close_sockets(self, _: web.Application) -> None:
        await asyncio.gather(*(_goodbye(socket, transport) for socket, transport in list(self._sockets.items())))

    def _known(self, request: web.Request) -> bool:
        cookie = request.cookies.get(self._cookie(request), "")
        return hmac.compare_digest(cookie.encode(errors="replace"), self._session.encode())

    @staticmethod
    def _cookie(request: web.Request) -> str:
        """Cookies do not tell ports apart, so the name does: two calls on one machine keep their sessions."""
        _, _, port = request.host.rpartition(":")
        return f"vidcodec_{port}" if port.isdigit() else "vidcodec"


class Listener:
    """Serves an application on an event loop with a thread of its own.

    Args:
        app: the application.
        listen: `HOST:PORT`; port 0 takes a free one.
        option: what the user gave `listen` with.
        tls: to serve https.
        longest_s: how long a connection may last.
        spared: connections that may last longer.

    Attributes:
        loop: the thread's event loop.
        host, port: what is listened on.

    Raises:
        UsageError: the address is none, or cannot be listened on.
    """

    def __init__(
        self,
        app: web.Application,
        listen: str,
        option: str,
        tls: ssl.SSLContext | None = None,
        *,
        longest_s: float = CONNECTION_S,
        spared: AbstractSet[object] = frozenset(),
    ) -> None:
        self.host, self.port = parse_listen(listen)
        self._tls = tls
        self._longest_s = longest_s
        self._spared = spared
        self.loop = LoopThread(f"vidcodec{option.replace('--', '-')}")
        try:
            self._runner = self.loop.run(self._start(app))
        except OSError as error:
            self.loop.stop()
            where = f"{option} {join_host_port(self.host, self.port)}"
            raise UsageError(f"{where}: {listening_reason(error)}; choose another {option} HOST:PORT") from error
        except BaseException:
            self.loop.stop()
            raise

    async def _start(self, app: web.Application) -> web.AppRunner:
        http_log = logging.getLogger("vidcodec.web.http")
        http_log.addFilter(_is_our_fault)
        runner = web.AppRunner(app, access_log=None, logger=http_log, handle_signals=False, shutdown_timeout=1.0)
        await runner.setup()
        try:
            await web.TCPSite(runner, self.host, self.port, ssl_context=self._tls, reuse_address=True).start()
        except BaseException:
            await runner.cleanup()
            raise
        self.port = int(runner.addresses[0][1])
        assert runner.server is not None  # set up above
        guard = ConnectionGuard(runner.server, self._longest_s, spared=self._spared)
        self._guard = asyncio.get_running_loop().create_task(guard.run())
        return runner

    def close(self) -> None:
        """End every connection and the thread. May be called twice."""
        if self.loop.running:
            try:
                self.loop.run(end_connections(self._runner), CLOSE_S)
            except concurrent.futures.TimeoutError:
                log.warning("a connection of the page would not end; it is cut")
            finally:
                self.loop.stop()


def _is_our_fault(record: logging.LogRecord) -> bool:
    """Whether a line of aiohttp's log is worth one: it writes a traceback for each request that is no HTTP."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


def listening_reason(error: OSError) -> str:
    """Why an address cannot be listened on, without asyncio's words around it; what a resolver says has no errno."""
    return os.strerror(error.errno) if error.errno is not None and error.errno > 0 else reason_of(error)


async def _goodbye(socket: web.WebSocketResponse, transport: asyncio.Transport | None) -> None:
    """Close in order, or, with a page that reads nothing, at once."""
    try:
        await asyncio.wait_for(socket.close(code=1001, message=b"the call is over"), GOODBYE_S)
    except (TimeoutError, ConnectionError):
        if transport is not None:
            transport.abort()


async def _until_gone(page: Page) -> None:
    try:
        await page.pump()
    except ConnectionError:
        return


async def _add_headers(_: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(HEADERS)
