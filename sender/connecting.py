"""Reaching the receiver, and reaching it again after it was lost."""

import threading
import time
from collections.abc import Callable
from dataclasses import replace

import cv2  # noqa: F401

# The link brings PyAV, which must come after OpenCV: the other way round cv2.imshow hangs.
# isort: split
from vidcodec.codec import BITSTREAM_VERSION, FRAME_SIZE, CodecInfo
from vidcodec.link import Hello, LinkOptions, SenderHandlers, SenderLink, connect, reconnect

LEAST_HELLO_FPS, MAX_HELLO_FPS = 0.01, 240.0
"""What a hello can say; the rate of a source is only a hint there."""


class Connector:
    """Makes links to one receiver.

    Args:
        url: what the receiver printed.
        codec: what both ends must have.
        fps: nominal frame rate of the source.
        baseline: what runs beside ours, for the receiver to lay out its panels.
        options, handlers: of every link.

    Attributes:
        connected_s: how long the first connection took.
        peers_may_leave: whether it is no failure when nobody is there at the end.
    """

    peers_may_leave = False

    def __init__(
        self, url: str, codec: CodecInfo, fps: float, baseline: str, *, options: LinkOptions, handlers: SenderHandlers
    ) -> None:
        self.connected_s = 0.0
        self._url = url
        self._options = options
        self._handlers = handlers
        self._hello = Hello(
            BITSTREAM_VERSION,
            codec.model_id,
            codec.weights_sha256,
            fps=min(max(fps, LEAST_HELLO_FPS), MAX_HELLO_FPS),
            width=FRAME_SIZE,
            height=FRAME_SIZE,
            options={"baseline": baseline},
        )

    def connect(self) -> SenderLink:
        """The first link.

        Raises:
            PeerError: nobody there, refused, or it does not fit.
            UsageError: the URL is none.
        """
        began_s = time.monotonic()
        link = connect(self._url, self._hello, self._options, self._handlers)
        self.connected_s = time.monotonic() - began_s
        # A network that changes with time goes on changing, whatever session runs over it.
        self._options = replace(self._options, impair_since_ms=began_s * 1000.0)
        return link

    def connect_again(self, first: int, timeout_s: float, wants_to_stop: Callable[[], bool]) -> SenderLink:
        """A link after the last one was lost; its first frame will be number `first` and stand alone.

        Raises:
            PeerError: the receiver could not be reached within `timeout_s`, or refused, or `wants_to_stop`.
            InputError: the file of `--ca` is gone.
        """
        stop, links, errors = threading.Event(), list[SenderLink](), list[BaseException]()
        hello = replace(self._hello, first=first)

        def attempt() -> None:
            try:
                links.append(reconnect(self._url, hello, self._options, self._handlers, timeout_s=timeout_s, stop=stop))
            except BaseException as error:  # raised below, where it ends the call
                errors.append(error)

        thread = threading.Thread(target=attempt, name="reconnect", daemon=True)
        thread.start()
        while thread.is_alive():
            thread.join(0.05)
            if wants_to_stop():
                stop.set()
        if not links:
            raise errors[0]
        return links[0]
