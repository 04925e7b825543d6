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


@dataclass(slots=True)
class _Entry:
    status: FrameStatus
    received_ms: float
    sends_left: int = REPEATS


class AckQueue:
    """Collects arrivals and decoder verdicts by full frame count.

    An arrival is due after `interval_ms` since the last message (0: at once), a verdict that needs help (damaged,
    missing reference) at once, and a good one rides along with the next arrival or leaves alone after 100 ms, after 15
    where the decoder is slow.
    """

    def __init__(self, interval_ms: float = 0.0) -> None:
        self.interval_ms = interval_ms
        self._entries: OrderedDict[int, _Entry] = OrderedDict()
        self._arrivals = 0
        self._last_ms = float("-inf")
        self._due_ms = float("inf")

    def arrived(self, number: int, now_ms: float) -> None:
        """A frame came in."""
        self._arrivals += 1
        self._entries[number] = _Entry(FrameStatus.RECEIVED, now_ms)
        while len(self._entries) > 4 * MAX_ENTRIES:
            self._entries.popitem(last=False)
        self._due_ms = min(self._due_ms, max(now_ms, self._last_ms + self.interval_ms))

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
        delay_ms = STATUS_DELAY_MS if now_ms - entry.received_ms < SLOW_MS else SLOW_DELAY_MS
        self._due_ms = min(self._due_ms, now_ms + (delay_ms if status is FrameStatus.OK else 0.0))

    def due_in_ms(self, now_ms: float) -> float:
        """Time until `take` has something urgent; 0 for now, infinity for never."""
        return max(0.0, self._due_ms - now_ms)

    def take(self, now_ms: float) -> list[AckEntry]:
        """The newest entries still to be sent, at most 32; each is handed out three times after its last change."""
        taken = [(number, entry) for number, entry in self._entries.items() if entry.sends_left > 0][-MAX_ENTRIES:]
        for _, entry in taken:
            entry.sends_left -= 1
        again = any(entry.sends_left > 0 for _, entry in taken)
        idle_ms = max(FIRST_IDLE_MS, self.interval_ms) if self._arrivals <= FIRST_FRAMES else IDLE_MS
        self._due_ms = now_ms + idle_ms if again else float("inf")
        if taken:
            self._last_ms = now_ms
        return [AckEntry(number % NUMBERS, entry.status, entry.received_ms) for number, entry in taken]
