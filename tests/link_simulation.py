"""A whole call over a simulated path: the real flow, window, estimator, repairs, references, cadence and rate control,
told a time that nobody waits for. Packets have the sizes that model `s` gave the sample clip at five qualities, by
their place in its pattern of eight frames."""

import heapq
import itertools
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from sender.backlog import DecoderPace
from sender.beginning import FirstFrames
from sender.cadence import (
    LARGE,
    Cadence,
    CadenceChooser,
    FrameCap,
    Headroom,
    Thinner,
    after_frame,
    needed_bytes,
)
from sender.references import References
from sender.telling import EVERY_TICKS, MESSAGE_BYTES, ROW_BYTES, SHARE, WIDE_KBPS, rows_within
from vidcodec.bench.callfigures import freezes
from vidcodec.codec import State
from vidcodec.link.acks import AckQueue
from vidcodec.link.counters import IP_UDP_BYTES, Counters
from vidcodec.link.estimator import BandwidthEstimator
from vidcodec.link.flow import Flow
from vidcodec.link.framing import Acks, FrameStatus, parse_message
from vidcodec.link.impair import Direction, Impairment, parse_impairment
from vidcodec.link.options import LinkOptions
from vidcodec.link.pacing import Spacing, Window
from vidcodec.link.repairs import QUICK_MS
from vidcodec.packet import NUMBERS, Header, Packet, unwrap
from vidcodec.rate import RateControl
from vidcodec.wire import wire_bytes

PICTURE = np.zeros((1, 1, 3), np.uint8)
BLANK = State(None, PICTURE)
QUALITIES = (10, 25, 40, 52, 63)
SIZES = (
    (186, 4, 15, 12, 68, 9, 19, 6),
    (462, 7, 30, 22, 162, 12, 38, 15),
    (1091, 14, 70, 40, 495, 25, 97, 33),
    (1533, 33, 210, 91, 1273, 50, 265, 77),
    (1286, 157, 806, 239, 1408, 206, 893, 204),
)
INTRA_SIZES = (1343, 2351, 3889, 3889, 3889)
GROWTH = 0.05
"""Below the lowest of the qualities."""

FRAME_MS = 1000.0 / 30.0
ENCODE_MS, DECODE_MS = 20.0, 11.0


@dataclass
class Seen:
    """What a simulated call came to; times in ms."""

    captured: int = 0
    refused: int = 0
    shown: list[tuple[float, float, float]] = field(default_factory=list)  # captured, received, shown
    delays: list[float] = field(default_factory=list)
    payload: int = 0
    wire: int = 0
    wire_at: list[tuple[float, int]] = field(default_factory=list)  # so many bytes by then

    def count(self, size: int, now: float) -> None:
        self.wire += size
        self.wire_at.append((now, self.wire))

    @property
    def freezes(self) -> int:
        times = [shown for _, _, shown in self.shown]
        return freezes([b - a for a, b in itertools.pairwise(times)])

    def fps(self, seconds: float) -> float:
        return len(self.shown) / seconds

    def one_way_ms(self, share: float) -> float:
        ordered = sorted(self.delays)
        return ordered[int(share * (len(ordered) - 1))]

    def total_ms(self, share: float) -> float:
        ordered = sorted(shown - captured for captured, _, shown in self.shown)
        return ordered[int(share * (len(ordered) - 1))]


class SimulatedCall:
    """Runs on `run`; one of its heap entries is (time, order, function)."""

    def __init__(
        self,
        network: str | Impairment,
        kbps: float = 40.0,
        seed: int = 1,
        repair: str = "auto",
        *,
        start: float = 150.0,
        decode_ms: Callable[[float], float] = lambda now: DECODE_MS,
    ) -> None:
        path = parse_impairment(network) if isinstance(network, str) else network
        self.forth, self.back = Direction(path, random.Random(seed)), Direction(path, random.Random(seed + 1))
        self.flow = Flow(Window(start, LinkOptions().horizon_ms), BandwidthEstimator(start), Counters(), repair)
        self.references, self.chooser, self.thinner = References(BLANK), CadenceChooser(30.0), Thinner()
        self.control, self.kbps = RateControl.start(kbps, 30.0, 64), kbps
        self.acks, self.seen = AckQueue(), Seen()
        self.random = random.Random(seed + 2)
        self.events: list[tuple[float, int, object]] = []
        self.order = itertools.count()
        self.pending: list[tuple[int, bytes, State, int, int, float]] = []
        self.next = 0
        self.sent_ms: dict[int, tuple[float, float]] = {}
        self.needs: dict[int, int | None] = {}
        self.received: dict[int, float] = {}
        self.decoded: set[int] = set()
        self.newest_shown = -1
        self.checking = False
        self.cap = FrameCap()
        self.first, self.headroom = FirstFrames(), Headroom()
        self.spacing = Spacing()
        self.pace, self.decode_ms, self.decoder_free = DecoderPace(30.0), decode_ms, 0.0

    def at(self, time_ms: float, function: object) -> None:
        heapq.heappush(self.events, (time_ms, next(self.order), function))

    def run(self, seconds: float) -> Seen:
        for frame in range(int(seconds * 30)):
            self.at(frame * FRAME_MS, lambda now: self.capture(now))
        for tick in range(int(seconds * 20)):
            self.at(tick * 50.0, lambda now: self.tick(now))
        for second in range(int(seconds)):  # both ends' statistics; what SCTP says of its own travels with frames
            self.at(1000.0 * second + 500.0, lambda now: self.tell(now))
        while self.events:
            now, _, function = heapq.heappop(self.events)
            if now > 1000.0 * seconds + 1000.0:
                break
            function(now)  # type: ignore[operator]
        return self.seen

    # The sender.

    def capture(self, now: float) -> None:
        self.seen.captured += 1
        self.pace.observe(*self.references.decoder_pace(now / 1000.0), now / 1000.0)
        self.chooser.choose(needed_bytes(self.control), self.planned(now), now / 1000.0)
        if not self.thinner.keeps(now / 1000.0, self.pace.limit(self.chooser.cadence).fps, 30.0):
            return
        if self.first.waits(now / 1000.0) or not self.flow.is_open or self.references.decoder_is_full(now / 1000.0):
            self.seen.refused += 1
            if not self.flow.is_open:
                self.headroom.refused()
            return
        self.headroom.taken()
        if self.first.unanswered(now / 1000.0):
            self.flow.unanswered()
            self.references.restart()
        self.at(now + ENCODE_MS, lambda later: self.encoded(now, later))

    def planned(self, now: float) -> Callable[[float], float]:
        return lambda per_s: self.headroom.of(self.flow.budget_bytes(per_s, now))

    def encoded(self, captured: float, now: float) -> None:
        cadence: Cadence = self.pace.limit(self.chooser.cadence)
        doubtful = self.references.mending or self.flow.doubtful(now)
        if doubtful:
            self.pending = []
        carried = self.planned(now)(cadence.messages_per_s) / cadence.per_message
        allowed = max(1.0, min(self.kbps * 125.0 / cadence.fps, carried))
        self.control = self.control.with_rate(allowed * 8 / 1000 * cadence.fps, cadence.fps)
        quality = self.control.quality
        number = self.next + len(self.pending)
        reference = self.pending[-1][0] if self.pending else None
        if reference is None:
            state = self.references.next(doubtful)
            reference = None if state is BLANK else number - (number - (state.number or 0)) % NUMBERS
        distance = 0 if reference is None else number - reference
        quality = self.cap.quality(number, quality)
        size = self.size(number, quality, distance, cadence)

        def budget(per_s: float) -> float:
            return self.flow.budget_bytes(per_s, now)

        most = self.first.most_bytes(cadence.longest_s, budget)
        for _ in range(self.first.tries):
            less = self.cap.again(number, quality, size, most)
            if less is None:
                break
            quality, size = less, self.size(number, less, distance, cadence)
        self.first.took(size, cadence.longest_s, budget)
        data = Packet(Header(number % NUMBERS, distance, quality), bytes(max(1, size - 5))).to_bytes()
        self.pending.append((number, data, State(number % NUMBERS, PICTURE), distance, quality, captured))
        large = len(data) >= LARGE * self.flow.budget_bytes(cadence.messages_per_s, now)
        if doubtful or large or len(self.pending) >= cadence.per_message:
            self.flush(now)

    def size(self, number: int, quality: int, distance: int, cadence: Cadence) -> int:
        known = INTRA_SIZES if distance == 0 else [sizes[number % 8] for sizes in SIZES]
        size = math.exp(float(np.interp(quality, QUALITIES, np.log(known))))
        size *= math.exp(GROWTH * min(0, quality - QUALITIES[0]))
        if distance:
            size *= 1.0 + 0.1 * (distance - 1) + 0.25 * (30.0 / cadence.fps - 1.0)
        return max(6, int(size * self.random.uniform(0.7, 1.3)))

    def flush(self, now: float) -> None:
        ready, self.pending = self.pending, []
        datagrams = self.flow.take([(number, data) for number, data, *_ in ready], [], now)
        if datagrams is None:
            self.seen.refused += len(ready)
            return
        self.first.left(ready[-1][0], now / 1000.0)
        for number, data, state, distance, quality, captured in ready:
            self.next = number + 1
            self.references.sent(number, state, distance)
            self.needs[number] = number - distance if distance else None
            self.control = after_frame(self.control, quality, len(data), distance == 0)
            self.sent_ms[number] = captured, now if number == ready[-1][0] else captured + ENCODE_MS
            self.seen.payload += len(data)
        self.transmit(datagrams, [number for number, *_ in ready], now)

    def transmit(self, datagrams: list[bytes], numbers: list[int], now: float) -> None:
        content = parse_message(datagrams[0])
        if isinstance(content, list):
            numbers = [unwrap(Packet.from_bytes(data).header.number, self.next) for data in content]
        arrivals: list[float | None] = []

        def leave(size: int, at: float) -> None:
            self.seen.count(size, at)
            arrivals.append(self.forth.deliver_ms(size - IP_UDP_BYTES, at))
            if len(arrivals) == len(datagrams) and None not in arrivals:
                self.at(max(at for at in arrivals if at is not None), lambda later: self.arrived(numbers, later))

        sizes = [wire_bytes(len(datagram)) for datagram in datagrams]
        for size, at in zip(sizes, self.spacing.times(sizes, self.flow.known_kbps, now), strict=True):
            if at <= now:
                leave(size, now)
            else:
                self.at(at, lambda later, size=size: leave(size, later))

    def tick(self, now: float) -> None:
        self.flow.lost(now)
        self.repair(now)

    def repair(self, now: float) -> None:
        missing = [number for number, sent in self.flow._sent.items() if sent.status is None]
        for datagrams in self.flow.resend(now):
            again = [number for number in missing if self.flow._sent[number].resent_ms == now]
            self.transmit(datagrams, again, now)
        if self.flow.missing(now) and not self.checking:
            self.checking = True
            self.at(now + QUICK_MS, lambda later: self.check(later))

    def check(self, now: float) -> None:
        self.checking = False
        self.repair(now)

    def beside(self, size: int, now: float) -> None:
        self.seen.count(size, now)
        self.forth.deliver_ms(size - IP_UDP_BYTES, now)
        self.back.deliver_ms(size - IP_UDP_BYTES, now)

    def tell(self, now: float) -> None:
        kbps = self.flow.window.rate_kbps
        if kbps >= WIDE_KBPS:
            self.beside(MESSAGE_BYTES + 25 * ROW_BYTES, now)
        elif int(now / 1000.0) % EVERY_TICKS == EVERY_TICKS - 1:
            self.beside(MESSAGE_BYTES + max(2, rows_within(SHARE * kbps, 2.0)) * ROW_BYTES, now)

    # The receiver.

    def arrived(self, numbers: list[int], now: float) -> None:
        for number in numbers:
            if number in self.received:
                self.acks.again(number, now)
                continue
            self.received[number] = now
            self.seen.delays.append(now - self.sent_ms[number][1])
            self.acks.arrived(number, now)
            self.at(now + 250.0, lambda later, number=number: self.expire(number, later))
        for number in sorted(self.received):
            need = self.needs[number]
            if number not in self.decoded and (need is None or need in self.decoded):
                self.decoded.add(number)
                self.decoder_free = max(self.decoder_free, now) + self.decode_ms(now)
                self.at(self.decoder_free, lambda later, number=number: self.judged(number, later))
        self.answer(now)

    def expire(self, number: int, now: float) -> None:
        if number not in self.decoded:
            self.acks.judged(number, FrameStatus.MISSING_REFERENCE, now)
            self.answer(now)

    def judged(self, number: int, now: float) -> None:
        self.acks.judged(number, FrameStatus.OK, now)
        if number > self.newest_shown:
            self.newest_shown = number
            self.seen.shown.append((self.sent_ms[number][0], self.received[number], now))
        self.at(now + self.acks.due_in_ms(now), lambda later: self.answer(later))

    def answer(self, now: float) -> None:
        if self.acks.due_in_ms(now) > 0.0:
            return
        entries = self.acks.take(now)
        if entries:
            arrival = self.back.deliver_ms(wire_bytes(5 + 4 * len(entries)) - IP_UDP_BYTES, now)
            self.at(now + self.acks.due_in_ms(now) + 0.01, lambda later: self.answer(later))
            if arrival is not None:
                acks = Acks(now, tuple(entries))
                self.at(arrival, lambda later: self.heard(acks, later))

    def heard(self, acks: Acks, now: float) -> None:
        for news in self.flow.acknowledge(acks, now, 0.0):
            self.first.answered(news.number)
            self.references.acknowledged(news.number, news.status, now / 1000.0)
        self.tick(now)
