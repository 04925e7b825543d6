"""One call at the sender: the frame path, the measuring beside it, and what both ends tell each other.

Capture -> FramePath -> link            (every frame; nothing in its way)
              '-> Measurer -> CallLog   (beside it)
link's handlers ------------> CallLog   (what the receiver says)
"""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sender.capture import Capture, Source
from sender.connecting import Connector
from sender.crop import LiveCropper, Mode
from sender.frames import Coded
from sender.measuring import Measurer, RateMeter
from sender.path import FramePath
from sender.steering import Settings, Steering
from sender.telling import Teller
from sender.totals import Totals, packet_wire_bytes
from vidcodec.baselines.live import Baseline
from vidcodec.calllog import CallLog, SenderTotals
from vidcodec.codec import Codec
from vidcodec.errors import PeerError
from vidcodec.exchange import take_receiver_stats
from vidcodec.link import Acknowledgement, Closed, LinkOptions, Refresh, SenderHandlers, SenderLink
from vidcodec.link.impair import Impairment
from vidcodec.rate import RateControl
from vidcodec.report import CodecFigures
from vidcodec.sidechannel import SideSender
from vidcodec.web.callpage import CallPage
from vidcodec.web.view import PANELS
from vidcodec.wire import rate_kbps

if TYPE_CHECKING:
    from vidcodec.watch.server import WatchServer

log = logging.getLogger(__name__)

ARRIVE_S = 0.5
MEASURE_S = 3.0


@dataclass(frozen=True)
class CallOptions:
    """How a call is made.

    Attributes:
        quality: fixed rate point; None to hold `bitrate_kbps`.
        bitrate_kbps: payload rate to hold when `quality` is None; None with it to send recorded packets as they stand.
        crop: what part of the picture is sent.
        baseline: codec beside ours, one of `vidcodec.baselines.live.CHOICES`.
        baseline_scale: 1, 2, 4, 8, or None for the best at the rate.
        duration_s: end after this long, None for never.
        frames: end after this many frames, None for never.
        reconnect_s: for how long to try again after the receiver was lost.
    """

    quality: int | None
    bitrate_kbps: float | None
    crop: Mode = "face"
    baseline: str = "vp8"
    baseline_scale: int | None = None
    duration_s: float | None = None
    frames: int | None = None
    reconnect_s: float = 0.0


class Call:
    """A call from connecting to the last figure exchanged. Used from the main thread.

    Attributes:
        log: figures so far.
    """

    def __init__(
        self,
        codec: Codec,
        source: Source,
        options: CallOptions,
        side: SideSender | None,
        page: CallPage | None = None,
        *,
        log: CallLog | None = None,
    ) -> None:
        info = codec.info
        figures = CodecFigures(info.model_id, info.weights_sha256, info.device, info.precision)
        self.log: CallLog = CallLog(figures) if log is None else log
        self._codec = codec
        self._source = source
        self._options = options
        self._side = side
        self._page = page
        self._link: SenderLink | None = None
        self._connector: Connector | None = None
        self._capture: Capture | None = None
        self._path: FramePath | None = None
        self._measurer: Measurer | None = None
        self._steering: Steering | None = None
        self._impair: Impairment | None = None
        self._teller = Teller(self.log, self._totals, one_clock=side is not None)
        self._counted = Totals()
        self._bye = False
        self._closed: Closed | None = None

    def connect(self, where: "str | WatchServer", options: LinkOptions) -> str:
        """Reach the receiver by its URL, or wait for a browser; returns the fingerprint code to compare.

        Raises:
            PeerError: nobody there, refused, or it does not fit.
            UsageError: the URL is none.
        """
        handlers = SenderHandlers(
            on_ack=self._on_ack,
            on_refresh=self._on_refresh,
            on_stats=self._on_stats,
            on_bye=self._on_bye,
            on_closed=self._on_closed,
        )
        self._impair = options.impair
        baseline = self._options.baseline
        info, fps = self._codec.info, self._source.fps
        if isinstance(where, str):
            self._connector = Connector(where, info, fps, baseline, options=options, handlers=handlers)
        else:
            from sender.watching import Viewers

            self._connector = Viewers(where, info, fps, baseline, options=options, handlers=handlers)
        self._link = self._connector.connect()
        return self._link.code

    @property
    def link(self) -> SenderLink | None:
        """The present session with the receiver, None before the first."""
        return self._link

    @property
    def connected_s(self) -> float:
        """How long connecting took."""
        return 0.0 if self._connector is None else self._connector.connected_s

    def run(self, cropper: LiveCropper, wants_to_stop: Callable[[], bool], tick: Callable[["Call"], object]) -> None:
        """Send until the source ends, the time is up, the receiver hangs up, or `wants_to_stop`.

        `tick` is called four times a second.

        Raises:
            InputError: the source broke.
            PeerError: the receiver is gone.
        """
        link = self._link
        assert link is not None  # connect comes first
        options, fps = self._options, self._source.fps
        self._teller.use(link)
        info = self._codec.info
        control = None
        if options.quality is None and options.bitrate_kbps is not None:
            control = RateControl.start(options.bitrate_kbps, fps, info.qualities, info.lowest)
        expected_kbps = None
        if options.bitrate_kbps is not None:
            expected_kbps = options.bitrate_kbps + rate_kbps(round(packet_wire_bytes(0) * fps), 1.0)
        baseline = Baseline(options.baseline, options.baseline_scale, fps)
        self._measurer = Measurer(
            baseline,
            RateMeter(fps, expected_kbps),
            packet_wire_bytes,
            self._side,
            self._teller.add,
            page=self._page,
        )
        quality = info.qualities // 2 if options.quality is None else options.quality
        self._path = FramePath(
            link,
            self._codec,
            cropper,
            control=control,
            quality=quality,
            offset_ns=lambda: self._teller.offset_ns,
            wire_bytes=packet_wire_bytes,
            on_coded=self._on_coded,
            most=options.frames,
            resend=options.quality is None and options.bitrate_kbps is None,
        )
        settings = Settings(
            options.quality,
            options.bitrate_kbps,
            options.crop,
            options.baseline,
            options.baseline_scale,
            impair=self._impair,
        )
        steering = self._steering = Steering(
            settings, info.qualities, fps, cropper, self._tell, impair=self._set_impairment
        )
        self._begin_page(self._path, steering)
        steering.say()
        self._counted.begin()
        self._capture = Capture(self._source)
        self._path.start(self._capture)
        self._teller.start()
        end_s = None if options.duration_s is None else time.monotonic() + options.duration_s
        ticked_s = 0.0

        def is_over() -> bool:
            return wants_to_stop() or (end_s is not None and time.monotonic() >= end_s)

        while self._path.running and not self._bye and not wants_to_stop():
            if self._closed is not None and not self._resume(self._path, is_over, wants_to_stop):
                break
            now_s = time.monotonic()
            if end_s is not None and now_s >= end_s:
                break
            if now_s - ticked_s >= 0.25:
                ticked_s = now_s
                tick(self)
            steering.act(self._path, self._measurer)
            time.sleep(0.01)
        self._counted.end()
        self._path.stop()
        closed = self._closed
        if closed is not None and closed.reason != "bye":
            raise closed.error or PeerError("the receiver is gone")
        for error in (self._path.error, self._measurer.error):
            if error is not None:
                raise error

    def _begin_page(self, path: FramePath, steering: Steering) -> None:
        """Have the page show what goes to the present receiver."""
        if self._page is not None:
            self._page.begin(
                PANELS[:2] if self._options.baseline == "none" else PANELS,
                lambda change: steering.wish({"name": change.name, "value": change.value}),
                lambda: path.references.asked_for_refresh(None),
            )

    def _resume(self, path: FramePath, is_over: Callable[[], bool], wants_to_stop: Callable[[], bool]) -> bool:
        """After the session was lost: connect again as long as we may, and go on. False when the call is over.

        One that `wants_to_stop` ends is over in order, as if the receiver were there. One whose time is up meanwhile
        stays lost.
        """
        lost, wait_s = self._closed, self._options.reconnect_s
        if lost is None or lost.reason == "bye" or self._connector is None or not wait_s:
            return False
        log.warning("%s: trying again for %g s", lost.error, wait_s)
        if self._page is not None:
            self._page.end(f"{lost.error}: trying again")
        if self._link is not None:
            self._link.close()
        self._closed = None
        try:
            link = self._connector.connect_again(path.next_number, wait_s, is_over)
        except PeerError as error:
            ended = wants_to_stop() or (self._connector.peers_may_leave and is_over())
            self._closed = Closed("bye") if ended else Closed("lost", error)
            return False
        self._counted.next_link(path.counts, self._link_stats())
        self._link = link
        self._teller.use(link)
        path.use(link)
        if self._steering is not None:
            self._begin_page(path, self._steering)
            self._steering.say()
        return True

    def finish(self) -> None:
        """Measure what was sent, exchange final figures, end the link. Also after `run` has raised."""
        captured = self._capture
        self._counted.end()
        if self._path is not None:
            self._path.stop()
        if captured is not None:
            captured.close()
        if self._steering is not None:
            self._steering.close()
        if self._page is not None:
            lost = None if self._closed is None else self._closed.error
            self._page.end("the call is over" if lost is None else str(lost))
        link = self._link
        if link is None:
            return
        if self._measurer is not None and self._path is not None:
            self._await_arrivals(link)
            self._measurer.finish(MEASURE_S)
        answer = link.close(self._teller.finish(link))
        if answer and not self._bye:
            self._on_stats(answer)

    @property
    def baseline_name(self) -> str:
        """What runs beside ours, as people read it."""
        return "none" if self._measurer is None else self._measurer.baseline.name

    def update_totals(self) -> None:
        """Bring the log's counts up to date, and the page's figures."""
        self.log.set_totals(self._totals())
        if self._page is not None and self._link is not None:
            self._page.figures(self.log, self._codec.info.model_id, self.baseline_name, self._link.stats)

    def _tell(self, message: Mapping[str, Any]) -> None:
        """Tell the receiver, and our own page, where the call stands."""
        if self._link is not None:
            self._link.send_stats(message)
        if self._page is not None:
            self._page.heard(message["steering"])

    def _on_coded(self, coded: Coded) -> None:
        """The link took a frame. On the frame path's thread."""
        self._counted.frame_left()
        self._teller.made(coded.record.number, coded.shown)
        if self._measurer is not None:
            self._measurer.put(coded)

    def _set_impairment(self, impairment: Impairment) -> None:
        if self._link is not None:
            self._link.set_impairment(impairment)

    # On the link's thread.

    def _on_ack(self, ack: Acknowledgement) -> None:
        if self._path is not None:
            self._path.on_ack(ack)

    def _on_refresh(self, refresh: Refresh) -> None:
        if self._path is not None:
            self._path.references.asked_for_refresh(refresh.have)

    def _on_stats(self, payload: Mapping[str, Any]) -> None:
        if "wish" in payload:
            if self._steering is not None:
                self._steering.wish(payload["wish"])
            return
        try:
            take_receiver_stats(self.log, payload)
        except ValueError as error:
            log.warning("the receiver's statistics are unusable: %s", error)

    def _on_bye(self, payload: Mapping[str, Any]) -> None:
        self._on_stats(payload)
        self._bye = True

    def _on_closed(self, closed: Closed) -> None:
        self._closed = closed

    # Figures.

    def _await_arrivals(self, link: SenderLink) -> None:
        """Give frames on their way the time to arrive before the goodbye overtakes them."""
        until_s = time.monotonic() + ARRIVE_S
        while link.closed is None and link.stats["bytesInFlight"] > 0 and time.monotonic() < until_s:
            time.sleep(0.005)

    def _totals(self) -> SenderTotals:
        counts = self._path.counts if self._path is not None else None
        if counts is None or self._measurer is None or self._capture is None:
            return SenderTotals()
        return self._counted.of(counts, self._capture.captured_count, self._measurer.baseline, self._link_stats())

    def _link_stats(self) -> Mapping[str, Any]:
        return {} if self._link is None else self._link.stats
