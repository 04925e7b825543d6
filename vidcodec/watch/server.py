"""Where a browser finds the page and calls in: static files, and a WHEP-like endpoint that answers its offer.

    POST /whep          application/sdp, Authorization: Bearer TOKEN -> 201, the answer, and a Location
    DELETE /whep/NAME   ends that session

It is WHIP (docs/link.md) with the roles changed: who offers receives. The limits are those of the receiver's server.
The files hold nothing secret and need no token.
"""

import asyncio
import logging
import queue
import secrets
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from vidcodec.errors import PeerError
from vidcodec.link.door import read_offer, refusal
from vidcodec.link.ice import MAX_SDP_BYTES, is_loopback, make_peer_connection, reachable_address
from vidcodec.link.limits import AttemptLimit
from vidcodec.link.loop import LoopThread
from vidcodec.link.messages import Hello
from vidcodec.link.options import LinkOptions, SenderHandlers
from vidcodec.link.sender import SenderLink, SenderSession
from vidcodec.link.server import STALE_MS
from vidcodec.link.whip import Target, WhipClient, check_token
from vidcodec.watch.files import PAGE, TYPES, WatchFiles
from vidcodec.web.server import Listener

log = logging.getLogger("vidcodec.watch")

ENDPOINT = "/whep"
CONNECTION_S = 300.0
"""ONNX Runtime Web has 15 to 27 MB."""
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self' blob:; style-src 'self'; "
        "connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    # With both, a page served by https or on localhost may use threads.
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cache-Control": "no-cache",
}


@dataclass(frozen=True)
class Wanted:
    """What the next viewer gets: our hello, how the link behaves, and who hears of it."""

    hello: Hello
    options: LinkOptions
    handlers: SenderHandlers


class WatchServer:
    """Listens for browsers, one at a time. Everything but the links runs on a thread of its own; `close` ends it.

    Args:
        listen: `HOST:PORT`; port 0 takes a free one. Bind to 127.0.0.1 unless viewers are on other machines.
        files: what the page may ask for.
        token: what a viewer has to show; one of 128 bits is made when none is given.
        tls: to serve https.

    Raises:
        UsageError: the address cannot be listened on, or the token is unusable.
    """

    def __init__(
        self, listen: str, files: WatchFiles, token: str | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        self.files = files
        self.token = secrets.token_urlsafe(16) if token is None else check_token(token)
        self._scheme = "http" if tls is None else "https"
        self._limit = AttemptLimit()
        self._wanted: Wanted | None = None
        self._links: queue.Queue[SenderLink] = queue.Queue()
        self._sessions: dict[str, SenderSession] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._lock = threading.Lock()
        self._listener = Listener(self._application(), listen, "--watch", tls, longest_s=CONNECTION_S)

    @property
    def url(self) -> str:
        """What a viewer opens, token included."""
        return self._target(reachable_address(self._listener.host), PAGE).url

    def wait(
        self,
        hello: Hello,
        options: LinkOptions,
        handlers: SenderHandlers,
        *,
        timeout_s: float = float("inf"),
        wants_to_stop: Callable[[], bool] = lambda: False,
    ) -> SenderLink:
        """Let the next viewer in.

        Raises:
            PeerError: nobody came in time, or `wants_to_stop`.
        """
        with self._lock:
            self._wanted = Wanted(hello, options, handlers)
        end_s = time.monotonic() + timeout_s
        while True:
            try:
                return self._links.get(timeout=0.05)
            except queue.Empty:
                if wants_to_stop() or time.monotonic() > end_s:
                    with self._lock:
                        self._wanted = None
                    raise PeerError("no browser opened the page") from None

    def close(self) -> None:
        """Listen no longer. A link that `wait` gave lives on, until it is closed; one that nobody waited for ends."""
        self._listener.close()
        while not self._links.empty():
            self._links.get().close()

    # On the listener's thread.

    def _application(self) -> web.Application:
        app = web.Application(client_max_size=MAX_SDP_BYTES)
        app.router.add_post(ENDPOINT, self._offered)
        app.router.add_delete(ENDPOINT + "/{session}", self._left)
        app.router.add_get(PAGE + "/files.json", self._describe)
        app.router.add_get("/{path:.*}", self._file)
        app.on_response_prepare.append(_add_headers)
        return app

    async def _describe(self, _: web.Request) -> web.Response:
        return web.Response(text=self.files.describe(), content_type="application/json")

    async def _file(self, request: web.Request) -> web.StreamResponse:
        path = self.files.paths.get(request.path.rstrip("/") or PAGE)
        if path is None or not path.is_file():
            return web.Response(status=404, text="no such page\n")
        return web.FileResponse(path, headers={"Content-Type": TYPES[path.suffix]})

    def _refuse(self, request: web.Request) -> web.Response | None:
        return refusal(request, self.token, self._limit)

    async def _offered(self, request: web.Request) -> web.Response:
        refused = self._refuse(request)
        if refused is not None:
            return refused
        address = request.remote or "127.0.0.1"
        offer = await read_offer(request, lambda text: reveal(text, address))
        if isinstance(offer, web.Response):
            return offer
        await self._end_stale()
        with self._lock:
            wanted = None if self._sessions else self._wanted
            self._wanted = None if wanted else self._wanted
        if wanted is None:
            busy = "another browser is watching" if self._sessions else "the call has not begun yet"
            return web.Response(status=409, text=f"{busy}: trying again\n", headers={"Retry-After": "1"})
        try:
            return await self._begin(wanted, offer, is_loopback(address))
        except PeerError as error:
            return web.Response(status=400, text=f"{error}\n")

    async def _begin(self, wanted: Wanted, offer: str, local: bool) -> web.Response:
        """Answer an offer. The session gets a thread of its own, which its link ends."""
        name = secrets.token_urlsafe(16)
        loop = LoopThread("vidcodec-watch-link")

        async def answer() -> tuple[SenderSession, str]:
            pc = make_peer_connection(wanted.options.ice)
            session = SenderSession(pc, wanted.hello, wanted.options, wanted.handlers, local)
            session.closed_callbacks.clear()  # until it is open, nobody has been told of it
            try:
                # Browsers have no candidate on the loopback interface, and reach our other addresses from this
                # machine as well.
                return session, await session.negotiation.answer(offer, False)
            except BaseException:
                await session.finish()
                raise

        try:
            session, text = await _on(loop, answer())
        except BaseException:
            loop.stop()
            self._want_again(wanted)
            raise
        self._sessions[name] = session
        task = asyncio.get_running_loop().create_task(self._open(name, session, loop, wanted))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return web.Response(
            status=201, text=text, content_type="application/sdp", headers={"Location": f"{ENDPOINT}/{name}"}
        )

    async def _open(self, name: str, session: SenderSession, loop: LoopThread, wanted: Wanted) -> None:
        """Wait until the viewer has greeted us, then hand the link over."""
        ours = asyncio.get_running_loop()

        def gone(_: object) -> None:
            try:
                ours.call_soon_threadsafe(self._sessions.pop, name, None)
            except RuntimeError:  # the server was closed before the call was over
                log.debug("a viewer left after the server had closed")

        async def open_up() -> Hello:
            try:
                peer = await session.wait_opened()
                # On the session's own thread: it cannot end in between, and nobody hear of it.
                if session.closed.done():
                    raise PeerError("it left at once")
                session.closed_callbacks += [wanted.handlers.on_closed, gone]
                return peer
            except BaseException:
                await session.finish()
                raise

        try:
            peer = await _on(loop, open_up())
        except PeerError as error:
            log.info("a browser did not get through: %s", error)
            self._sessions.pop(name, None)
            await asyncio.to_thread(loop.stop)
            self._want_again(wanted)
            return
        self._links.put(SenderLink(loop, session, WhipClient(self._target(self._listener.host, PAGE)), peer))

    async def _left(self, request: web.Request) -> web.Response:
        refused = self._refuse(request)
        if refused is not None:
            return refused
        session = self._sessions.get(request.match_info["session"])
        if session is None:
            return web.Response(status=404, text="no such session\n")
        _end(session, "the browser has left")
        return web.Response(status=200)

    async def _end_stale(self) -> None:
        """Make room for a page that was reloaded before its dead session is noticed."""
        for name, session in list(self._sessions.items()):
            if session.opened.done() and session.silence_ms > STALE_MS:
                _end(session, "the browser fell silent and another one took its place")
                self._sessions.pop(name, None)

    def _want_again(self, wanted: Wanted) -> None:
        with self._lock:
            self._wanted = self._wanted or wanted

    def _target(self, host: str, path: str) -> Target:
        return Target(self._scheme, host, self._listener.port, path, self.token)


def reveal(sdp: str, address: str) -> str:
    """A browser's offer without the addresses that it hides behind mDNS names.

    Browsers hide their addresses from pages without a camera. That costs nothing: they send the first packet to us, and
    ICE answers to where it came from. Only an offer needs some address to be one; where no other is left it is the one
    that the request came from, with the port that discards what it gets.
    """
    lines = sdp.splitlines()
    shown = [line for line in lines if not (line.startswith("a=candidate:") and ".local " in line)]
    if len(shown) < len(lines) and not any(line.startswith("a=candidate:") for line in shown):
        where = max((index for index, line in enumerate(shown) if line.startswith("c=")), default=len(shown) - 1)
        shown.insert(where + 1, f"a=candidate:1 1 udp 1 {address} 9 typ host")
    return "\r\n".join(shown) + "\r\n"


async def _on(loop: LoopThread, work: Any) -> Any:
    """Run a coroutine on another loop and wait for it on this one."""
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, loop.loop))


def _end(session: SenderSession, reason: str) -> None:
    """End a session from another thread than its own."""
    session.opened.get_loop().call_soon_threadsafe(session.end, PeerError(reason))


async def _add_headers(_: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(HEADERS)
