"""The sender's book: which frames are under way, what came of them, what may go next. No socket; told the time.

Locked, because frames come from the program's threads and acknowledgements from the link's.
"""

import threading
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from vidcodec.link.acks import LOSING_MS
from vidcodec.link.counters import Counters
from vidcodec.link.estimator import BandwidthEstimator
from vidcodec.link.framing import (
    CLOCK_WRAP_MS,
    MAX_DATAGRAM_BYTES,
    MAX_PACKETS,
    AckEntry,
    Acks,
    FrameStatus,
    group_packets,
    join_packets,
    split_message,
)
from vidcodec.link.options import Acknowledgement
from vidcodec.link.pacing import Flight, Window, WireCap
from vidcodec.link.repairs import (
    DOUBT,
    DOUBT_LARGE,
    MAX_RESENDS,
    SHORT_AGAIN_MS,
    SHORT_RTT_MS,
    USEFUL_MS,
    Repairs,
)
from vidcodec.packet import NUMBERS, unwrap
from vidcodec.wire import wire_bytes

REMEMBERED_FRAMES = NUMBERS // 2
REPEAT_AFTER_LOSS_MS = 8000.0
"""With 3 s, a path that loses one datagram in fifty froze twice as often."""

MAX_DEPTH = 3


@dataclass(slots=True)
class _Sent:
    """A frame that left.

    `wire_bytes` is 0 for one that shared the message of a later one, whose size is `message_bytes` for all in it;
    `repeated_with` are the later frames whose messages carried it again; `lost` stays when a repair arrives.
    `fragments_id` is the message's where the frame takes several datagrams.
    """

    sent_ms: float
    wire_bytes: int
    packet: bytes
    message_bytes: int
    fragments_id: int | None
    status: FrameStatus | None = None
    repeated_with: list[int] = field(default_factory=list)
    resends: int = 0
    resent_ms: float = 0.0
    lost: bool = False
    queued_ms: float = 0.0


class Flow:
    """Takes frames while the window is open, and reads acknowledgements.

    Where a round trip is short, what is missing is sent again at once (`Repairs`). Where it is long, by distance or
    because the path is narrow, that would come too late: after a loss the packets of the message before then ride along
    in each message as far as they fit into the datagram, until no message was lost for eight seconds. Frames that are
    lost nevertheless make it two messages, then three.
    """

    def __init__(
        self,
        window: Window,
        estimator: BandwidthEstimator | None,
        counters: Counters,
        repair: str = "auto",
        first: int = 0,
        *,
        cap: WireCap | None = None,
    ) -> None:
        self.window = window
        self.cap = cap
        self.estimator = estimator
        self._counters = counters
        self._repair = repair
        self._repairs = Repairs()
        self._lock = threading.Lock()
        self._sent: OrderedDict[int, _Sent] = OrderedDict()
        self._newest = first
        self._previous: deque[Sequence[tuple[int, bytes]]] = deque(maxlen=MAX_DEPTH)
        self._depth = 1
        self._late = False
        self._message_id = 0
        self._loss_ms = float("-inf")
        self._arrival_ms: float | None = None
        self._acknowledged = -1
        self._covered_ms = float("-inf")

    @property
    def is_open(self) -> bool:
        """Whether a frame would be taken now."""
        with self._lock:
            return self.window.is_open

    def capped(self, now_ms: float) -> bool:
        """Whether a frame would exceed what may be put on the wire (`max_wire_kbps`)."""
        with self._lock:
            return self.cap is not None and self.cap.full(now_ms)

    def settle(self, total_bytes: int, now_ms: float) -> None:
        """So many bytes have crossed the wire in all, frames and everything else."""
        with self._lock:
            if self.cap is not None:
                self.cap.settle(total_bytes, now_ms)

    def figures(self) -> dict[str, float]:
        """What window and estimator stand at, under webrtc-stats names."""
        with self._lock:
            window, estimator = self.window, self.estimator
            return {
                "bytesInFlight": window.in_flight_bytes,
                "currentRoundTripTime": window.smoothed_rtt_ms / 1000.0,
                "availableOutgoingBitrate": window.rate_kbps * 1000.0,
                "fractionLost": 0.0 if estimator is None else estimator.loss,
                "queueDelayMs": 0.0 if estimator is None else estimator.detector.queue_ms,
            }

    def set_rate_kbps(self, rate_kbps: float) -> None:
        """Take a rate from outside."""
        with self._lock:
            self.window.rate_kbps = rate_kbps
            if self.estimator is not None:
                self.estimator.rate_kbps = rate_kbps

    @property
    def known_kbps(self) -> float:
        """What the path carries at least, as far as frames proved it."""
        with self._lock:
            return self._known_kbps

    def unanswered(self) -> None:
        """Nothing is heard of a call's first frame: the path is far narrower than it was taken for."""
        with self._lock:
            if self.estimator is not None:
                self.estimator.unanswered()
                self.window.rate_kbps = self.estimator.rate_kbps

    def budget_bytes(self, fps: float, now_ms: float) -> int:
        """Size a packet may have for `fps` of them a second to fit the rate, headers and repeats taken off; >= 0."""
        with self._lock:
            share = (self.window.rate_kbps * 125.0 - self._repairs.bytes_per_s(now_ms)) / fps - wire_bytes(1)
            return max(0, int(share / (1 + (self._depth if self._repeating(now_ms) else 0))))

    def take(self, frames: Sequence[tuple[int, bytes]], repeats: Sequence[bytes], now_ms: float) -> list[bytes] | None:
        """Take frames for sending, oldest first: the datagrams to send, None when the window is closed."""
        packets = [packet for _, packet in frames]
        message = join_packets(packets)
        with self._lock:
            if not self.window.is_open or (self.cap is not None and self.cap.full(now_ms)):
                self._counters.frames_refused += len(frames)
                return None
            newest = frames[-1][0]
            previous = (frame for message in self._previous for frame in message)
            earlier = {packet: number for number, packet in previous if number in self._sent}
            riding = self._riding(now_ms)
            for packet in reversed(list(repeats) or self._due_repeats(now_ms) or list(riding)):
                if len(packets) == MAX_PACKETS or len(message) + len(packet) + 3 > MAX_DATAGRAM_BYTES:
                    break
                packets.insert(0, packet)
                message = join_packets(packets)
                if packet in riding:
                    again = self._sent[riding[packet]]
                    again.resends += 1
                elif packet in earlier:
                    self._sent[earlier[packet]].repeated_with.append(newest)
            datagrams = split_message(message, self._message_id)
            fragments_id = self._message_id if len(datagrams) > 1 and len(packets) == 1 else None
            self._message_id += 1
            whole = sum(wire_bytes(len(datagram)) for datagram in datagrams)
            if self.cap is not None:
                self.cap.frame(whole, now_ms)
            for number, packet in frames:
                size = whole if number == newest else 0
                self.window.sent(Flight(number, size, now_ms))
                self._sent[number] = _Sent(now_ms, size, packet, whole, fragments_id, queued_ms=self._queued_ms)
            self._repairs.sent(now_ms)
            while len(self._sent) > REMEMBERED_FRAMES:
                self._sent.popitem(last=False)
            self._newest = max(self._newest, newest)
            self._previous.append(frames)
            self._counters.frames_sent += len(frames)
            self._counters.frames_repeated += len(packets) - len(frames)
            self._counters.payload_bytes_sent += sum(map(len, packets))
        return datagrams

    def acknowledge(
        self, acks: Acks, now_ms: float, offset_ms: float | None, ping_ms: float | None = None
    ) -> list[Acknowledgement]:
        """Read acknowledgements; returns what is news in them.

        Args:
            acks: as they came.
            now_ms: now.
            offset_ms: the peer's clock minus ours, None if it is not known.
            ping_ms: round trip of the ping that told it.
        """
        news = []
        with self._lock:
            self._late = self.window.smoothed_rtt_ms > (SHORT_AGAIN_MS if self._late else SHORT_RTT_MS)
            self._covered_ms = max(self._covered_ms, self._repairs.covered_ms(now_ms, self.window.smoothed_rtt_ms))
            arrivals = {unwrap(entry.number, self._newest): entry.received_ms for entry in acks.entries}
            for entry in acks.entries:
                number = unwrap(entry.number, self._newest)
                sent = self._sent.get(number)
                if sent is None:
                    self._counters.acks_unknown += 1
                    continue
                if sent.status is not None and entry.status <= sent.status:
                    continue
                first, sent.status = sent.status is None, entry.status
                self._acknowledged = max(self._acknowledged, number)
                held_ms = (acks.sent_ms - entry.received_ms) % CLOCK_WRAP_MS
                rtt_ms = network_ms = None
                if first:
                    self._repairs.heard(now_ms)
                    self._counters.frames_acknowledged += 1
                    rescued = any(arrivals.get(later) == entry.received_ms for later in sent.repeated_with)
                    flight = self.window.acknowledged(number, now_ms, None if sent.resends else held_ms)
                    if flight is not None and not sent.resends:
                        rtt_ms = max(now_ms - flight.sent_ms - held_ms, 0.0)
                    if offset_ms is not None:
                        late_ms = entry.received_ms - offset_ms - sent.sent_ms
                        network_ms = (late_ms + CLOCK_WRAP_MS / 2) % CLOCK_WRAP_MS - CLOCK_WRAP_MS / 2
                    queue_ms = None if network_ms is None or ping_ms is None else network_ms - 0.5 * ping_ms
                    self._estimate(entry, sent, rescued, now_ms, queue_ms)
                news.append(Acknowledgement(number, entry.status, rtt_ms, network_ms))
        return news

    def lost(self, now_ms: float) -> list[int]:
        """Frames given up since the last call, oldest first."""
        with self._lock:
            gone = self.window.lost(now_ms)
            self._counters.frames_lost += len(gone)
            for number in gone:
                sent = self._sent.get(number)
                if sent is not None and sent.repeated_with:
                    self._depth = min(self._depth + 1, MAX_DEPTH)
                if sent is None or not sent.resends:  # else it was counted when it was first sent again
                    self._message_lost(now_ms)
            if self.estimator is not None:
                self.window.rate_kbps = self.estimator.rate_kbps
            return gone

    def resend(self, now_ms: float) -> list[list[bytes]]:
        """What is missing and due to be sent again: the datagrams of each message, none for nothing."""
        if self._repair not in ("auto", "resend"):
            return []
        with self._lock:
            if self._slow:
                return []
            missing = self._missing(now_ms)
            # A path that loses nothing is narrow where it is silent: more bytes would not help.
            losing = now_ms - self._loss_ms < LOSING_MS
            least_ms = self.window.in_flight_bytes * 8.0 / self._known_kbps
            silent = losing and self._repairs.silent(now_ms, self._backlog_ms, least_ms)
            rtt_ms = self.window.smoothed_rtt_ms
            due = []
            for number, sent in missing:
                gap = self._proven_lost(number, sent, losing, now_ms)
                if self._repairs.due(
                    sent.sent_ms, sent.resent_ms, sent.resends, now_ms, rtt_ms, gap=gap, silent=silent
                ):
                    due.append((number, sent))
            messages: list[list[bytes]] = []
            spent = 0
            for group in group_packets([sent.packet for _, sent in due]):
                # With the same id the receiver joins the fragments that it has with those that come again.
                known = due[spent][1].fragments_id if len(group) == 1 else None
                datagrams = split_message(join_packets(group), self._message_id if known is None else known)
                size = sum(wire_bytes(len(datagram)) for datagram in datagrams)
                if not self._repairs.allow(size, self.window.rate_kbps, now_ms):
                    break
                self._message_id += 1
                messages.append(datagrams)
                for _, sent in due[spent : spent + len(group)]:
                    sent.resends, sent.resent_ms = sent.resends + 1, now_ms
                    sent.queued_ms = self._queued_ms + self._takes_ms(size)
                spent += len(group)
                self._counters.frames_repeated += len(group)
                self._counters.messages_repeated += 1
                self._counters.payload_bytes_sent += sum(map(len, group))
            return messages

    def _proven_lost(self, number: int, sent: _Sent, losing: bool, now_ms: float) -> bool:
        """Whether what was sent last of a missing frame is surely lost.

        A later frame arrived, or, on a path that loses, an acknowledgement came that was written after this was due.
        """
        # The round trip has the time that a usual message takes, and the queue that it meets.
        more_bytes = max(0.0, sent.message_bytes - self.window.recent_bytes)
        late_ms = max(self._takes_ms(more_bytes), sent.queued_ms)
        if not sent.lost and (number < self._acknowledged or (losing and sent.sent_ms + late_ms < self._covered_ms)):
            sent.lost = True
            before = self._sent.get(number - 1)
            self._repairs.lost(before is not None and before.lost)
            if not sent.resends:
                self._message_lost(now_ms)
        return sent.lost and (not sent.resends or (losing and sent.resent_ms + late_ms < self._covered_ms))

    def _riding(self, now_ms: float) -> dict[bytes, int]:
        """Packets that were sent again, once or in vain, and ride along with the next frame, oldest first."""
        if self._repair not in ("auto", "resend") or self._slow:
            return {}
        answer_ms = self.window.smoothed_rtt_ms
        return {
            sent.packet: number
            for number, sent in self._missing(now_ms)
            if sent.resends == 1 or (1 < sent.resends < MAX_RESENDS and now_ms - sent.resent_ms >= answer_ms)
        }

    def missing(self, now_ms: float) -> bool:
        """Whether frames are under way that may have to be sent again."""
        with self._lock:
            return bool(self._missing(now_ms))

    def doubtful(self, now_ms: float) -> bool:
        """Whether something is missing that should be there by now: better to predict from what surely arrived."""
        with self._lock:
            late_ms = self.window.smoothed_rtt_ms + 2.2 * self._repairs.interval_ms + 0.5 * self._backlog_ms
            return any(
                sent.resends >= (DOUBT if sent.fragments_id is None else DOUBT_LARGE)
                or (number < self._acknowledged and now_ms - sent.sent_ms > late_ms)
                for number, sent in self._missing(now_ms)
            )

    def _missing(self, now_ms: float) -> list[tuple[int, _Sent]]:
        """Frames that nobody acknowledged and that are still of use, oldest first."""
        found = []
        for number, sent in reversed(self._sent.items()):
            if sent.status is FrameStatus.OK or now_ms - sent.sent_ms > USEFUL_MS:
                break  # a later frame was decoded, so that this one would be a step back in time
            if sent.status is None:
                found.append((number, sent))
        return found[::-1]

    @property
    def _slow(self) -> bool:
        """Whether what is sent again arrives too late."""
        return self._repair == "auto" and self._late

    @property
    def _backlog_ms(self) -> float:
        """How long the path needs for what is under way, at the rate that frames may take."""
        return self._takes_ms(self.window.in_flight_bytes)

    def _takes_ms(self, size: float) -> float:
        """How long so many bytes take the path, at the rate that frames may take."""
        return size * 8.0 / max(self.window.rate_kbps, 1.0)

    @property
    def _known_kbps(self) -> float:
        return max(1.0, self.window.rate_kbps if self.estimator is None else self.estimator.known_kbps)

    @property
    def _queued_ms(self) -> float:
        """How much later than usual what leaves now arrives, by what is under way before it."""
        return max(0.0, self._backlog_ms - self.window.smoothed_rtt_ms)

    def _due_repeats(self, now_ms: float) -> list[bytes]:
        """Packets of the last messages, oldest first, if messages are being lost and nobody said yet that they
        arrived."""
        if not self._repeating(now_ms):
            return []
        last = [frame for message in list(self._previous)[-self._depth :] for frame in message]
        return [packet for number, packet in last if number in self._sent and self._sent[number].status is None]

    def _repeating(self, now_ms: float) -> bool:
        wanted = self._repair == "repeat" or self._slow
        if wanted and now_ms - self._loss_ms <= REPEAT_AFTER_LOSS_MS:
            return True
        self._depth = 1
        return False

    def _estimate(
        self, entry: AckEntry, sent: _Sent, rescued: bool, now_ms: float, queue_ms: float | None = None
    ) -> None:
        """Feed the estimator; a frame that only its repeat saved says nothing of delay, but of loss."""
        if sent.resends:
            self._counters.frames_rescued += 1
        elif rescued:
            self._counters.frames_rescued += 1
            self._message_lost(now_ms)
        elif self.estimator is not None and sent.wire_bytes:
            if self._arrival_ms is None:
                self._arrival_ms = entry.received_ms
            # The peer's count of 0.1 ms ticks wraps every five days; this one goes on.
            step_ms = (entry.received_ms - self._arrival_ms + CLOCK_WRAP_MS / 2) % CLOCK_WRAP_MS - CLOCK_WRAP_MS / 2
            self._arrival_ms += step_ms
            self.estimator.acknowledged(sent.sent_ms, self._arrival_ms, sent.wire_bytes, now_ms, queue_ms=queue_ms)

    def _message_lost(self, now_ms: float) -> None:
        self._loss_ms = now_ms
        if self.estimator is not None:
            self.estimator.lost(now_ms)
