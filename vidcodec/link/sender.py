"""The sending end: frames go out while the window is open, acknowledgements come back."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from aiortc import RTCPeerConnection

from vidcodec.errors import PeerError
from vidcodec.link.estimator import BandwidthEstimator
from vidcodec.link.facade import Link
from vidcodec.link.flow import Flow
from vidcodec.link.framing import Acks
from vidcodec.link.ice import check_servers, is_loopback, make_peer_connection
from vidcodec.link.impair import Impairment
from vidcodec.link.loop import LoopThread
from vidcodec.link.messages import Bye, Control, Hello, Refresh, Stats, check_hello, to_json
from vidcodec.link.options import LinkOptions, SenderHandlers, ignore
from vidcodec.link.pacing import Spacing, Window, WireCap
from vidcodec.link.repairs import QUICK_MS
from vidcodec.link.session import Session, clock_ms
from vidcodec.link.whip import WhipClient, parse_url
from vidcodec.wire import wire_bytes

LOCAL_KBPS, REMOTE_KBPS = 10_000.0, 150.0
HIGHEST_KBPS = 50_000.0
FRAMES_SHARE = 0.9
"""Of `max_wire_kbps`, that frames are planned with: beats, statistics and SCTP's acknowledgements take the rest."""

COMPARE_S = 0.3


class SenderSession(Session):
    """A session that sends frames."""

    def __init__(
        self, pc: RTCPeerConnection, hello: Hello, options: LinkOptions, handlers: SenderHandlers, local: bool = False
    ) -> None:
        super().__init__(pc, hello, options)
        self.handlers = handlers
        open_path = local and options.impair is None
        rate_kbps = options.rate_kbps or (LOCAL_KBPS if open_path else REMOTE_KBPS)
        adaptive = not open_path if options.adaptive is None else options.adaptive
        most_kbps = FRAMES_SHARE * (options.max_wire_kbps or float("inf"))
        rate_kbps = min(rate_kbps, most_kbps)
        self.flow = Flow(
            Window(rate_kbps, options.horizon_ms),
            BandwidthEstimator(rate_kbps, max_kbps=min(most_kbps, HIGHEST_KBPS)) if adaptive else None,
            self.counters,
            options.repair,
            hello.first,
            cap=None if options.max_wire_kbps is None else WireCap(options.max_wire_kbps),
        )
        self.closed_callbacks.append(handlers.on_closed)
        self._repair_timer: asyncio.TimerHandle | None = None
        self._spacing = Spacing()

    def send_frames_message(self, datagrams: list[bytes]) -> None:
        """Send the datagrams of one message of the frames channel, as far apart as the path needs."""
        now_ms = clock_ms()
        sizes = [wire_bytes(len(datagram)) for datagram in datagrams]
        for datagram, at_ms in zip(datagrams, self._spacing.times(sizes, self.flow.known_kbps, now_ms), strict=True):
            if at_ms <= now_ms:
                self._send_datagram(datagram)
            else:
                loop = self.opened.get_loop()
                loop.call_later((at_ms - now_ms) / 1000.0, self._guarded(self._send_datagram), datagram)

    def _send_datagram(self, datagram: bytes) -> None:
        if not self.closed.done():
            super().send_frames_message([datagram])

    def _opened_channels(self) -> None:
        self.send_control(self.hello)

    async def wait_compared(self) -> None:
        """Wait for a ping over the path while it is empty, at most `COMPARE_S`: what frames take longer is a queue."""
        until_ms = clock_ms() + 1000.0 * COMPARE_S
        while self.offset.offset_ms is None and not self.closed.done() and clock_ms() < until_ms:
            await asyncio.sleep(0.005)

    def _greeted(self, hello: Hello) -> None:
        try:
            check_hello(self.hello, hello)
        except PeerError as error:
            return self.refuse(error)
        self.accept(hello)

    def _packets(self, packets: list[bytes]) -> None:
        self._channels.complain("frame", "the receiver sent a frame")

    def _acks(self, acks: Acks) -> None:
        now_ms = clock_ms()
        for news in self.flow.acknowledge(acks, now_ms, self.offset.offset_ms, self.offset.rtt_ms):
            self._call(self.handlers.on_ack, news)
        self._ticked(now_ms)

    def _ticked(self, now_ms: float) -> None:
        if self.flow.cap is not None:
            self.flow.settle(self.counters.snapshot(self._pc)["wireBytesSent"], now_ms)
        for number in self.flow.lost(now_ms):
            self._call(self.handlers.on_lost, number)
        self._repair()

    def _repair(self) -> None:
        """Send again what is due, and look again soon while something is missing."""
        if self._repair_timer is not None:
            self._repair_timer.cancel()
            self._repair_timer = None
        if self.closed.done():
            return
        now_ms = clock_ms()
        for datagrams in self.flow.resend(now_ms):
            self.send_frames_message(datagrams)
        if self.flow.missing(now_ms):
            self._repair_timer = self.opened.get_loop().call_later(QUICK_MS / 1000.0, self._guarded(self._repair))

    def _message(self, message: Control) -> None:
        if isinstance(message, Refresh):
            self._call(self.handlers.on_refresh, message)
        elif isinstance(message, Stats):
            self._call(self.handlers.on_stats, message.payload)

    def _said_bye(self, stats: Mapping[str, Any]) -> None:
        if self.handlers.on_bye is ignore:
            self._spawn(self.say_bye({}))
        else:
            self._call(self.handlers.on_bye, stats)

    def snapshot(self) -> dict[str, Any]:
        """Counts, window and clocks under webrtc-stats names."""
        return self.counts() | self.flow.figures() | {"clockOffsetMs": self.offset.offset_ms}


class SenderLink(Link[SenderSession]):
    """A session to a receiver, used from the program's own threads. Made by `connect`."""

    def __init__(self, loop: LoopThread, session: SenderSession, whip: WhipClient, peer: Hello) -> None:
        super().__init__(loop, session)
        self.peer = peer
        self._whip = whip
        loop.call(self._watch)

    @property
    def can_send(self) -> bool:
        """Whether `send_frame` would take a frame now: ask before encoding one."""
        flow = self._session.flow
        return self._closed is None and flow.is_open and not flow.capped(clock_ms())

    @property
    def doubtful(self) -> bool:
        """Whether frames are missing though they were sent again: predict from what surely arrived."""
        return self._session.flow.doubtful(clock_ms())

    def send_frame(self, number: int, packet: bytes, repeats: Sequence[bytes] = ()) -> bool:
        """Send one frame.

        Args:
            number: full frame count, growing; its lower ten bits are the packet's own number.
            packet: the bytes of the packet.
            repeats: earlier packets, oldest first, to carry again as far as they fit into the same datagram. Without
                any the link repairs losses by itself (`LinkOptions.repair`).

        Returns:
            False when it was refused, because the window is closed or the session is over: the frame is not sent, and
            the coder's state must not advance to it.
        """
        return self.send_frames([(number, packet)], repeats)

    def send_frames(self, frames: Sequence[tuple[int, bytes]], repeats: Sequence[bytes] = ()) -> bool:
        """Send several frames, oldest first, in one message. All or none."""
        if self._closed is not None:
            return False
        datagrams = self._session.flow.take(frames, repeats, clock_ms())
        return datagrams is not None and self._loop.call(self._session.send_frames_message, datagrams)

    def budget_bytes(self, fps: float) -> int:
        """Size that packets may have now at `fps` of them a second: what the path carries, less headers and repeats."""
        return self._session.flow.budget_bytes(fps, clock_ms())

    def unanswered(self) -> None:
        """Say that nothing was heard of the first frame for long; an adaptive link takes the path for narrower."""
        self._session.flow.unanswered()

    def set_rate_kbps(self, rate_kbps: float) -> None:
        """Say what the path carries; an adaptive link goes on from there."""
        self._session.flow.set_rate_kbps(rate_kbps)

    def set_impairment(self, impairment: Impairment) -> None:
        """Change the bad network between the two ends, where `LinkOptions.impair` put one."""
        relay = self._session.negotiation.relay
        if relay is not None:
            self._loop.call(relay.change, impairment)

    def close(self, stats: Mapping[str, Any] | None = None) -> Mapping[str, Any] | None:
        """Say goodbye with final statistics and end everything; at most `bye_timeout_s` plus one second.

        Returns:
            The receiver's final statistics, None when it did not answer. Also when called again, or after the end.
        """
        message = Bye(stats or {})
        to_json(message)
        if self._loop.running:
            try:
                self._loop.run(self._shut(message.stats), self._session.options.bye_timeout_s + 5.0)
            finally:
                self._loop.stop()
        self._over.wait(1.0)
        return self._peer_stats

    def __enter__(self) -> "SenderLink":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _watch(self) -> None:
        if self._session.closed.done():
            self.ended(self._session.closed.result())
        else:
            self._session.closed_callbacks.insert(0, self.ended)

    async def _shut(self, stats: Mapping[str, Any]) -> None:
        await self._session.say_bye(stats)
        await self._session.finish()
        await self._whip.delete()


def connect(
    url: str,
    hello: Hello,
    options: LinkOptions | None = None,
    handlers: SenderHandlers | None = None,
) -> SenderLink:
    """Connect to a receiver by the URL that it printed.

    Args:
        url: `http[s]://HOST:PORT/whip#token=TOKEN`.
        hello: what this side will send.
        options: how the link behaves.
        handlers: events.

    Raises:
        UsageError: the URL is none.
        PeerError: nobody listens there, the token is refused, another sender is connected, versions or weights
            differ, or no network path works. One line that says which.
    """
    options = options or LinkOptions()
    target = parse_url(url)
    check_servers(options.ice)
    loop = LoopThread("vidcodec-sender-link")
    try:
        whip = WhipClient(target, options.ca_file, options.ice.exchange_timeout_s)
        return loop.run(_connect(loop, whip, hello, options, handlers or SenderHandlers()))
    except BaseException:
        loop.stop()
        raise


async def _connect(
    loop: LoopThread, whip: WhipClient, hello: Hello, options: LinkOptions, handlers: SenderHandlers
) -> SenderLink:
    pc = make_peer_connection(options.ice)
    local = is_loopback(whip.target.host)
    session = SenderSession(pc, hello, options, handlers, local)
    session.closed_callbacks.clear()  # until it is open, the exception says it all
    try:
        offer = await session.negotiation.offer(local)
        await session.negotiation.take_answer(await whip.offer(offer))
        peer = await session.wait_opened()
        session.closed_callbacks.append(handlers.on_closed)
        await session.wait_compared()
    except BaseException:
        await session.finish()
        await whip.delete()
        raise
    return SenderLink(loop, session, whip, peer)
