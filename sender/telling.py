"""What the sender tells the receiver about its frames, about once a second and at the end."""

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from vidcodec.calllog import CallLog, SenderTotals
from vidcodec.drift import EVERY, Picture, Sketch, sketch
from vidcodec.exchange import ROWS_PER_MESSAGE, Untold, sender_stats
from vidcodec.records import SentFrame
from vidcodec.wire import DATA_CHANNEL

if TYPE_CHECKING:
    from vidcodec.link import SenderLink

STATS_S = 1.0
OFFSET_S = 1.0
WIDE_KBPS = 200.0
SHARE = 0.025
"""Of what a narrower path carries in two seconds, for what is told of the frames; the rest waits for the end of the
call."""

EVERY_TICKS = 4
"""On such a path. One message takes 50 ms of the path, in which frames wait."""

ROW_BYTES = 18
MESSAGE_BYTES = 150 + DATA_CHANNEL.header_bytes
LAST_S = 3.0
"""How long telling the rest may take."""


def rows_within(kbps: float, seconds: float) -> int:
    """How many records fit into a time on a path of so many kbit/s."""
    return max(0, int((kbps * 125.0 * seconds - MESSAGE_BYTES) / ROW_BYTES))


class Teller:
    """Keeps records until they are sent, and the estimate of the receiver's clock that they carry.

    Args:
        log: our own figures, which get every record at once.
        totals: says how many frames there are.
        one_clock: both ends are on one machine.

    Attributes:
        offset_ns: the receiver's clock minus ours.
    """

    def __init__(self, log: CallLog, totals: Callable[[], SenderTotals], one_clock: bool) -> None:
        self.offset_ns = 0
        self._log = log
        self._totals = totals
        self._one_clock = one_clock
        self._link: SenderLink | None = None
        self._untold: Untold[SentFrame] = Untold()
        self._sketched: tuple[int, Sketch] | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="figures", daemon=True)

    def use(self, link: "SenderLink") -> None:
        """Tell the receiver at the end of this link, once more what the link before it may have lost.

        Waits for its first pong: before, no delay can be told.
        """
        until_s = time.monotonic() + OFFSET_S
        while not self._one_clock and link.offset_ms is None and link.closed is None and time.monotonic() < until_s:
            time.sleep(0.005)
        self._estimate(link)
        self._untold.again()
        self._link = link

    def start(self) -> None:
        """Begin to tell."""
        self._thread.start()

    def add(self, record: SentFrame) -> None:
        """Note a finished record. Any thread."""
        self._log.add_sent([record])
        self._untold.add(record)

    def made(self, number: int, picture: Picture) -> None:
        """A frame was sent that shows this picture; now and then the receiver is told of one, to compare."""
        if number % EVERY == 0:
            self._sketched = number, sketch(picture)

    def finish(self, link: "SenderLink") -> dict[str, Any]:
        """Tell all but the last of it; returns what the goodbye should carry."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(2.0)
        totals = self._totals()
        self._log.set_totals(totals)
        rest = self._untold.take()
        kbps = self._kbps(link)
        if kbps < WIDE_KBPS:
            rest = rest[-rows_within(kbps, LAST_S) or len(rest) :]
        while len(rest) > ROWS_PER_MESSAGE:
            link.send_stats(sender_stats(totals, rest[:ROWS_PER_MESSAGE]))
            del rest[:ROWS_PER_MESSAGE]
        return sender_stats(totals, rest)

    def _run(self) -> None:
        ticks = 0
        while not self._stop.wait(STATS_S):
            link = self._link
            if link is None or link.closed is not None:
                continue  # what is noted meanwhile goes out when there is a link again
            self._estimate(link)
            totals = self._totals()
            self._log.set_totals(totals)
            kbps = self._kbps(link)
            ticks += 1
            if kbps >= WIDE_KBPS:
                self._tell(link, totals, self._untold.take(ROWS_PER_MESSAGE))
            elif ticks % EVERY_TICKS == 0:
                self._tell(link, totals, self._untold.take(max(2, rows_within(SHARE * kbps, 2.0 * STATS_S))))

    def _tell(self, link: "SenderLink", totals: SenderTotals, frames: list[SentFrame]) -> None:
        sketched, self._sketched = self._sketched, None
        link.send_stats(sender_stats(totals, frames, sketched))

    @staticmethod
    def _kbps(link: "SenderLink") -> float:
        """What the path carries."""
        return float(link.stats["availableOutgoingBitrate"]) / 1000.0

    def _estimate(self, link: "SenderLink") -> None:
        if not self._one_clock and link.offset_ms is not None:
            self.offset_ns = round(link.offset_ms * 1e6)
