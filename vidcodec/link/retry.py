"""Connecting again after a lost session: patient where it may help, and not where it cannot."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

from vidcodec.errors import PeerError
from vidcodec.link.messages import Hello, PeerRefused
from vidcodec.link.options import LinkOptions, SenderHandlers
from vidcodec.link.sender import SenderLink, connect
from vidcodec.link.session import clock_ms

EXCHANGE_S, CONNECT_S = 4.0, 2.0
"""Of an attempt. A receiver that asks STUN servers takes up to 3 s to answer."""


@dataclass
class Backoff:
    """Pauses between attempts, doubling from `first_s` to `most_s`."""

    first_s: float = 0.5
    most_s: float = 2.0
    _next_s: float = 0.0

    def next_s(self) -> float:
        """The pause before the next attempt."""
        self._next_s = min(max(self.first_s, 2.0 * self._next_s), self.most_s)
        return self._next_s


def reconnect(
    url: str,
    hello: Hello,
    options: LinkOptions | None = None,
    handlers: SenderHandlers | None = None,
    *,
    timeout_s: float = 30.0,
    backoff: Backoff | None = None,
    stop: threading.Event | None = None,
    on_failure: Callable[[PeerError], object] = lambda error: None,
) -> SenderLink:
    """Try `connect` until it works.

    Set `hello.first` to the number of the first frame that will be sent; the receiver holds no state of the session
    before, so that frame has to be a refresh.

    Args:
        url, hello, options, handlers: as for `connect`; an attempt takes at most 6 s, 2 s of them to connect.
        timeout_s: time after which the last error is raised.
        backoff: pauses between attempts; the default goes from 0.5 to 2 s.
        stop: ends the attempts when set.
        on_failure: called with the error of each failed attempt.

    Raises:
        PeerRefused: at once, when trying again cannot help (wrong token, other weights or version).
        PeerError: the last attempt's, after the time is up or `stop` is set.
    """
    options = options or LinkOptions()
    ice = options.ice
    quick = replace(
        ice,
        exchange_timeout_s=min(EXCHANGE_S, ice.exchange_timeout_s),
        connect_timeout_s=min(CONNECT_S, ice.connect_timeout_s),
    )
    options = replace(options, ice=quick)
    backoff = backoff or Backoff()
    stop = stop or threading.Event()
    end_ms = clock_ms() + timeout_s * 1000.0
    while True:
        try:
            return connect(url, hello, options, handlers)
        except PeerRefused:
            raise
        except PeerError as error:
            on_failure(error)
            left_s = (end_ms - clock_ms()) / 1000.0
            if left_s <= 0.0 or stop.wait(min(backoff.next_s(), left_s)):
                raise
