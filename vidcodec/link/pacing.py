"""What may be sent now, and when the peer is dead: small pure classes that are told the time and know no socket."""

from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass

RTT_MEMORY_MS = 10_000.0
MAX_GIVEN_UP = 128
BURST_MS = 60.0
APART, APART_MS = 0.5, 5.0
"""Datagrams of a message leave so far apart, of the time that each takes the path: at all of it, none could prove that
the path is wider. Where that is less than so many ms, they leave at once."""

EARLY_BEATS = 3
"""Beats that come after a second in any case: the clocks are compared by the quickest."""


class WindowedMinimum:
    """The smallest value of the last `memory_ms`, in amortised constant time."""

    def __init__(self, memory_ms: float) -> None:
        self._memory_ms = memory_ms
        self._rising: deque[tuple[float, float]] = deque()

    def add(self, now_ms: float, value: float) -> None:
        """Take a value. Times must not fall by more than the memory."""
        while self._rising and self._rising[-1][1] >= value:
            self._rising.pop()
        self._rising.append((now_ms, value))
        while now_ms - self._rising[0][0] > self._memory_ms:
            self._rising.popleft()

    @property
    def value(self) -> float | None:
        """The minimum, None before the first value."""
        return self._rising[0][1] if self._rising else None


@dataclass(frozen=True, slots=True)
class Flight:
    """A frame on its way: full frame count, bytes on the wire, and when it left."""

    number: int
    wire_bytes: int
    sent_ms: float


class Window:
    """Refuses a frame while too many bytes are un-acknowledged, so that no queue builds up anywhere.

    The limit is what the estimated rate carries in the shortest recent round trip and `horizon_ms`, and never less than
    one and a half frames of recent size: a large frame, and the small ones behind it, wait for no longer than that.
    A frame is lost when three later ones were acknowledged, or by a time-out of three smoothed round trips (at least
    250 ms, at most 1 s); its bytes are released then, and an acknowledgement that comes later still counts for the
    round trip.

    Attributes:
        rate_kbps: what the path is taken to carry.
        recent_bytes: of a message on the wire, smoothed.
        in_flight_bytes: un-acknowledged.
        smoothed_rtt_ms: round trip, 0 before the first.
    """

    def __init__(self, rate_kbps: float, horizon_ms: float = 100.0, reorder: int = 3) -> None:
        self.rate_kbps = rate_kbps
        self._horizon_ms = horizon_ms
        self._reorder = reorder
        self._flights: OrderedDict[int, tuple[Flight, int]] = OrderedDict()
        self._given_up: OrderedDict[int, Flight] = OrderedDict()
        self.recent_bytes = 0.0
        self._shortest = WindowedMinimum(RTT_MEMORY_MS)
        self.in_flight_bytes = 0
        self.smoothed_rtt_ms = 0.0

    @property
    def min_rtt_ms(self) -> float:
        """Shortest round trip of the last ten seconds, 0 before the first."""
        return self._shortest.value or 0.0

    @property
    def limit_bytes(self) -> float:
        """Un-acknowledged bytes at which frames are refused."""
        own_ms = self.recent_bytes * 8.0 / max(self.rate_kbps, 1.0)  # of the round trip, the message itself
        span_ms = max(0.0, min(self.min_rtt_ms, 1000.0) - own_ms) + self._horizon_ms
        return max(1.5 * self.recent_bytes, self.rate_kbps / 8.0 * span_ms)

    @property
    def timeout_ms(self) -> float:
        """Age at which an un-acknowledged frame counts as lost."""
        return min(max(250.0, 3.0 * self.smoothed_rtt_ms), 1000.0) if self.smoothed_rtt_ms else 1000.0

    @property
    def is_open(self) -> bool:
        """Whether a frame may be sent now."""
        return self.in_flight_bytes == 0 or self.in_flight_bytes < self.limit_bytes

    def sent(self, flight: Flight) -> None:
        """A frame left."""
        self._release(flight.number)
        self._flights[flight.number] = (flight, 0)
        self.in_flight_bytes += flight.wire_bytes
        if flight.wire_bytes:  # 0 for a frame that shares the message of a later one
            self.recent_bytes += (flight.wire_bytes - self.recent_bytes) / (4.0 if self.recent_bytes else 1.0)

    def acknowledged(self, number: int, now_ms: float, delay_ms: float | None = 0.0) -> Flight | None:
        """A frame arrived; returns its flight, None when there is none (any more).

        Args:
            number: full frame count.
            now_ms: now.
            delay_ms: how long the receiver held the acknowledgement back; not counted as round trip. None for a frame
                that was sent more than once, which says nothing of the round trip (Karn's algorithm).
        """
        flight = self._release(number) or self._given_up.pop(number, None)
        if flight is None or delay_ms is None:
            return flight
        rtt_ms = max(now_ms - flight.sent_ms - delay_ms, 0.1)
        self.smoothed_rtt_ms += (rtt_ms - self.smoothed_rtt_ms) / (8.0 if self.smoothed_rtt_ms else 1.0)
        self._shortest.add(now_ms, rtt_ms)
        for other, (earlier, later) in self._flights.items():
            if earlier.sent_ms < flight.sent_ms:
                self._flights[other] = (earlier, later + 1)
        return flight

    def lost(self, now_ms: float) -> list[int]:
        """Frames given up since the last call, oldest first; their bytes are released."""
        gone = [
            number
            for number, (flight, later) in self._flights.items()
            if later >= self._reorder or now_ms - flight.sent_ms > self.timeout_ms
        ]
        for number in gone:
            self._given_up[number] = self._flights[number][0]
            self._release(number)
        while len(self._given_up) > MAX_GIVEN_UP:
            self._given_up.popitem(last=False)
        return gone

    def _release(self, number: int) -> Flight | None:
        entry = self._flights.pop(number, None)
        if entry is None:
            return None
        self.in_flight_bytes -= entry[0].wire_bytes
        return entry[0]


class WireCap:
    """Keeps everything on the wire below a rate: a bucket that every byte fills and that drains at `kbps`.

    Frames wait while more than `BURST_MS` are in it. What else goes out (statistics, beats, repairs, SCTP's own) is
    only counted, so that frames make room for it.
    """

    def __init__(self, kbps: float) -> None:
        self.kbps = kbps
        self._level_bytes = 0.0
        self._drained_ms: float | None = None
        self._frames_bytes = 0
        self._settled_bytes: int | None = None

    def frame(self, size: int, now_ms: float) -> None:
        """Datagrams of frames, `size` bytes in all, leave."""
        self._drain(now_ms)
        self._level_bytes += size
        self._frames_bytes += size

    def settle(self, total_bytes: int, now_ms: float) -> None:
        """So many bytes have crossed the wire in all: count what was not frames, connecting left out."""
        self._drain(now_ms)
        other_bytes = total_bytes - self._frames_bytes
        if self._settled_bytes is None:
            self._settled_bytes = other_bytes
        self._level_bytes += max(0, other_bytes - self._settled_bytes)
        self._settled_bytes = max(self._settled_bytes, other_bytes)

    def full(self, now_ms: float) -> bool:
        """Whether a frame has to wait."""
        self._drain(now_ms)
        return self._level_bytes > self.kbps / 8.0 * BURST_MS

    def _drain(self, now_ms: float) -> None:
        passed_ms = 0.0 if self._drained_ms is None else max(0.0, now_ms - self._drained_ms)
        self._drained_ms = now_ms
        self._level_bytes = max(0.0, self._level_bytes - self.kbps / 8.0 * passed_ms)


class Spacing:
    """When the datagrams of a message leave: one after the other, twice as fast as the path is known to carry them.

    A queue in front of a narrow path may be shorter than one datagram takes. A second one right behind it would be
    dropped, and with it the message, however often it is sent.
    """

    def __init__(self) -> None:
        self._free_ms = 0.0

    def times(self, sizes: Sequence[int], kbps: float, now_ms: float) -> list[float]:
        """A time for each datagram of a message, on the clock of `now_ms`.

        Args:
            sizes: bytes on the wire.
            kbps: what the path carries.
            now_ms: now.
        """
        at_ms, times = max(now_ms, self._free_ms), []
        for size in sizes:
            times.append(at_ms)
            apart_ms = APART * size * 8.0 / max(kbps, 1.0)
            at_ms += apart_ms if apart_ms >= APART_MS else 0.0
        self._free_ms = times[-1]
        return times


class Heartbeat:
    """A beat after a second in which nothing else said that this end is alive, and one in four seconds for the clocks;
    a peer silent for three seconds is dead.

    A ping and a pong take 330 bytes, as much as two frames on a narrow path.
    """

    def __init__(
        self, now_ms: float, interval_ms: float = 1000.0, dead_ms: float = 3000.0, busy_ms: float = 4000.0
    ) -> None:
        self._interval_ms = interval_ms
        self._busy_ms = busy_ms
        self._early = EARLY_BEATS
        self._dead_ms = dead_ms
        self._heard_ms = now_ms
        self._beat_ms = self._spoke_ms = now_ms - interval_ms

    def spoke(self, now_ms: float) -> None:
        """Something else was sent that says as much."""
        self._spoke_ms = now_ms

    def heard(self, now_ms: float) -> None:
        """Anything arrived from the peer."""
        self._heard_ms = now_ms

    def due(self, now_ms: float) -> bool:
        """Whether to send a ping now; counts it as sent."""
        idle = now_ms - self._spoke_ms >= self._interval_ms
        if now_ms - self._beat_ms < (self._interval_ms if idle or self._early else self._busy_ms):
            return False
        self._beat_ms = now_ms
        self._early = max(0, self._early - 1)
        return True

    def silence_ms(self, now_ms: float) -> float:
        """How long nothing was heard."""
        return now_ms - self._heard_ms

    def dead(self, now_ms: float) -> bool:
        """Whether the peer has been silent for too long."""
        return self.silence_ms(now_ms) > self._dead_ms


class ClockOffset:
    """Offset of the peer's clock by NTP's formula (RFC 5905 section 8), from the quickest of the last 16 pings."""

    def __init__(self, samples: int = 16) -> None:
        self._samples: deque[tuple[float, float]] = deque(maxlen=samples)

    def add(self, sent_ms: float, received_ms: float, answered_ms: float, now_ms: float) -> None:
        """One ping and its pong: left here, reached there, left there, came back here. Impossible times are ignored."""
        rtt_ms = (now_ms - sent_ms) - (answered_ms - received_ms)
        if rtt_ms >= 0.0 and now_ms >= sent_ms and answered_ms >= received_ms:
            self._samples.append((rtt_ms, ((received_ms - sent_ms) + (answered_ms - now_ms)) / 2.0))

    @property
    def offset_ms(self) -> float | None:
        """Peer's clock minus ours, None before the first pong."""
        return min(self._samples)[1] if self._samples else None

    @property
    def rtt_ms(self) -> float | None:
        """Shortest round trip among the kept samples."""
        return min(self._samples)[0] if self._samples else None
