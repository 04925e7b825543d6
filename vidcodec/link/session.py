"""One session between two peers: hello, heartbeat, goodbye. Lives on the event loop's thread.

`SenderSession` and `ReceiverSession` add what is theirs; the threads of the program use the facades in `sender` and
`receiver`.
"""

import asyncio
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

from aiortc import RTCPeerConnection

from vidcodec.errors import PeerError
from vidcodec.link.channels import Channels
from vidcodec.link.counters import Counters
from vidcodec.link.framing import Acks
from vidcodec.link.messages import Bye, Control, Hello, PeerRefused, Ping, Pong, Stats
from vidcodec.link.negotiation import Negotiation
from vidcodec.link.options import Closed, LinkOptions
from vidcodec.link.pacing import ClockOffset, Heartbeat

log = logging.getLogger("vidcodec.link")

TICK_S = 0.05
FLUSH_S = 0.5
ANSWER_S = 2.5  # an answer to a goodbye that is lost is sent again after a second or two


def clock_ms() -> float:
    """This end's clock: milliseconds of `time.monotonic`."""
    return time.monotonic() * 1000.0


class Session(ABC):
    """What both ends of a session do.

    Attributes:
        opened: future of the peer's accepted hello; PeerError when there will be none.
        closed: future of how it ended.
        counters: bytes and messages so far.
        offset: estimate of the peer's clock.
        negotiation: offer, answer and fingerprint code.
    """

    def __init__(self, pc: RTCPeerConnection, hello: Hello, options: LinkOptions) -> None:
        loop = asyncio.get_running_loop()
        self.hello = hello
        self.options = options
        self.opened: asyncio.Future[Hello] = loop.create_future()
        self.closed: asyncio.Future[Closed] = loop.create_future()
        self.closed_callbacks: list[Callable[[Closed], object]] = []
        self.counters = Counters()
        self.offset = ClockOffset()
        self.negotiation = Negotiation(pc, options)
        self._pc = pc
        self._peer_bye: Bye | None = None
        self._bye_arrived = asyncio.Event()
        self._bye_sent = False
        self._heartbeat = Heartbeat(clock_ms(), dead_ms=options.dead_after_ms)
        self._tasks: set[asyncio.Task[None]] = set()
        self._channels = Channels(pc, self.counters, self._heard)
        self._channels.frames.on("message", self._guarded(self._on_frames))
        self._channels.control.on("message", self._guarded(self._on_control))
        self._channels.control.on("open", self._on_open)
        pc.on("connectionstatechange", self._on_state)
        pc.on(
            "datachannel",
            lambda channel: self.end(PeerError("peer opened a channel that is not in the protocol")),
        )
        self._tick_task = loop.create_task(self._keep_ticking())
        # Nobody may be waiting for this one when it fails.
        self.opened.add_done_callback(lambda future: future.cancelled() or future.exception())

    # What the two ends do differently.

    @abstractmethod
    def _greeted(self, hello: Hello) -> None:
        """The peer's hello arrived: `accept` or `refuse`."""

    @abstractmethod
    def _packets(self, packets: list[bytes]) -> None:
        """A whole message of packets arrived."""

    @abstractmethod
    def _acks(self, acks: Acks) -> None:
        """Acknowledgements arrived."""

    @abstractmethod
    def _message(self, message: Control) -> None:
        """A control message of an open session arrived that is not handled here."""

    @abstractmethod
    def _said_bye(self, stats: Mapping[str, Any]) -> None:
        """The peer ends the session."""

    @abstractmethod
    def _ticked(self, now_ms: float) -> None:
        """Called twenty times a second."""

    @abstractmethod
    def snapshot(self) -> dict[str, Any]:
        """Counts and clocks under webrtc-stats names."""

    # Sending.

    def send_control(self, message: Control) -> None:
        """Send one control message; ignored when the channel is gone."""
        self._channels.send_control(message)

    def send_frames_message(self, datagrams: list[bytes]) -> None:
        """Send the datagrams of one message of the frames channel; ignored when the channel is gone."""
        if self._channels.send_datagrams(datagrams):
            self._heartbeat.spoke(clock_ms())

    # Life cycle.

    async def wait_opened(self) -> Hello:
        """Wait for the peer's hello; bounded by the time to connect.

        Raises:
            PeerError: refused, lost, or too late.
        """
        limit_s = self.options.ice.connect_timeout_s
        try:
            return await asyncio.wait_for(asyncio.shield(self.opened), limit_s)
        except TimeoutError as error:
            raise PeerError(
                f"no connection to the peer within {limit_s:g} s (state {self._pc.connectionState}): is UDP between "
                "the two machines blocked? A TURN server helps then"
            ) from error

    def accept(self, hello: Hello) -> None:
        """The peer fits: the session is open."""
        self._bye_sent = False
        if not self.opened.done():
            self.opened.set_result(hello)

    def refuse(self, error: PeerError) -> None:
        """The peer does not fit: tell it why and end."""
        self.send_control(Bye(error=str(error)[:300]))
        self._bye_sent = True
        if not self.opened.done():
            self.opened.set_exception(error)
        self._spawn(self._end_after_flush(error))

    async def say_bye(self, stats: Mapping[str, Any]) -> Closed:
        """End the session in order: exchange final statistics, then close. Safe to call again or after the end."""
        if not self.closed.done() and not self._bye_sent:
            self.send_control(Bye(stats))
            self._bye_sent = True
            if self._peer_bye is None:
                try:
                    await asyncio.wait_for(self._bye_arrived.wait(), self.options.bye_timeout_s)
                except TimeoutError:
                    log.debug("peer did not answer the goodbye within %g s", self.options.bye_timeout_s)
            else:
                await self._flush(ANSWER_S)
            self.end(None)
        return await asyncio.shield(self.closed)

    def end(self, error: PeerError | None) -> None:
        """The session is over, with an error if it was lost. Idempotent."""
        if self.closed.done():
            return
        stats = None if self._peer_bye is None else self._peer_bye.stats
        in_order = error is None or (self._peer_bye is not None and not self._peer_bye.error)
        closed = Closed("bye", None, stats) if in_order else Closed("lost", error, stats)
        self.counters.freeze_wire(self._pc)
        self.closed.set_result(closed)
        if not self.opened.done():
            self.opened.set_exception(error or PeerError("peer ended the session before it began"))
        for callback in self.closed_callbacks:
            self._call(callback, closed)
        self._spawn(self._close_connection())

    async def finish(self) -> None:
        """End if need be and wait until nothing of this session runs any more."""
        self.end(None)
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def counts(self) -> dict[str, Any]:
        """All counters under webrtc-stats names, those of the impairment relay included."""
        relay = self.negotiation.relay
        return self.counters.snapshot(self._pc) | ({} if relay is None else relay.stats)

    def expect_opened(self) -> None:
        """End the session if the peer's hello does not come in time."""
        self._spawn(self._end_unopened())

    @property
    def silence_ms(self) -> float:
        """How long nothing was heard from the peer."""
        return self._heartbeat.silence_ms(clock_ms())

    # Private.

    async def _end_unopened(self) -> None:
        try:
            await self.wait_opened()
        except PeerError as error:
            self.end(error)

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _call(self, handler: Callable[..., object], *args: object) -> None:
        """Call a handler of the program; its mistakes must not end the session."""
        try:
            handler(*args)
        except Exception as error:  # whatever it is, it is not the link's
            log.error(
                "handler %s failed: %s: %s",
                getattr(handler, "__name__", handler),
                type(error).__name__,
                error,
            )
            log.debug("traceback", exc_info=True)

    def _guarded(self, work: Callable[..., object]) -> Callable[..., None]:
        """`work`, whose failure ends the session instead of going to a library or a timer that would hide it."""

        def guarded(*args: object) -> None:
            try:
                work(*args)
            except Exception as error:  # a mistake of ours: nothing that a peer sends may raise
                self._failed(error)

        return guarded

    def _failed(self, error: Exception) -> None:
        """The link itself made a mistake: said and over, so that the program can connect again."""
        if self.closed.done():
            return
        log.error("the link failed and ends this session: %s: %s", type(error).__name__, error)
        log.debug("traceback", exc_info=error)
        self.end(PeerError(f"the link itself failed ({type(error).__name__}: {error})"))

    def _on_open(self) -> None:
        self._heard()
        self._opened_channels()

    @abstractmethod
    def _opened_channels(self) -> None:
        """Both channels are open."""

    def _on_state(self) -> None:
        if self._pc.connectionState in ("failed", "closed"):
            self.end(PeerError("connection to the peer was lost: it closed, or no path to it works"))

    def _heard(self) -> None:
        self._heartbeat.heard(clock_ms())

    def _on_frames(self, data: bytes | str) -> None:
        now_ms = clock_ms()
        self._heartbeat.heard(now_ms)
        self.counters.datagram_received(len(data))
        if self.closed.done() or not self.opened.done():
            return
        content = self._channels.read_frames(data, now_ms)
        if isinstance(content, Acks):
            self._acks(content)
        elif content is not None:
            self._packets(content)

    def _on_control(self, data: bytes | str) -> None:
        now_ms = clock_ms()
        self._heartbeat.heard(now_ms)
        self.counters.control_received(len(data))
        if self.closed.done():
            return
        message = self._channels.read_control(data)
        if message is None:
            return
        if isinstance(message, Bye):
            self._on_bye(message)
        elif isinstance(message, Ping):
            self.send_control(Pong(message.sent_ms, now_ms, clock_ms()))
        elif isinstance(message, Pong):
            self.offset.add(message.sent_ms, message.received_ms, message.answered_ms, now_ms)
        elif isinstance(message, Hello):
            if self.opened.done():
                return self._channels.complain("hello", "a second hello")
            self._greeted(message)
        elif self.opened.done():
            if isinstance(message, Stats):
                self.counters.stats_messages_received += 1
            self._message(message)
        else:
            self._channels.complain("early", "a message before hello")

    def _on_bye(self, bye: Bye) -> None:
        if self._peer_bye is not None:
            return
        self._peer_bye = bye
        self._bye_arrived.set()
        if bye.error or not self.opened.done():
            self.end(PeerRefused(f"refused by the peer: {bye.error or 'it ended the session'}"))
        elif not self._bye_sent:
            self._said_bye(bye.stats)
            self._spawn(self._end_unanswered())

    async def _end_unanswered(self) -> None:
        """The program should answer a goodbye with its own; if it does not, the session still ends."""
        await asyncio.wait([self.closed], timeout=self.options.bye_timeout_s)
        await self.say_bye({})

    async def _flush(self, timeout_s: float = FLUSH_S) -> None:
        """Wait until the peer closes after our last message, which proves that it has it; bounded."""
        await asyncio.wait([self.closed], timeout=timeout_s)

    async def _end_after_flush(self, error: PeerError) -> None:
        await self._flush()
        self.end(error)

    async def _keep_ticking(self) -> None:
        try:
            await self._tick()
        except Exception as error:  # without its ticks a session would neither notice losses nor its own end
            self._failed(error)

    async def _tick(self) -> None:
        while not self.closed.done():
            now_ms = clock_ms()
            self._channels.passed(TICK_S)
            if self._channels.are_open:
                if self._heartbeat.dead(now_ms):
                    self.end(PeerError(f"peer is silent for {self._heartbeat.silence_ms(now_ms) / 1000.0:.1f} s"))
                    return
                if self._heartbeat.due(now_ms):
                    self.send_control(Ping(now_ms))
            self._ticked(now_ms)
            await asyncio.sleep(TICK_S)

    async def _close_connection(self) -> None:
        self._tick_task.cancel()
        await asyncio.gather(self._tick_task, return_exceptions=True)
        try:
            await asyncio.wait_for(self._pc.close(), 2.0)
        except (TimeoutError, ConnectionError):
            log.debug("closing the connection took too long")
        self._channels.close()
        self.negotiation.close()
