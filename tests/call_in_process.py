"""A whole call inside the test's own process: real link, any codec, any source."""

import queue
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from receiver.call import Call as Receiving
from receiver.measuring import Measurer
from sender.call import Call as Sending
from sender.call import CallOptions
from sender.capture import Source
from sender.crop import LiveCropper
from vidcodec.codec import BITSTREAM_VERSION, Codec
from vidcodec.link import Hello, LinkOptions, ReceiverHandlers, ReceiverServer, parse_impairment
from vidcodec.report import Report


@dataclass(frozen=True)
class Outcome:
    """What both ends say of a call."""

    sent: Report
    received: Report
    error: BaseException | None


def make_call(
    codec: Codec,
    source: Source,
    record: Sequence[Path],
    *,
    quality: int | None = 0,
    network: str = "delay=1",
    repair: str = "auto",
) -> Outcome:
    """Send all of a source, uncropped, and record what arrives."""
    calls: queue.Queue[Receiving] = queue.Queue()
    by_link: dict[object, Receiving] = {}

    def opened(link: object, hello: Hello) -> None:
        by_link[link] = Receiving(codec, link, hello, None)  # type: ignore[arg-type]
        calls.put(by_link[link])

    handlers = ReceiverHandlers(
        on_open=opened,
        on_frame=lambda link, frame: by_link[link].on_frame(frame),
        on_stats=lambda link, stats: by_link[link].on_stats(stats),
        on_bye=lambda link, stats: by_link[link].on_bye(stats),
        on_closed=lambda link, closed: by_link[link].on_closed(closed),
    )
    hello = Hello(BITSTREAM_VERSION, codec.info.model_id, codec.info.weights_sha256)
    options = LinkOptions(impair=parse_impairment(network), seed=7, adaptive=False, rate_kbps=5000.0, repair=repair)
    with ReceiverServer("127.0.0.1:0", hello, handlers) as server, source:
        sending = Sending(codec, source, CallOptions(quality, None, crop="none", baseline="none"), None)
        sending.connect(server.url, options)
        receiving = calls.get(timeout=10)

        def receive() -> None:
            receiving.start(None, Measurer(None, codec.info, 30.0, [str(path) for path in record], None))
            while not receiving.ending and receiving.closed is None:
                receiving.show_next(0.05)
            receiving.finish()

        receiver = threading.Thread(target=receive)
        receiver.start()
        began_s = time.monotonic()
        with LiveCropper("none") as cropper:
            sending.run(cropper, lambda: time.monotonic() - began_s > 30, lambda call: None)
            sending.finish()
        receiver.join(20)
    assert not receiver.is_alive()
    return Outcome(sending.log.report(), receiving.log.report(), receiving.error)
