"""When a missing frame is sent again. A pure class that is told the time.

A frame is missing when a later one was acknowledged and it was not; when an acknowledgement comes that was written
after it was due (`AckQueue` repeats the last one when a frame is late); or when nobody says anything any more. The
first two are sure enough to send it again at once: at 20 ms of delay it then arrives 73 ms late, and the frames that
wait for it with it, which no viewer sees as a freeze. It also rides along with the next frame, which costs no headers:
where one datagram in ten is lost, so is one repair in ten, and three losses in a row are a freeze. While the path is
silent everything under way is sent again three times a frame: a burst of losses ends when it ends, and the first
datagram behind it should carry what is needed.
"""

from collections import deque

SHORT_RTT_MS, SHORT_AGAIN_MS = 80.0, 60.0
"""With a longer round trip, what is sent again comes behind a freeze (W3C: three frames and 50 ms at 30 a second),
until it is that short again."""

USEFUL_MS = 600.0
DOUBT, DOUBT_LARGE = 3, 1
"""Sent again so often, one that fits a datagram and one that needs several, which fail more often: better to predict
from what surely arrived, though an older picture costs more bits."""

MAX_RESENDS = 6
QUICK_MS = 10.0
SILENT_FRAMES, SILENT_MS = 1.3, 42.0
"""Without an answer for so many frames, and at least so long, the path counts as silent."""

SINGLE_FRAMES = 2.6
"""The same where losses stand alone: an acknowledgement that says so costs less than what is sent again to be safe."""

RUNS, RUNS_MEMORY, RUNS_AT_FIRST = 0.25, 12.0, 0.3
"""Losses come in bursts where more than this share of the last dozen came right behind another; before any is known,
they are taken to, since a call's first burst would freeze it."""

MARGIN_MS = 12.0
COVERED_MARGIN_MS = 8.0
"""Less than what the receiver waits for a late frame: else its first word of it would prove nothing."""

SHARE = 0.3
"""Of the rate, at most, for what is sent again."""

MEMORY_MS = 1000.0


class Repairs:
    """Decides which frames are due, and keeps within a share of the rate.

    Attributes:
        interval_ms: between messages of new frames, smoothed.
    """

    def __init__(self) -> None:
        self._spent: deque[tuple[float, int]] = deque()
        self._heard_ms: float | None = None
        self._sent_ms: float | None = None
        self._runs = RUNS_AT_FIRST
        self.interval_ms = 33.0

    def sent(self, now_ms: float) -> None:
        """A message with new frames left."""
        if self._sent_ms is not None:
            self.interval_ms += (min(now_ms - self._sent_ms, 200.0) - self.interval_ms) / 8.0
        self._sent_ms = now_ms

    def heard(self, now_ms: float) -> None:
        """An acknowledgement brought news."""
        self._heard_ms = now_ms

    def lost(self, after_another: bool) -> None:
        """A frame is lost for certain, and so was, or was not, the one before it."""
        self._runs += (float(after_another) - self._runs) / RUNS_MEMORY

    @staticmethod
    def covered_ms(now_ms: float, rtt_ms: float) -> float:
        """What left before then had arrived when an acknowledgement was written that comes now, or is lost."""
        return now_ms - rtt_ms - COVERED_MARGIN_MS

    def silent(self, now_ms: float, backlog_ms: float, least_ms: float) -> bool:
        """Whether messages brought no answer until the next ones' were due, though the path had the time for them.

        Args:
            now_ms: now.
            backlog_ms: how long the path needs for what is under way.
            least_ms: the same by the best that it has shown, which is believed where losses come in bursts.
        """
        if self._heard_ms is None:
            return False
        frames, backlog_ms = (SILENT_FRAMES, least_ms) if self._runs > RUNS else (SINGLE_FRAMES, backlog_ms)
        return now_ms - self._heard_ms > max(frames * self.interval_ms, SILENT_MS) + backlog_ms

    def due(
        self,
        sent_ms: float,
        resent_ms: float,
        resends: int,
        now_ms: float,
        rtt_ms: float,
        *,
        gap: bool,
        silent: bool,
    ) -> bool:
        """Whether a frame that nobody acknowledged should be sent again now.

        Args:
            sent_ms, resent_ms: when it left for the first and for the last time.
            resends: how often it was sent again.
            now_ms: now.
            rtt_ms: smoothed round trip.
            gap: what was sent last of it is surely lost.
            silent: see `silent`.
        """
        if resends >= MAX_RESENDS or now_ms - sent_ms > USEFUL_MS:
            return False
        answer_ms = rtt_ms + MARGIN_MS
        if gap:
            return True
        if resends == 0:
            return silent and now_ms - sent_ms > answer_ms
        # Half a frame later than an answer could be here: until then it rides along with the next frame.
        return now_ms - resent_ms >= (QUICK_MS if silent else answer_ms + 0.6 * self.interval_ms)

    def allow(self, size: int, rate_kbps: float, now_ms: float) -> bool:
        """Whether the share is not used up yet; counts `size` bytes if so. A large frame may go beyond it."""
        if self.bytes_per_s(now_ms) > SHARE * rate_kbps * 125.0:
            return False
        self._spent.append((now_ms, size))
        return True

    def bytes_per_s(self, now_ms: float) -> float:
        """What was sent again in the last second."""
        while self._spent and now_ms - self._spent[0][0] > MEMORY_MS:
            self._spent.popleft()
        return float(sum(size for _, size in self._spent))
