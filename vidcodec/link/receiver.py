"""The receiving end of one session: packets are handed up as they come, acknowledged at once, judged later."""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from aiortc import RTCPeerConnection

from vidcodec.errors import DamagedPacket, PeerError
from vidcodec.link.acks import AckQueue
from vidcodec.link.facade import Link
from vidcodec.link.framing import Acks, FrameStatus, join_acks
from vidcodec.link.loop import LoopThread
from vidcodec.link.messages import Bye, Control, Hello, Refresh, Stats, to_json
from vidcodec.link.options import Frame, LinkOptions, ReceiverHandlers, ignore
from vidcodec.link.session import Session, clock_ms
from vidcodec.packet import Packet, unwrap

REMEMBERED_FRAMES = 256

Policy = Callable[[Hello], Hello]


class ReceiverSession(Session):
    """A session that receives frames."""

    def __init__(
        self,
        pc: RTCPeerConnection,
        hello: Hello,
        options: LinkOptions,
        *,
        policy: Policy,
        handlers: ReceiverHandlers,
        loop: LoopThread,
    ) -> None:
        super().__init__(pc, hello, options)
        self.handlers = handlers
        self.link = ReceiverLink(loop, self)
        self._policy = policy
        self._acks_due = AckQueue(options.ack_interval_ms)
        self._seen: OrderedDict[int, None] = OrderedDict()
        self._newest = 0
        self._ack_timer: Any = None

    def report(self, number: int, status: FrameStatus) -> None:
        """The decoder's verdict on a frame."""
        self._acks_due.judged(number, status, clock_ms())
        self._schedule_acks()

    def _opened_channels(self) -> None:
        """The sender speaks first."""

    def _ticked(self, now_ms: float) -> None:
        """Acknowledgements have their own timer."""

    def _greeted(self, hello: Hello) -> None:
        try:
            self.hello = self._policy(hello)
        except PeerError as error:
            self._call(self.handlers.on_refused, error)
            return self.refuse(error)
        self.send_control(self.hello)
        self.accept(hello)
        self.link.peer = hello
        self._newest = hello.first
        self.closed_callbacks.append(self.link.ended)
        self.closed_callbacks.append(lambda closed: self.handlers.on_closed(self.link, closed))
        self._call(self.handlers.on_open, self.link, hello)

    def _packets(self, packets: list[bytes]) -> None:
        now_ms = clock_ms()
        for packet in packets:
            try:
                header = Packet.from_bytes(packet).header
            except DamagedPacket as error:
                self._channels.complain("packet", str(error))
                continue
            number = unwrap(header.number, self._newest)
            self.counters.payload_bytes_received += len(packet)
            if number in self._seen:
                self.counters.frames_duplicated += 1
                self._acks_due.again(number, now_ms)
                continue
            self._seen[number] = None
            if len(self._seen) > REMEMBERED_FRAMES:
                self._seen.popitem(last=False)
            self._newest = max(self._newest, number)
            self.counters.frames_received += 1
            self._acks_due.arrived(number, now_ms)
            self._call(self.handlers.on_frame, self.link, Frame(number, packet, now_ms))
        self._schedule_acks()

    def _schedule_acks(self) -> None:
        """Send what is due, and come back when something will be."""
        if self._ack_timer is not None:
            self._ack_timer.cancel()
            self._ack_timer = None
        if self.closed.done():
            return
        now_ms = clock_ms()
        wait_ms = self._acks_due.due_in_ms(now_ms)
        if wait_ms == 0.0:
            entries = self._acks_due.take(now_ms)
            if entries:
                self.send_frames_message([join_acks(entries, now_ms)])
            wait_ms = self._acks_due.due_in_ms(now_ms)
        if wait_ms != float("inf"):
            self._ack_timer = self.opened.get_loop().call_later(wait_ms / 1000.0, self._schedule_acks)

    def _acks(self, acks: Acks) -> None:
        self._channels.complain("ack", "the sender acknowledged frames")

    def _message(self, message: Control) -> None:
        if isinstance(message, Stats):
            self._call(self.handlers.on_stats, self.link, message.payload)
        else:
            self._channels.complain("role", f"{type(message).__name__.lower()} message from a sender")

    def _said_bye(self, stats: Mapping[str, Any]) -> None:
        if self.handlers.on_bye is ignore:
            self._spawn(self.say_bye({}))
        else:
            self._call(self.handlers.on_bye, self.link, stats)

    def snapshot(self) -> dict[str, Any]:
        """Counts and clocks under webrtc-stats names."""
        counts = self.counts()
        rtt_ms = self.offset.rtt_ms
        counts["currentRoundTripTime"] = None if rtt_ms is None else rtt_ms / 1000.0
        counts["clockOffsetMs"] = self.offset.offset_ms
        return counts


class ReceiverLink(Link[ReceiverSession]):
    """A session from a sender, used from the program's own threads. Handed to `ReceiverHandlers`."""

    def __init__(self, loop: LoopThread, session: ReceiverSession) -> None:
        super().__init__(loop, session)
        self.peer: Hello | None = None

    def report(self, number: int, status: FrameStatus) -> None:
        """Tell the sender what the decoder made of a frame: OK, DAMAGED or MISSING_REFERENCE."""
        self._loop.call(self._session.report, number, status)

    def request_refresh(self, have: int | None = None, reason: str = "") -> None:
        """Ask for a frame that can be decoded from frame `have`, or from nothing."""
        message = Refresh(have, reason)
        to_json(message)
        self._loop.call(self._session.send_control, message)

    def close(self, stats: Mapping[str, Any] | None = None) -> Mapping[str, Any] | None:
        """Say goodbye with final statistics, or answer the sender's; the server goes on listening.

        Returns:
            The sender's final statistics, None when it did not say goodbye.
        """
        message = Bye(stats or {})
        to_json(message)
        if self._loop.running and self._closed is None:
            self._loop.run(self._session.say_bye(message.stats), self._session.options.bye_timeout_s + 5.0)
            self._over.wait(1.0)
        return self._peer_stats
