"""The receiver's server: WHIP endpoint (RFC 9725), token, limits, one sender at a time."""

import asyncio
import logging
import os
import secrets
import ssl
from collections.abc import Sequence
from pathlib import Path

from aiohttp import web

from vidcodec.errors import InputError, PeerError, UsageError, reason_of
from vidcodec.link.door import read_offer, refusal
from vidcodec.link.ice import (
    MAX_SDP_BYTES,
    check_servers,
    is_loopback,
    make_peer_connection,
    reachable_address,
)
from vidcodec.link.limits import AttemptLimit, ConnectionGuard, end_connections
from vidcodec.link.loop import LoopThread
from vidcodec.link.messages import Hello, check_hello
from vidcodec.link.options import LinkOptions, ReceiverHandlers
from vidcodec.link.receiver import Policy, ReceiverSession
from vidcodec.link.whip import PATH, Target, check_token, parse_listen

STALE_MS = 1500.0


class ReceiverServer:
    """Listens for a sender. Everything runs on a thread of its own; `close` ends it.

    Args:
        listen: `HOST:PORT`; port 0 takes a free one. Bind to 127.0.0.1 unless the other side is another machine.
        policy: our own hello, which a sender has to match, or a function that is given the sender's hello and returns
            ours, or raises PeerError with the reason to refuse it.
        handlers: events.
        token: the token a sender has to show; one of 128 bits is made when none is given.
        options: how links behave.
        cert, key: PEM files to serve https.
        max_peers: simultaneous senders.

    Raises:
        UsageError: the address cannot be listened on, or the token is unusable.
        InputError: the files of https cannot be used.
    """

    def __init__(
        self,
        listen: str,
        policy: Hello | Policy,
        handlers: ReceiverHandlers | None = None,
        *,
        token: str | None = None,
        options: LinkOptions | None = None,
        cert: Path | None = None,
        key: Path | None = None,
        max_peers: int = 1,
    ) -> None:
        self._host, self._port = parse_listen(listen)
        self._policy = policy if callable(policy) else _match(policy)
        self._handlers = handlers or ReceiverHandlers()
        self._options = options or LinkOptions()
        self._max_peers = max_peers
        check_servers(self._options.ice)
        self._limit = AttemptLimit()
        self._sessions: dict[str, ReceiverSession] = {}
        self._starting = 0
        self._tls = load_tls(cert, key)
        self.token = secrets.token_urlsafe(16) if token is None else check_token(token)
        self._loop = LoopThread("vidcodec-receiver-link")
        try:
            self._runner = self._loop.run(self._start())
        except OSError as error:
            self._loop.stop()
            # asyncio's own text repeats the address; numbers below zero are the resolver's.
            number = error.errno or 0
            reason = os.strerror(number).lower() if number > 0 else reason_of(error)
            raise UsageError(f"cannot listen on {listen}: {reason}; choose another --listen HOST:PORT") from error
        except BaseException:
            self._loop.stop()
            raise

    @property
    def port(self) -> int:
        """The TCP port that is listened on."""
        return self._port

    @property
    def url(self) -> str:
        """What the sender connects to, token included."""
        host = reachable_address(self._host)
        return Target("https" if self._tls else "http", host, self._port, PATH, self.token).url

    @property
    def command_line(self) -> str:
        """The command that the other side runs."""
        return f"python -m sender --connect '{self.url}'"

    def close(self) -> None:
        """Stop listening and end every session, without a goodbye where `ReceiverLink.close` said none."""
        if self._loop.running:
            try:
                self._loop.run(self._stop(), 10.0)
            finally:
                self._loop.stop()

    def __enter__(self) -> "ReceiverServer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def _start(self) -> web.AppRunner:
        app = web.Application(client_max_size=MAX_SDP_BYTES)
        app.router.add_post(PATH, self._post)
        app.router.add_delete(PATH + "/{session}", self._delete)
        # aiohttp logs a traceback, token included, for each request that is no HTTP.
        quiet = logging.getLogger("vidcodec.link.http")
        quiet.setLevel(logging.CRITICAL)
        runner = web.AppRunner(app, access_log=None, logger=quiet, handle_signals=False, shutdown_timeout=1.0)
        await runner.setup()
        try:
            await web.TCPSite(runner, self._host, self._port, ssl_context=self._tls, reuse_address=True).start()
        except BaseException:
            await runner.cleanup()
            raise
        self._port = runner.addresses[0][1]
        assert runner.server is not None  # set up above
        self._guard = asyncio.get_running_loop().create_task(ConnectionGuard(runner.server).run())
        return runner

    async def _stop(self) -> None:
        self._guard.cancel()
        await end_connections(self._runner)
        await asyncio.gather(*(session.finish() for session in list(self._sessions.values())))

    def _refuse(self, request: web.Request) -> web.Response | None:
        return refusal(request, self.token, self._limit)

    async def _post(self, request: web.Request) -> web.Response:
        refused = self._refuse(request)
        if refused is not None:
            return refused
        offer = await read_offer(request)
        if isinstance(offer, web.Response):
            return offer
        self._end_stale()
        if len(self._sessions) + self._starting >= self._max_peers:
            return web.Response(
                status=409,
                text="another sender is connected to this receiver\n",
                headers={"Retry-After": "2"},
            )
        self._starting += 1
        try:
            return await self._begin(offer, _is_local(request))
        except PeerError as error:
            return web.Response(status=400, text=f"{error}\n")
        finally:
            self._starting -= 1

    async def _begin(self, offer: str, loopback: bool) -> web.Response:
        pc = make_peer_connection(self._options.ice)
        session = ReceiverSession(
            pc, _NO_HELLO, self._options, policy=self._policy, handlers=self._handlers, loop=self._loop
        )
        try:
            answer = await session.negotiation.answer(offer, loopback)
        except BaseException:
            await session.finish()
            raise
        name = secrets.token_urlsafe(16)
        self._sessions[name] = session
        session.closed_callbacks.append(lambda closed: self._sessions.pop(name, None))
        session.expect_opened()
        return web.Response(
            status=201, text=answer, content_type="application/sdp", headers={"Location": f"{PATH}/{name}"}
        )

    async def _delete(self, request: web.Request) -> web.Response:
        refused = self._refuse(request)
        if refused is not None:
            return refused
        session = self._sessions.get(request.match_info["session"])
        if session is None:
            return web.Response(status=404, text="no such session\n")
        session.end(PeerError("the sender ended the session without a goodbye"))
        return web.Response(status=200)

    def _end_stale(self) -> None:
        """Make room for a sender that comes back before its dead session is noticed."""
        for session in list(self._sessions.values()):
            if session.silence_ms > STALE_MS and session.opened.done():
                session.end(PeerError("the sender fell silent and another one took its place"))


_NO_HELLO = Hello(0, "", "0" * 64)


def _match(ours: Hello) -> Policy:
    """The policy that accepts what matches our hello."""

    def policy(theirs: Hello) -> Hello:
        check_hello(ours, theirs)
        return ours

    return policy


def load_tls(cert: Path | None, key: Path | None) -> ssl.SSLContext | None:
    """What serves https with these PEM files; None without any.

    Raises:
        UsageError: only one is given.
        InputError: they cannot be read, or are no certificate with its key.
    """
    if cert is None and key is None:
        return None
    if cert is None or key is None:
        raise UsageError("https needs both --cert and --key")
    for option, path in (("--cert", cert), ("--key", key)):
        try:
            path.open("rb").close()
        except OSError as error:
            raise InputError(f"{option} {path}: {reason_of(error)}; give a PEM file") from error
    try:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(cert, key)
    except ssl.SSLError as error:
        strangers = error.reason == "KEY_VALUES_MISMATCH"
        reason = "the key is not this certificate's" if strangers else "no certificate and its key in PEM"
        raise InputError(f"--cert {cert}, --key {key}: {reason}") from error
    return context


def _is_local(request: web.Request) -> bool:
    """Whether a request came over the loopback interface."""
    name: Sequence[object] = (request.transport and request.transport.get_extra_info("sockname")) or ("",)
    return is_loopback(str(name[0]))
