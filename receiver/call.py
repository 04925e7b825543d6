"""One call at the receiver.

    link thread --PacketQueue--> decode thread --Mailbox--> main thread (screen) --queue--> measuring thread
                                                                                              |-> recordings
                                                                                              '-> CallLog

The link's thread only hands on. The screen gets the newest picture. Measuring and recording come after a frame was
shown, in a thread of their own, and when they cannot keep up a frame goes unmeasured instead of late.
"""

import logging
import queue
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from receiver.decoding import FrameDecoder, PacketQueue, Spacing, Verdict
from receiver.display import Window
from receiver.measuring import Measurer
from receiver.showing import CallView, Figures
from receiver.virtualcamera import VirtualCamera
from vidcodec.calllog import CallLog, Live
from vidcodec.codec import FRAME_SIZE, Codec
from vidcodec.drift import APART, DriftWatch, blocks_of
from vidcodec.errors import VidcodecError
from vidcodec.exchange import MAX_LABEL, ROWS_PER_MESSAGE, Untold, receiver_stats, take_sender_stats, told_sketch
from vidcodec.link.framing import FrameStatus
from vidcodec.link.messages import Hello
from vidcodec.link.options import Closed, Frame
from vidcodec.link.receiver import ReceiverLink
from vidcodec.mailbox import Mailbox, MailboxClosed
from vidcodec.records import ShownFrame
from vidcodec.report import CodecFigures
from vidcodec.sidechannel import SidePictures, SideReceiver
from vidcodec.web.callpage import CallPage
from vidcodec.web.controls import Change
from vidcodec.web.view import PANELS

log = logging.getLogger(__name__)

Picture = NDArray[np.uint8]

STATS_S = 1.0
REFRESH_AFTER_S = 0.3
"""A receiver that could decode nothing for this long asks for a frame that it can."""

DRAIN_S = 2.0


@dataclass(frozen=True, slots=True)
class Decoded:
    """A picture on its way to the screen."""

    number: int
    picture: Picture
    received_ns: int
    decoded_ns: int


@dataclass(frozen=True, slots=True)
class Shown:
    """A picture that was shown, on its way to be measured and recorded; `decoded` counts the frames up to it."""

    record: ShownFrame
    picture: Picture
    decoded: int


def offered_baseline(hello: Hello) -> str:
    """What the sender says that it runs beside ours, `none` where it says nothing sensible."""
    named = hello.options.get("baseline")
    return named if isinstance(named, str) and named.isprintable() and 0 < len(named) <= MAX_LABEL else "none"


class Call:
    """Everything that runs for one sender. Made on the link's thread, `start`ed and `finish`ed on the main thread.

    Attributes:
        log: figures so far.
        closed: how the link ended, None while it lives.
        ending: the sender says goodbye: `finish` is due.
    """

    def __init__(
        self,
        codec: Codec,
        link: ReceiverLink,
        hello: Hello,
        side: SideReceiver | None,
        resumes: "Call | None" = None,
    ) -> None:
        info = codec.info
        self.fps = hello.fps
        figures = CodecFigures(info.model_id, info.weights_sha256, info.device, info.precision)
        # A sender that was lost and comes back goes on with its count of frames, and we with our figures.
        self._resumes = resumes
        self.log: CallLog = CallLog(figures) if resumes is None else resumes.log
        self.closed: Closed | None = None
        self.ending = False
        self.error: BaseException | None = None
        self.shown = 0
        self._codec = codec
        self._link = link
        self._side = side
        self._packets = PacketQueue()
        self._spacing = Spacing(hello.fps)
        self._pictures: Mailbox[Decoded] = Mailbox()
        self._to_measure: queue.Queue[Shown | None] = queue.Queue(maxsize=45)
        self._untold: Untold[ShownFrame] = Untold()
        self._decoded = 0
        self._newest_decoded = -1
        self._good_s = 0.0
        self._complained = False
        self._drift = DriftWatch()
        # Known from the first frame on, so that the panels, and the size of a film of them, never change.
        self._figures = Figures(model=info.model_id, baseline=offered_baseline(hello))
        self._view = CallView(side is not None)
        self._window: Window | None = None
        self._measurer: Measurer | None = None
        self._page: CallPage | None = None
        self._camera: VirtualCamera | None = None
        self._steering: object = None
        self._stop_figures = threading.Event()
        self._threads: list[threading.Thread] = []

    # On the link's thread.

    def on_frame(self, frame: Frame) -> None:
        """A packet arrived."""
        self._packets.put(frame)

    def on_stats(self, payload: Mapping[str, Any]) -> None:
        """The sender's statistics arrived."""
        if "steering" in payload:
            self._steering = payload["steering"]
            if self._page is not None:
                self._page.heard(self._steering)
            return
        try:
            take_sender_stats(self.log, payload)
            if (told := told_sketch(payload, blocks_of(FRAME_SIZE))) is not None:
                self._compare(told[0], self._drift.told(*told))
        except ValueError as error:
            log.warning("the sender's statistics are unusable: %s", error)

    def on_bye(self, payload: Mapping[str, Any]) -> None:
        """The sender says goodbye."""
        self.on_stats(payload)
        self.ending = True

    def on_closed(self, closed: Closed) -> None:
        """The link is over."""
        self.closed = closed

    # On the main thread.

    def start(
        self,
        window: Window | None,
        measurer: Measurer,
        page: CallPage | None = None,
        camera: VirtualCamera | None = None,
    ) -> None:
        """Begin to decode. A call that this one resumes has finished by now."""
        if self._resumes is not None:
            self._decoded = self._resumes._decoded
            self._untold = self._resumes._untold
            self._untold.again()
            self._resumes = None
        self._window = window
        self._camera = camera
        if page is not None:
            panels: tuple[str, ...] = ("ours",)
            if self._side is not None:
                panels = PANELS[:2] if self._figures.baseline == "none" else PANELS
            page.begin(
                panels,
                self._wish,
                lambda: self._link.request_refresh(None, "asked for by the viewer"),
                measurer.record if measurer.has_film else None,
            )
            self._page = page
            if self._steering is not None:  # it was said before there was a page to show it
                page.heard(self._steering)
        self._measurer = measurer
        work = (("decode", self._decode_all), ("measure", self._measure_all), ("figures", self._tell_figures))
        for name, target in work:
            thread = threading.Thread(target=self._guard, args=(target,), name=name, daemon=True)
            self._threads.append(thread)
            thread.start()

    def show_next(self, timeout_s: float) -> bool:
        """Show the newest picture; False when none came in time."""
        try:
            decoded = self._pictures.get(timeout_s)
        except (TimeoutError, MailboxClosed):
            return False
        self._show(decoded)
        return True

    def _show(self, decoded: Decoded) -> None:
        """Hand a picture to whoever looks: the main thread where that takes time, else the decode thread at once."""
        if self._window is not None:
            side = SidePictures() if self._side is None else self._side.peek(decoded.number)
            self._window.show(self._view.draw(decoded.picture, side, self._figures))
        shown_ns = time.monotonic_ns()
        self.shown += 1
        if self._page is not None:
            self._page.shown(decoded.number, decoded.picture)
        if self._camera is not None:
            self._camera.show(decoded.picture)
        record = ShownFrame(decoded.number, decoded.received_ns, decoded.decoded_ns, shown_ns)
        shown = Shown(record, decoded.picture, self._decoded)
        try:
            self._to_measure.put_nowait(shown)
        except queue.Full:
            self._note(record, shown.decoded)

    def _wish(self, change: Change) -> None:
        """Have the sender change what a viewer of the page wants changed."""
        self._link.send_stats({"wish": {"name": change.name, "value": change.value}})

    @property
    def code(self) -> str:
        """The fingerprint code, to be compared with the one that the sender prints."""
        return self._link.code

    @property
    def live(self) -> Live:
        """Figures of the last two seconds."""
        return self._figures.live

    @property
    def baseline(self) -> str:
        """What runs beside ours."""
        scale = self.log.totals.baseline_scale
        plain = scale == 1 or self._figures.baseline.startswith("bicubic")
        return self._figures.baseline + ("" if plain else f" 1/{scale}")

    def finish(self) -> None:
        """Show and measure what is there, exchange final figures, end the link."""
        self._stop_figures.set()
        self._packets.close()
        threads = {thread.name: thread for thread in self._threads}
        if "decode" in threads:
            threads["decode"].join(DRAIN_S)
        self._pictures.close()
        while self.show_next(0.0):
            pass
        unmeasured = self._hurry_measuring(threads["measure"]) if "measure" in threads else []
        if "figures" in threads:
            threads["figures"].join(DRAIN_S)
        log.info("%d packets skipped; link: %s", self._packets.skipped, self._link.stats)
        final = self._untold.take()
        for start in range(0, max(0, len(final) - ROWS_PER_MESSAGE), ROWS_PER_MESSAGE):
            self._link.send_stats(receiver_stats(self._decoded, final[start : start + ROWS_PER_MESSAGE]))
        rest = final[max(0, (len(final) - 1) // ROWS_PER_MESSAGE * ROWS_PER_MESSAGE) :]
        answer = self._link.close(receiver_stats(self._decoded, rest))
        self.log.set_decoded(self._decoded)
        if answer and not self.ending:
            self.on_stats(answer)
        if self._measurer is not None:
            try:
                for shown in unmeasured:  # nobody waits any more: the recording gets them all the same
                    self._measurer.measure(shown.record, shown.picture, self._figures)
            finally:
                self._measurer.close(replace(self._figures, live=self.log.live()))

    def _hurry_measuring(self, thread: threading.Thread) -> list[Shown]:
        """End the measuring thread. What it has not come to in time counts as shown and unmeasured, and is returned."""
        until_s = time.monotonic() + DRAIN_S
        while not self._to_measure.empty() and thread.is_alive() and time.monotonic() < until_s:
            time.sleep(0.005)
        left = []
        while True:
            try:
                shown = self._to_measure.get_nowait()
            except queue.Empty:
                break
            if shown is not None:
                left.append(shown)
                self._note(shown.record, shown.decoded)
        self._to_measure.put(None)
        thread.join()
        return left

    # On threads of their own.

    def _guard(self, target: Any) -> None:
        """An error in a thread ends the call, and is reported by the main thread."""
        try:
            target()
        except BaseException as error:
            self.error = self.error or error

    def _decode_all(self) -> None:
        decoder = FrameDecoder(self._codec)
        while not self._packets.drained:
            frame = self._packets.get(0.02)
            for count, verdict in enumerate(() if frame is None else decoder.push(frame)):
                self._judge(verdict, decoder.newest, count > 0 or decoder.more or not self._packets.empty)
            for verdict in decoder.expire(time.monotonic() * 1000.0):
                self._judge(verdict, decoder.newest)

    def _judge(self, verdict: Verdict, newest: int | None, hurry: bool = True) -> None:
        frame = verdict.frame
        self._link.report(frame.number, verdict.status)
        if verdict.status is not FrameStatus.OK or verdict.picture is None:
            log.debug("frame %d cannot be decoded: %s", frame.number, verdict.reason)
            if verdict.status is FrameStatus.DAMAGED and not self._complained:
                self._complained = True
                log.warning("frame %d is damaged (further ones are only counted): %s", frame.number, verdict.reason)
            # The verdict alone makes the sender mend it. This is for when nothing came of that.
            if time.monotonic() - self._good_s > REFRESH_AFTER_S:
                self._good_s = time.monotonic()
                self._link.request_refresh(newest, verdict.reason[:200])
            return
        self._compare(frame.number, self._drift.decoded(frame.number, verdict.picture))
        self._decoded += 1
        self._good_s = time.monotonic()
        if frame.number > self._newest_decoded:  # what comes late would be a step back in time
            self._newest_decoded = frame.number
            received_ns = round(frame.received_ms * 1e6)
            decoded = Decoded(frame.number, verdict.picture, received_ns, time.monotonic_ns())
            time.sleep(self._spacing.wait_s(frame, time.monotonic(), hurry))
            if self._window is None and self._camera is None:
                self._show(decoded)
            else:
                self._pictures.put(decoded)
        if self._measurer is not None:
            self._measurer.packet(frame.number, frame.packet)

    def _compare(self, number: int, apart: float | None) -> None:
        """Begin anew where our pictures are no longer the sender's: it cannot see that."""
        if apart is not None and apart > APART:
            log.info("frame %d is %.1f apart from the sender's (mean square): asking for a fresh start", number, apart)
            self._link.request_refresh(None, "the pictures of both ends have drifted apart")

    def _measure_all(self) -> None:
        assert self._measurer is not None  # set by start
        while (shown := self._to_measure.get()) is not None:
            try:
                self._note(self._measurer.measure(shown.record, shown.picture, self._figures), shown.decoded)
            except VidcodecError as error:
                self.error = self.error or error
                self._note(shown.record, shown.decoded)

    def _tell_figures(self) -> None:
        """Once a second tell the sender what was shown, and four times draw new figures."""
        last_s = time.monotonic()
        while not self._stop_figures.wait(0.25):
            self._figures = replace(self._figures, live=self.log.live())
            if self._page is not None:
                self._page.figures(self.log, self._figures.model, self.baseline, self._link.stats)
            if time.monotonic() - last_s >= STATS_S:
                last_s = time.monotonic()
                self._link.send_stats(receiver_stats(self._decoded, self._untold.take(ROWS_PER_MESSAGE)))

    def _note(self, record: ShownFrame, decoded: int) -> None:
        self.log.set_decoded(decoded)
        self.log.add_shown([record])
        self._untold.add(record)
