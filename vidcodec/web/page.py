"""One open page: a slot for the newest frame, one for the newest text of each kind, and nothing that queues.

A frame is sent only while fewer than `WINDOW` frames are not yet drawn by the page. So a page that is slow, hidden or
stuck gets fewer frames or none, at no cost in memory or delay for the call, whatever the buffers of the network hold.
"""

import asyncio

from aiohttp import web

from vidcodec.web.pixels import Frame

WINDOW = 2
MESSAGES_PER_S = 200
BURST = 400


class Page:
    """What is on its way to one page. All methods run on the event loop."""

    def __init__(self, socket: web.WebSocketResponse) -> None:
        self._socket = socket
        self._frame: Frame | None = None
        self._texts: dict[str, str] = {}
        self._undrawn = 0
        self._wake = asyncio.Event()
        self._tokens = float(BURST)
        self._counted_s = 0.0
        self.frames_sent = 0

    def offer_frame(self, frame: Frame) -> None:
        """Show this frame next, instead of the one that still waits."""
        self._frame = frame
        if self._undrawn < WINDOW:
            self._wake.set()

    def begin(self, hello: str) -> None:
        """Another call: what still waits is of the one before, whose pictures may stand in other panels."""
        self._texts.clear()
        self._frame = None
        self.offer_text("hello", hello)

    def offer_text(self, kind: str, text: str) -> None:
        """Send this text after those that wait, instead of the one of the same kind among them."""
        self._texts.pop(kind, None)  # in its old place it would overtake what was offered since, such as a new hello
        self._texts[kind] = text
        self._wake.set()

    def drawn(self) -> None:
        """The page has drawn a frame, or replaced it by a newer one."""
        self._undrawn = max(0, self._undrawn - 1)
        self._wake.set()

    def flooding(self, now_s: float) -> bool:
        """Whether the page sends messages faster than a page does; call once for each message."""
        self._tokens = min(BURST, self._tokens + (now_s - self._counted_s) * MESSAGES_PER_S) - 1
        self._counted_s = now_s
        return self._tokens < 0

    async def pump(self) -> None:
        """Send what is offered until the socket closes.

        Raises:
            ConnectionError: the page is gone.
        """
        while not self._socket.closed:
            await self._wake.wait()
            self._wake.clear()
            while self._texts:
                await self._socket.send_str(self._texts.pop(next(iter(self._texts))))
            frame = self._frame
            if frame is not None and self._undrawn < WINDOW:
                self._frame = None
                self._undrawn += 1
                self.frames_sent += 1
                await self._socket.send_bytes(frame.message)
                self._wake.set()
