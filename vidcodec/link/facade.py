"""What both ends' links offer to the program's own threads."""

import threading
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

from vidcodec.link.loop import LoopThread
from vidcodec.link.messages import Stats, to_json
from vidcodec.link.options import Closed
from vidcodec.link.session import Session

S = TypeVar("S", bound=Session)


class Link(Generic[S]):
    """A session that runs on the loop's thread, seen from other threads."""

    def __init__(self, loop: LoopThread, session: S) -> None:
        self._loop = loop
        self._session = session
        self._over = threading.Event()
        self._closed: Closed | None = None

    @property
    def code(self) -> str:
        """The fingerprint code, to be compared with the one that the other end prints."""
        return self._session.negotiation.code

    @property
    def closed(self) -> Closed | None:
        """How the session ended, None while it lives."""
        return self._closed

    @property
    def stats(self) -> dict[str, Any]:
        """A snapshot of the counters under W3C webrtc-stats names."""
        return self._session.snapshot()

    @property
    def offset_ms(self) -> float | None:
        """The other end's `time.monotonic() * 1000` minus ours, None before it is known."""
        return self._session.offset.offset_ms

    def send_stats(self, payload: Mapping[str, Any]) -> None:
        """Send statistics, a JSON object of at most 60,000 bytes.

        Raises:
            ValueError: too large, or not JSON.
        """
        message = Stats(payload)
        to_json(message)  # raises here, in the caller's thread
        self._loop.call(self._session.send_control, message)

    def wait_closed(self, timeout_s: float | None = None) -> Closed | None:
        """Wait until the session is over; None when it still lives after the time."""
        self._over.wait(timeout_s)
        return self._closed

    def ended(self, closed: Closed) -> None:
        """For the session: it is over."""
        self._closed = closed
        self._over.set()

    @property
    def _peer_stats(self) -> Mapping[str, Any] | None:
        """The other end's last statistics, None when it did not say goodbye."""
        return None if self._closed is None else self._closed.peer_stats
