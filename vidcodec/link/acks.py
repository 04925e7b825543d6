"""Which acknowledgements the receiver sends and when. A pure class that is told the time.

They travel on the unordered, unreliable channel: on the reliable one a single lost datagram holds all later ones back
for a second or more, and the sender's window with them. Instead each entry is repeated in three messages.
"""

from collections import OrderedDict
from dataclasses import dataclass

from vidcodec.link.framing import AckEntry, FrameStatus
from vidcodec.packet import NUMBERS

REPEATS = 3
MAX_ENTRIES = 32
STATUS_DELAY_MS = 100.0
SLOW_MS, SLOW_DELAY_MS = 60.0, 15.0
"""A verdict that took so long is news to a sender that waits for it, and leaves soon."""

IDLE_MS = 150.0
"""Where nothing arrives that brings the next message about, the last one is repeated after this: it may be lost."""

FIRST_FRAMES, FIRST_IDLE_MS = 3, 30.0
"""The sender waits for the answers to a call's first frames: these are repeated sooner."""

LATE_MS = 15.0
"""A frame that is so much later than the last ones were apart is probably lost, on a path that loses."""

LATE_REPEATS, LATE_EVERY_MS = 4, 8.0

HOLE_MS, HOLE_EVERY_MS, MOST_HOLES = 250.0, 20.0, 16
"""While a frame is missing before one that came, a word so often, for so long: its repair may be lost as well, and no
frame waits for it longer. Of so many at a time, the newest."""

LOSING_MS = 15_000.0
"""After a loss the path counts, at both ends, as one that loses for so long."""


@dataclass(slots=True)
class _Entry:
    status: FrameStatus
    received_ms: float
    sends_left: int = REPEATS


class AckQueue:
    """Collects arrivals and decoder verdicts by full frame count.

    An arrival is due after `interval_ms` since the last message (0: at once), a verdict that needs help (damaged,
    missing reference) at once, and a good one rides along with the next arrival or leaves alone after 100 ms, or more
    where frames are farther apart, and after 15 where the decoder is slow.

    On a path that loses, the last message is repeated when the next frame is late, and while one is missing. The sender
    learns from it that what left a round trip ago, for the first time or again, is lost: a frame sooner than from the
    next arrival. And it never takes a lost acknowledgement for a lost frame.
    """

    def __init__(self, interval_ms: float = 0.0) -> None:
        self.interval_ms = interval_ms
        self._entries: OrderedDict[int, _Entry] = OrderedDict()
        self._arrivals = 0
        self._last_ms = float("-inf")
        self._due_ms = float("inf")
        self._newest = -1
        self._arrived_ms: float | None = None
        self._apart_ms = 33.0
        self._lost_ms = float("-inf")
        self._late_ms = float("inf")
        self._told_late = 0
        self._holes: OrderedDict[int, float] = OrderedDict()
        self._hole_ms = float("inf")

    def arrived(self, number: int, now_ms: float) -> None:
        """A frame came in."""
        self._arrivals += 1
        self._clock(number, now_ms)
        self._entries[number] = _Entry(FrameStatus.RECEIVED, now_ms)
        while len(self._entries) > 4 * MAX_ENTRIES:
            self._entries.popitem(last=False)
        self._due_ms = min(self._due_ms, max(now_ms, self._last_ms + self.interval_ms))

    def _clock(self, number: int, now_ms: float) -> None:
        """Note how far frames are apart, and which were left out."""
        self._holes.pop(number, None)
        if number > self._newest:
            if self._arrived_ms is not None:
                frames = min(number - self._newest, 8)
                self._apart_ms += (min((now_ms - self._arrived_ms) / frames, 200.0) - self._apart_ms) / 8.0
                if number > self._newest + 1:
                    self._lost_ms = now_ms
                    for hole in range(max(self._newest + 1, number - MOST_HOLES), number):
                        self._holes[hole] = now_ms
                    while len(self._holes) > MOST_HOLES:
                        self._holes.popitem(last=False)
            self._newest, self._arrived_ms, self._told_late = number, now_ms, 0
            self._late_ms = float("inf")

    def again(self, number: int, now_ms: float) -> None:
        """A frame came a second time: the sender does not know that it is here."""
        entry = self._entries.get(number)
        if entry is not None:
            entry.sends_left = max(entry.sends_left, 1)
            self._due_ms = min(self._due_ms, max(now_ms, self._last_ms + self.interval_ms))

    def judged(self, number: int, status: FrameStatus, now_ms: float) -> None:
        """The decoder has seen a frame. One that never arrived, or long ago, is ignored."""
        entry = self._entries.get(number)
        if entry is None:
            return
        entry.status, entry.sends_left = status, REPEATS
        rides_ms = max(STATUS_DELAY_MS, 1.5 * self._apart_ms)
        delay_ms = rides_ms if now_ms - entry.received_ms < SLOW_MS else SLOW_DELAY_MS
        self._due_ms = min(self._due_ms, now_ms + (delay_ms if status is FrameStatus.OK else 0.0))

    def due_in_ms(self, now_ms: float) -> float:
        """Time until `take` has something urgent; 0 for now, infinity for never."""
        return max(0.0, self._due_ms - now_ms)

    def take(self, now_ms: float) -> list[AckEntry]:
        """The newest entries still to be sent, at most 32; each is handed out three times after its last change."""
        taken = [(number, entry) for number, entry in self._entries.items() if entry.sends_left > 0][-MAX_ENTRIES:]
        if now_ms >= self._late_ms:
            self._told_late += 1
        if now_ms >= min(self._late_ms, self._hole_ms):
            taken = taken or [next(reversed(self._entries.items()))]
        for _, entry in taken:
            entry.sends_left = max(0, entry.sends_left - 1)
        again = any(entry.sends_left > 0 for _, entry in taken)
        idle_ms = max(FIRST_IDLE_MS, self.interval_ms) if self._arrivals <= FIRST_FRAMES else IDLE_MS
        self._late_ms, self._hole_ms = self._next_late_ms(), self._next_hole_ms(now_ms)
        self._due_ms = min(now_ms + idle_ms if again else float("inf"), self._late_ms, self._hole_ms)
        if taken:
            self._last_ms = now_ms
        return [AckEntry(number % NUMBERS, entry.status, entry.received_ms) for number, entry in taken]

    def _next_late_ms(self) -> float:
        """When it will be worth saying that nothing came since the last frame; never on a path that loses nothing."""
        if self._arrived_ms is None or self._arrived_ms - self._lost_ms > LOSING_MS or self._told_late >= LATE_REPEATS:
            return float("inf")
        return self._arrived_ms + self._apart_ms + LATE_MS + self._told_late * LATE_EVERY_MS

    def _next_hole_ms(self, now_ms: float) -> float:
        """When it will be worth saying that a frame is still missing."""
        while self._holes and now_ms - next(iter(self._holes.values())) > HOLE_MS:
            self._holes.popitem(last=False)
        return now_ms + HOLE_EVERY_MS if self._holes else float("inf")
