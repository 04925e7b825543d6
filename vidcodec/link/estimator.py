"""How much the path carries: a delay gradient, losses and AIMD, from acknowledgements. Pure: told the time, no socket.

After Google Congestion Control (draft-ietf-rmcat-gcc-02): the queue is seen in one-way delays before it costs a loss.
Unlike there, the standing queue itself counts beside its slope, because a few frames a second make a noisy slope.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import accumulate

from vidcodec.link.pacing import WindowedMinimum

RATE_WINDOW_MS = 600.0
MAX_SAMPLES = 256  # 240 frames a second for longer than the window: only a peer whose clock stands still has more
TREND_WINDOW_MS = 400.0
PERSISTENCE = 4  # frames
LOSS_WINDOW_MS = 3000.0
FALL = 0.92
"""Of what the path carried, where frames that stood in its queue tell; of what arrived else, which may be less."""

GAINS = (0.12, 0.6, 1.6)  # growth a second: near the last overuse, well below it, nothing known
FASTER = (8.0, 9.0)  # times as much after a second without a queue: near the last overuse, elsewhere
BASE_MEMORY_MS = 20_000.0
PING_SLACK_MS = 30.0
PROOF = 0.75
"""A path carries more than it did when so much of that arrives and no queue stands."""

MIN_WAITED, MIN_BUSY_MS, MIN_LARGER_BYTES = 3, 60.0, 500

PING_BYTES = 165

UNANSWERED = 0.25
"""What is left of the rate while nothing is heard of a call's first frame: the start is a guess, and a rate that is too
low grows at once when something arrives."""

PROVING_BYTES = 120
"""A frame so much larger than the smallest one proves what the path carries by how little longer it took."""

WIDER, PROVEN_SHARE, PROVEN_GAIN = 1.4, 0.8, 4.0
"""Where frames prove a rate so many times as high, the estimate grows that fast up to this share of it: a path has
become wider, and what it carried before is forgotten. (GCC sends probes of padding for it; a large frame is one.)"""


PROOF_MEMORY_MS, MIN_PROOFS = 5000.0, 2
"""Where so many frames proved something in that time, the rate grows to the best of it and no further."""


class Usage(Enum):
    """What the delays say about the path."""

    FREE = "free"
    FILLING = "filling"
    DRAINING = "draining"
    OVERUSED = "overused"


@dataclass(frozen=True, slots=True)
class _Sample:
    """A frame that arrived.

    `gap_ms` is how long the path worked on it, where it stood right behind the one before.
    """

    sent_ms: float
    received_ms: float
    wire_bytes: int
    gap_ms: float | None = None


class DelayDetector:
    """Reads the queue from one-way delays: their excess over the smallest of the last 20 s, and its slope.

    The peer's clock may be offset by anything: only differences count. `unrest_ms` is the mean fall of the queue from
    frame to frame, doubled: like RFC 3550's jitter, but blind to a queue that only grows.
    """

    def __init__(self) -> None:
        self._base = WindowedMinimum(BASE_MEMORY_MS)
        self._samples: deque[tuple[float, float]] = deque()
        self._recent: deque[float] = deque(maxlen=PERSISTENCE)
        self.slope = 0.0
        self.unrest_ms = 0.0

    def add(self, sent_ms: float, received_ms: float, excess_ms: float = 0.0, queue_ms: float | None = None) -> None:
        """Take one frame.

        Args:
            sent_ms: on our clock.
            received_ms: on the peer's clock.
            excess_ms: how much longer than others the frame is on the bottleneck, because it is larger; no queue.
            queue_ms: how much longer it took than half a ping's round trip, where clocks were compared.
        """
        delay_ms = received_ms - sent_ms
        # A queue that stood before the first frame, and never drained since, is in no difference of delays.
        self._base.add(sent_ms, delay_ms - max(0.0, (queue_ms or 0.0) - PING_SLACK_MS))
        met_ms = max(0.0, delay_ms - (self._base.value or 0.0) - excess_ms)
        self._recent.append(met_ms)
        if self._samples:
            fall_ms = max(0.0, self._samples[-1][1] - met_ms)
            self.unrest_ms += (2.0 * fall_ms - self.unrest_ms) / 32.0
        self._samples.append((sent_ms, met_ms))
        while sent_ms - self._samples[0][0] > TREND_WINDOW_MS:
            self._samples.popleft()
        self.slope = _slope(self._samples)

    @property
    def queue_ms(self) -> float:
        """The queue that all of the last few frames met: a single late one is a stall of a machine, not a queue."""
        return min(self._recent) if len(self._recent) == PERSISTENCE else 0.0

    @property
    def _released(self) -> bool:
        """Whether the last frames came all at once: a stall of a machine that is over, not a queue."""
        return len(self._recent) == PERSISTENCE and _slope(list(self._samples)[-PERSISTENCE:]) < -0.5

    @property
    def base_ms(self) -> float:
        """The smallest delay, by two clocks that may differ by anything."""
        return self._base.value or 0.0

    def usage(self, tolerance_ms: float) -> Usage:
        """What the delays say.

        Args:
            tolerance_ms: a queue that is no sign of overuse yet.
        """
        growing = self.slope > -0.05 or self.queue_ms > 4.0 * tolerance_ms
        if self.queue_ms > tolerance_ms and growing and not self._released:
            return Usage.OVERUSED
        if self.queue_ms > 0.5 * tolerance_ms:
            return Usage.DRAINING if self.slope < 0.0 else Usage.FILLING
        return Usage.FREE


class BandwidthEstimator:
    """Rate that frames may take on the wire, kbit/s.

    When the queue says overuse it falls to 92 % of what the path carried while frames stood in it, or to 85 % of what
    arrived where too few did. Grows as long as it is used and the queue stays empty: by 12 % of itself a second near
    the rate of the last overuse, eight times as much a second later, and faster well below it, up to 160 %.
    Losses alone lower it only when they are 15 % more than the path usually has: a queue shows in the delay first.
    """

    def __init__(self, initial_kbps: float, min_kbps: float = 8.0, max_kbps: float = 50_000.0) -> None:
        self.rate_kbps = min(initial_kbps, max_kbps)
        self.detector = DelayDetector()
        self._min_kbps = min_kbps
        self._max_kbps = max_kbps
        self._samples: deque[_Sample] = deque(maxlen=MAX_SAMPLES)
        self._fates: deque[tuple[float, bool]] = deque()
        self._capacity_kbps: float | None = None
        self._lowered_ms = float("-inf")
        self._grown_ms: float | None = None
        self._free_ms = 0.0
        self._usual_loss = WindowedMinimum(BASE_MEMORY_MS)
        self._smallest = WindowedMinimum(BASE_MEMORY_MS)
        self._round_trip_ms = 100.0
        self._proofs: deque[tuple[float, float]] = deque(maxlen=MAX_SAMPLES)
        self._first: list[_Sample] = []

    @property
    def received_kbps(self) -> float | None:
        """What arrived lately, None before it can be told."""
        if len(self._samples) < 4:
            return None
        span_ms = max(sample.received_ms for sample in self._samples) - min(s.received_ms for s in self._samples)
        total = sum(sample.wire_bytes for sample in list(self._samples)[1:])
        return total * 8.0 / max(span_ms, 1.0)

    @property
    def carried_kbps(self) -> float | None:
        """What the path carried while frames stood in its queue, None where too few did.

        That is its capacity (packet dispersion), also where less was sent on average: a large frame makes a queue. The
        median byte tells: what is sent beside the frames, such as statistics, stood between some of them.
        """
        waited = [(sample.wire_bytes, sample.gap_ms) for sample in self._samples if sample.gap_ms is not None]
        if len(waited) < MIN_WAITED or sum(gap_ms for _, gap_ms in waited) < MIN_BUSY_MS:
            return None
        rates = sorted((size * 8.0 / gap_ms, size) for size, gap_ms in waited)
        upto = accumulate(size for _, size in rates)
        half = 0.5 * sum(size for _, size in rates)
        return next(kbps for (kbps, _), total in zip(rates, upto, strict=True) if total >= half)

    @property
    def loss(self) -> float:
        """Share of frames lost in the last three seconds, 0..1."""
        return sum(lost for _, lost in self._fates) / len(self._fates) if self._fates else 0.0

    def acknowledged(
        self, sent_ms: float, received_ms: float, wire_bytes: int, now_ms: float, *, queue_ms: float | None = None
    ) -> None:
        """A frame arrived.

        Args:
            sent_ms: on our clock.
            received_ms: on the peer's clock, whatever its offset.
            wire_bytes: its bytes on the wire.
            now_ms: on our clock.
            queue_ms: how much longer it took than half a ping's round trip, None where clocks were not compared.
        """
        self._round_trip_ms += 0.1 * (min(now_ms - sent_ms, 2000.0) - self._round_trip_ms)
        excess_bytes = max(0.0, wire_bytes - self._mean_bytes) if self._samples else 0.0
        own_ms = wire_bytes * 8.0 / self._path_kbps
        self.detector.add(
            sent_ms,
            received_ms,
            excess_bytes * 8.0 / self._path_kbps,
            None if queue_ms is None else queue_ms - own_ms,
        )
        gap_ms, proven_kbps = self._gap_ms(sent_ms, received_ms), self._proven_by(sent_ms, received_ms, wire_bytes)
        self._samples.append(_Sample(sent_ms, received_ms, wire_bytes, gap_ms))
        if proven_kbps:
            self._proofs.append((received_ms, proven_kbps))
        while received_ms - self._samples[0].received_ms > RATE_WINDOW_MS:
            self._samples.popleft()
        while self._proofs and received_ms - self._proofs[0][0] > PROOF_MEMORY_MS:
            self._proofs.popleft()
        if len(self._first) < 2:
            self._begin(self._samples[-1], queue_ms)
        self._fate(now_ms, False)
        self._update(now_ms)

    def _begin(self, sample: _Sample, queue_ms: float | None) -> None:
        """A first estimate from a call's first two frames: how much longer the path took for a large one than for a
        ping, or for the first than for the second, tells the rate of a narrow path."""
        if queue_ms is not None:
            self._took_longer(sample.wire_bytes - PING_BYTES, queue_ms)
        self._first.append(sample)
        first = self._first[0]
        longer_ms = (first.received_ms - first.sent_ms) - (sample.received_ms - sample.sent_ms)
        self._took_longer(first.wire_bytes - sample.wire_bytes, longer_ms)  # the first, beside itself, says nothing

    def _took_longer(self, larger_bytes: int, longer_ms: float) -> None:
        """So many bytes more took so much longer."""
        if larger_bytes >= MIN_LARGER_BYTES and longer_ms >= MIN_BUSY_MS:
            self.rate_kbps = max(self._min_kbps, min(self.rate_kbps, FALL * larger_bytes * 8.0 / longer_ms))

    def _gap_ms(self, sent_ms: float, received_ms: float) -> float | None:
        """How long the path worked on a frame: the time since the one before arrived, if this one waited then."""
        if not self._samples:
            return None
        before_ms = self._samples[-1].received_ms
        waited = sent_ms + self.detector.base_ms < before_ms < received_ms
        return received_ms - before_ms if waited else None

    def _proven_by(self, sent_ms: float, received_ms: float, wire_bytes: int) -> float:
        """The rate that a large frame needed at least, to come so soon after a small one would have; else 0.

        Queues and stalls make it less, never more.
        """
        self._smallest.add(sent_ms, float(wire_bytes))
        larger_bytes = wire_bytes - (self._smallest.value or 0.0)
        if larger_bytes < PROVING_BYTES:
            return 0.0
        return larger_bytes * 8.0 / max(received_ms - sent_ms - self.detector.base_ms, 1.0)

    @property
    def _best_proof_kbps(self) -> float | None:
        """What large frames lately proved that the path carries, None where too few did. The rate may grow so far: a
        path that had more room would have shown it."""
        if len(self._proofs) < MIN_PROOFS:
            return None
        return max(kbps for _, kbps in self._proofs)

    @property
    def known_kbps(self) -> float:
        """What the path carries at least, as far as is known: often more than frames may take yet."""
        return max(self.rate_kbps, self._best_proof_kbps or 0.0)

    @property
    def proven_kbps(self) -> float:
        """What at least two of the last frames prove that the path carries, 0 where none do."""
        since_ms = self._samples[0].received_ms if self._samples else 0.0
        return sorted((0.0, 0.0, *(kbps for at_ms, kbps in self._proofs if at_ms >= since_ms)))[-2]

    def unanswered(self) -> None:
        """Nothing is heard of the first frame."""
        self.rate_kbps = max(self._min_kbps, UNANSWERED * self.rate_kbps)

    def lost(self, now_ms: float) -> None:
        """A frame was given up."""
        self._fate(now_ms, True)
        self._update(now_ms)

    @property
    def _path_kbps(self) -> float:
        """Best guess of the bottleneck for a frame's own time on it."""
        return self._capacity_kbps or self.rate_kbps

    @property
    def _mean_bytes(self) -> float:
        """Mean size of the frames of the rate window, 0 before the first."""
        return sum(sample.wire_bytes for sample in self._samples) / max(1, len(self._samples))

    @property
    def _tolerance_ms(self) -> float:
        """Frames that meet are no overuse, nor are stalls of a busy machine; on a narrow path a queue is a queue."""
        most_ms = min(100.0, self._path_kbps / 2.0)
        unrest_ms = min(3.0 * max(0.0, self.detector.unrest_ms - 12.0), most_ms)
        return 20.0 + 0.5 * self._mean_bytes * 8.0 / self._path_kbps + unrest_ms

    def _fate(self, now_ms: float, lost: bool) -> None:
        self._fates.append((now_ms, lost))
        while now_ms - self._fates[0][0] > LOSS_WINDOW_MS:
            self._fates.popleft()

    def _update(self, now_ms: float) -> None:
        usage = self.detector.usage(self._tolerance_ms)
        received = self.received_kbps
        if usage is Usage.OVERUSED:
            self._lower(now_ms, received)
        elif self._losing_more(now_ms):
            self._grown_ms, self._free_ms, self._lowered_ms = now_ms, 0.0, now_ms
            lowered = self.rate_kbps * (1.0 - 0.5 * self.loss)
            if received is not None and self._overflowing and received / (1.0 - self.loss) > 0.5 * self.rate_kbps:
                lowered = min(lowered, received)
            self.rate_kbps = max(self._min_kbps, lowered)
            self._fates.clear()  # what comes now tells whether that was enough
        elif usage is Usage.FREE:
            self._raise(now_ms, received)
        else:
            self._grown_ms, self._free_ms = now_ms, 0.0

    @property
    def _overflowing(self) -> bool:
        """Losses beside a queue: it is a short one."""
        return 0.08 < self.loss < 1.0 and self.detector.queue_ms > 0.6 * self._tolerance_ms

    def _losing_more(self, now_ms: float) -> bool:
        """Whether losses are more than this path's own."""
        loss = self.loss
        if len(self._fates) < 20:
            return loss > 0.5 and len(self._fates) >= 8
        self._usual_loss.add(now_ms, loss)
        return self._overflowing or loss > min(self._usual_loss.value or 0.0, 0.2) + 0.15

    def _lower(self, now_ms: float, received: float | None) -> None:
        """At most once in a round trip and 200 ms: the effect of the last time has to be seen first."""
        self._grown_ms, self._free_ms = now_ms, 0.0
        if now_ms - self._lowered_ms < self._round_trip_ms + 200.0:
            return
        sure = now_ms - self._lowered_ms < 1500.0 or self.detector.queue_ms > 3.0 * self._tolerance_ms
        self._lowered_ms = now_ms
        if received is None or (received < 0.4 * self.rate_kbps and not sure):
            # We did not use the rate, so this may be somebody else's queue, or a stall: do not give up all of it.
            self.rate_kbps = max(self._min_kbps, 0.5 * self.rate_kbps)
            return
        carried = max(received * 0.85 / FALL, self.carried_kbps or 0.0)
        self._capacity_kbps = carried
        self.rate_kbps = max(self._min_kbps, min(self.rate_kbps, FALL * carried))

    def _raise(self, now_ms: float, received: float | None) -> None:
        since_ms = 0.0 if self._grown_ms is None else min(now_ms - self._grown_ms, 200.0)
        self._grown_ms = now_ms
        if received is None or received < 0.3 * self.rate_kbps or now_ms - self._lowered_ms < 500.0:
            return
        # The gain has long reached its limit; a power of all the time would overflow in the end.
        self._free_ms = min(self._free_ms + since_ms, 60_000.0) if received > 0.6 * self.rate_kbps else 0.0
        known = self._capacity_kbps
        near, below, unknown = GAINS
        gain, faster = near, FASTER[known is None]
        if self._free_ms > 0.0 and (known is None or self.rate_kbps < 0.8 * known):
            gain, faster = unknown if known is None else below, FASTER[1]
        gain = min(gain * faster ** (self._free_ms / 1000.0), unknown)
        if known is not None and self.rate_kbps > 1.1 * known:
            if received < PROOF * known:
                return
            self._capacity_kbps = None
        best_kbps = self._best_proof_kbps
        most_kbps = self._max_kbps if best_kbps is None else max(self.rate_kbps, min(self._max_kbps, best_kbps))
        if known is not None and self.proven_kbps > WIDER * self.rate_kbps:
            gain, most_kbps = PROVEN_GAIN, min(most_kbps, PROVEN_SHARE * self.proven_kbps)
        self.rate_kbps = min(most_kbps, self.rate_kbps * (1.0 + gain) ** (since_ms / 1000.0))


def _slope(points: Sequence[tuple[float, float]]) -> float:
    """Least-squares slope."""
    count = len(points)
    if count < 3:
        return 0.0
    mean_x = sum(x for x, _ in points) / count
    mean_y = sum(y for _, y in points) / count
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0
