"""SCTP as a call on a narrow path wants it: fewer datagrams of its own, no window, and a quick handshake.

aiortc answers each datagram with one of 100 bytes, as dear as a small frame, and tells what it has given up in as many.

RFC 9260 section 6.2 lets acknowledgements wait for the next datagrams, 500 ms at most; while something is missing they
should not wait, and wait for less here. They and what is given up then travel with the next frame, as section 6.10
suggests, and take 16 bytes or a few more. Both ends keep SCTP's congestion window out of the way, so that nothing waits
for them.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from aiortc.rtcsctptransport import Chunk, DataChunk, ForwardTsnChunk, RTCSctpTransport, SackChunk

MAX_WAITING_BYTES = 6000
MAX_WAITING_DATAGRAMS = 16
MAX_WAITING_S = 0.4
GAP_DATAGRAMS = 10
GAP_S = 0.25
"""While something is missing. SCTP never repeats frames and their acknowledgements, so that on a path that loses there
is always a gap, and a SACK for each datagram would take 24 kbit/s."""

EARLY_SACKS = 4
"""The first datagrams are acknowledged at once: only what was sent once tells a round trip, and until one is known the
time-out stays that of the handshake."""

HANDSHAKE_RTO_S = 0.4
MAX_RTO_S = 8.0
WINDOW_BYTES = 1 << 20
RIDE_S = 0.07
"""How long what may travel with a frame waits for one: two frames' time."""

MAX_CHUNKS_BYTES = 1200
"""Of one datagram, which is then of at most 1,269 bytes with all headers: every path carries 1,280."""

_NEEDED = (
    "_rto",
    "_t3_expired",
    "_handle_data",
    "_send_sack",
    "_send_chunk",
    "_sack_needed",
    "_sack_misordered",
    "_sack_duplicates",
)


def open_window(sctp: RTCSctpTransport) -> None:
    """Take SCTP's congestion window out of the way of the next message.

    After a burst of losses it would hold all frames back for its time-out of a second. The flow's own window, which
    knows delay and rate, takes its place.
    """
    if hasattr(sctp, "_cwnd"):
        sctp._cwnd = max(sctp._cwnd, WINDOW_BYTES)


def tune(sctp: RTCSctpTransport, heard: Callable[[], object]) -> Callable[[], None]:
    """Let this association's SACKs wait while nothing is missing, and travel with data; repeat a lost handshake after
    0.4 s, not 3; double the time-out whenever it passes (RFC 9260 section 6.3.3), without which a path whose round trip
    is longer is filled with repeats for good.

    aiortc has no settings for these. A version without what this replaces keeps its own behaviour.

    Args:
        sctp: the association.
        heard: called for each datagram of the peer. While a long message is on its way on a narrow path, this is all
            that is heard of either end.

    Returns:
        What cancels all that waits.
    """
    if not all(hasattr(sctp, name) for name in _NEEDED):
        return lambda: None
    sctp._rto = HANDSHAKE_RTO_S  # until the first round trip is measured
    expired = sctp._t3_expired

    def back_off() -> None:
        sctp._rto = min(2.0 * sctp._rto, MAX_RTO_S)
        expired()

    sctp._t3_expired = back_off  # type: ignore[method-assign]
    bundles = _Bundles(sctp)
    sctp._send_chunk = bundles.send_chunk  # type: ignore[method-assign]
    delayed = _DelayedSacks(sctp, heard)
    sctp._handle_data = delayed.handle_data  # type: ignore[method-assign]
    sctp._send_sack = delayed.send_sack  # type: ignore[method-assign]

    def cancel() -> None:
        delayed.cancel()
        bundles.cancel()

    return cancel


class _Bundle(Chunk):
    """Chunks of one datagram, as aiortc sends one chunk."""

    def __init__(self, chunks: list[Chunk]) -> None:
        self.chunks = chunks

    def __bytes__(self) -> bytes:
        return b"".join(map(bytes, self.chunks))

    def __repr__(self) -> str:
        return " + ".join(map(repr, self.chunks))


class _Later:
    """Work to be done after a while, unless it is cancelled before. A connection that is gone by then is no error."""

    def __init__(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._work = work
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    def within(self, seconds: float) -> None:
        """Do it then at the latest: earlier, if it was asked for before."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(seconds, self._begin)

    def cancel(self) -> None:
        """Do not do it."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _begin(self) -> None:
        self._timer = None
        self._task = asyncio.get_running_loop().create_task(self._do())

    async def _do(self) -> None:
        try:
            await self._work()
        except ConnectionError:
            return


class _Bundles:
    """Keeps what may wait a little, the newest of each kind, and sends it with the next data or else by itself."""

    def __init__(self, sctp: Any) -> None:
        self._send_chunk = sctp._send_chunk
        self._waiting: dict[type[Chunk], Chunk] = {}
        self._later = _Later(self._alone)

    async def send_chunk(self, chunk: Chunk) -> None:
        """Stands in for the association's own."""
        if isinstance(chunk, SackChunk | ForwardTsnChunk):
            self._waiting[type(chunk)] = chunk
            self._later.within(RIDE_S)
            return
        chunks = [*self._waiting.values(), chunk]
        if len(chunks) > 1 and isinstance(chunk, DataChunk) and sum(map(_size, chunks)) <= MAX_CHUNKS_BYTES:
            self.cancel()
            chunk = _Bundle(chunks)
        await self._send_chunk(chunk)

    def cancel(self) -> None:
        """Forget what waits."""
        self._waiting.clear()
        self._later.cancel()

    async def _alone(self) -> None:
        chunks = list(self._waiting.values())
        self.cancel()
        if chunks:
            await self._send_chunk(_Bundle(chunks))


def _size(chunk: Chunk) -> int:
    return len(bytes(chunk))


class _DelayedSacks:
    def __init__(self, sctp: Any, heard: Callable[[], object]) -> None:
        self._sctp = sctp
        self._heard = heard
        self._handle_data = sctp._handle_data
        self._send_sack = sctp._send_sack
        self._size = 0
        self._early = EARLY_SACKS
        self._waiting = 0
        self._waiting_bytes = 0
        self._later = _Later(self._flush)

    async def handle_data(self, data: bytes) -> None:
        """Stands in for the association's own: notes the size for `send_sack`, which it calls."""
        self._heard()
        self._size = len(data)
        await self._handle_data(data)

    async def send_sack(self) -> None:
        """Stands in for the association's own."""
        self._waiting += 1
        self._waiting_bytes += self._size
        whole = not self._sctp._sack_misordered and not self._sctp._sack_duplicates
        most, longest_s = (MAX_WAITING_DATAGRAMS, MAX_WAITING_S) if whole else (GAP_DATAGRAMS, GAP_S)
        if not self._early and self._waiting < most and self._waiting_bytes < MAX_WAITING_BYTES:
            self._sctp._sack_needed = False
            self._later.within(longest_s)
            return
        self._early = max(0, self._early - 1)
        await self._flush()

    def cancel(self) -> None:
        """Forget the one that waits."""
        self._later.cancel()

    async def _flush(self) -> None:
        self.cancel()
        self._waiting = self._waiting_bytes = 0
        await self._send_sack()
