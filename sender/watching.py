"""A browser in the receiver's place: links to whoever opens the page. Stands where `Connector` does."""

import time
from collections.abc import Callable
from dataclasses import replace

from sender.connecting import Connector
from vidcodec.codec import CodecInfo
from vidcodec.link import LinkOptions, SenderHandlers, SenderLink
from vidcodec.watch.server import WatchServer


class Viewers(Connector):
    """Makes links to the browsers that open a page, one after the other.

    Args:
        server: where the page is.
        codec, fps, baseline, options, handlers: as for `Connector`.
    """

    peers_may_leave = True  # a page may be closed

    def __init__(
        self,
        server: WatchServer,
        codec: CodecInfo,
        fps: float,
        baseline: str,
        *,
        options: LinkOptions,
        handlers: SenderHandlers,
    ) -> None:
        super().__init__(server.url, codec, fps, baseline, options=options, handlers=handlers)
        self._server = server

    def connect(self) -> SenderLink:
        """The first link: waits for a browser as long as it takes."""
        link = self._server.wait(self._hello, self._options, self._handlers)
        self._options = replace(self._options, impair_since_ms=time.monotonic() * 1000.0)
        return link

    def connect_again(self, first: int, timeout_s: float, wants_to_stop: Callable[[], bool]) -> SenderLink:
        """The next browser, or the same one after it was reloaded; its first frame is number `first` and stands alone.

        Raises:
            PeerError: nobody came within `timeout_s`, or `wants_to_stop`.
        """
        hello = replace(self._hello, first=first)
        return self._server.wait(hello, self._options, self._handlers, timeout_s=timeout_s, wants_to_stop=wants_to_stop)
