"""The frame path of the sender: newest picture -> crop -> encode -> link, in one thread.

    capture thread --Mailbox--> FramePath --> link
                                    '-- Coded --> measuring thread

Nothing in here waits for anything but the next picture. A frame that the link refuses is not sent, and the coder's
state does not advance to it.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from sender.backlog import DecoderPace
from sender.beginning import FirstFrames
from sender.cadence import (
    LARGE,
    Cadence,
    CadenceChooser,
    FrameCap,
    Headroom,
    TakenRate,
    Thinner,
    after_frame,
    needed_bytes,
)
from sender.capture import Capture, Frame
from sender.crop import LiveCropper
from sender.frames import Coded, Orders, Picture, SendCounts
from sender.references import References
from sender.resending import Recorded
from vidcodec.codec import Codec, State
from vidcodec.link.framing import FrameStatus
from vidcodec.link.options import Acknowledgement
from vidcodec.link.sender import SenderLink
from vidcodec.mailbox import MailboxClosed
from vidcodec.packet import MAX_DISTANCE, NUMBERS, Packet
from vidcodec.rate import RateControl
from vidcodec.records import SentFrame

log = logging.getLogger(__name__)

PATIENCE_S = 0.1
"""How long a packet that must not be left out waits for the link."""


@dataclass(frozen=True, slots=True)
class _Ready:
    """A coded frame that has not left yet; it changes nothing until it does. `quality`: what was asked of the codec."""

    number: int
    data: bytes
    state: State
    distance: int
    quality: int
    coded: Coded


class FramePath:
    """Runs until the source ends or `stop` is called.

    Args:
        link: where packets go.
        codec: what makes them.
        cropper: what cuts the face out.
        control: rate control, or None for a fixed `quality`.
        quality: the fixed quality.
        offset_ns: tells the receiver's clock minus ours.
        wire_bytes: what a packet of so many bytes costs on the wire.
        on_coded: takes each frame that was sent; must not wait.
        most: stop after this many frames, or None.
        resend: send packets of a recorded source as they stand, where the receiver can decode them.
    """

    def __init__(
        self,
        link: SenderLink,
        codec: Codec,
        cropper: LiveCropper,
        *,
        control: RateControl | None,
        quality: int,
        offset_ns: Callable[[], int],
        wire_bytes: Callable[[int], int],
        on_coded: Callable[[Coded], object],
        most: int | None = None,
        resend: bool = False,
    ) -> None:
        self.references = References(codec.blank_state())
        self.counts = SendCounts()
        self.error: BaseException | None = None
        self._link = link
        self._codec = codec
        self._cropper = cropper
        self._control = control
        self._frame_bytes = 0.0 if control is None else control.frame_bytes
        self._quality = quality
        self._offset_ns = offset_ns
        self._wire_bytes = wire_bytes
        self._on_coded = on_coded
        self._most = most
        self._resend = resend
        self._next = 0
        self._orders: Orders | None = None
        self._obeyed: Orders | None = None
        self._paused = False
        self._fps = 30.0
        self._chooser = CadenceChooser(self._fps)
        self._pace = DecoderPace(self._fps)
        self._thinner = Thinner()
        self._taken_rate = TakenRate()
        self._cap = FrameCap()
        self._headroom = Headroom()
        self._pending: list[_Ready] = []
        self._used = link
        self._first = FirstFrames()
        self._warned = False
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def on_ack(self, ack: Acknowledgement) -> None:
        """For the link: news of a frame."""
        self._first.answered(ack.number)
        if ack.status not in (FrameStatus.RECEIVED, FrameStatus.OK):
            log.debug("frame %d was not decoded (%s); %d are sent", ack.number, ack.status.name, self.counts.sent)
        self.references.acknowledged(ack.number, ack.status, time.monotonic())

    def obey(self, orders: Orders) -> None:
        """Make frames in another way, from the next one on. Any thread; the newest orders win."""
        self._orders = orders

    def use(self, link: SenderLink) -> None:
        """Go on over another link, whose receiver holds nothing."""
        self.references.restart()
        self._first = FirstFrames()
        self._link = link

    def start(self, capture: Capture) -> None:
        """Begin to take pictures."""
        self._fps = capture.source.fps
        self._chooser = CadenceChooser(self._fps)
        self._pace = DecoderPace(self._fps)
        self._next = capture.source.first
        self._thread = threading.Thread(target=self._run, args=(capture,), name="frames", daemon=True)
        self._thread.start()

    @property
    def next_number(self) -> int:
        """Full count of the frame that is sent next."""
        return self._next

    @property
    def running(self) -> bool:
        """Whether frames still go out."""
        return self._thread is not None and self._thread.is_alive()

    def stop(self) -> None:
        """Send no further frame; waits for the one in work."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(2.0)

    def _run(self, capture: Capture) -> None:
        try:
            while not self._stopped.is_set() and (self._most is None or self.counts.sent < self._most):
                try:
                    frame = capture.get(0.1)
                except TimeoutError:
                    continue
                except MailboxClosed:
                    return
                self._follow_orders()
                # Recorded frames wait in a row, since they need each other; where one cannot be used as it stands, the
                # newest one is enough.
                idle = frame.recorded is not None and capture.waiting and self._usable(frame) is None
                if not self._paused and not idle and self._wanted(frame):
                    self._send(frame)
        except BaseException as error:  # reported by the main thread
            self.error = error

    def _follow_orders(self) -> None:
        """The rate control belongs to this thread, so what changes it is done here."""
        orders = self._orders
        if orders is None or orders is self._obeyed:
            return
        self._obeyed = orders
        self._cropper, self._paused = orders.cropper, orders.paused
        self._resend = orders.kbps is None and orders.quality is None
        if orders.kbps is not None:
            self._frame_bytes = orders.kbps * 1000 / 8 / self._fps
        if orders.kbps is None:
            self._control = None
            self._quality = self._quality if orders.quality is None else orders.quality
        elif self._control is not None:
            self._control = self._control.with_rate(orders.kbps, self._fps)
        else:
            info = self._codec.info
            self._control = RateControl.start(orders.kbps, self._fps, info.qualities, info.lowest)

    @property
    def _cadence(self) -> Cadence:
        """Every frame at once for a fixed quality, else what the path allows; no more than the receiver can decode."""
        return self._pace.limit(Cadence(self._fps) if self._control is None else self._chooser.cadence)

    def _planned(self, per_s: float) -> float:
        """Bytes that each of so many messages a second may have beside its headers."""
        return self._headroom.of(self._link.budget_bytes(per_s))

    def _wanted(self, frame: Frame) -> bool:
        """Whether a frame is coded at all."""
        if frame.recorded is not None:
            return True
        now_s = time.monotonic()
        self._taken_rate.took(now_s)
        self._pace.observe(*self.references.decoder_pace(now_s), now_s)
        if self._control is not None:
            self._chooser.choose(needed_bytes(self._control), self._planned, now_s)
        return self._thinner.keeps(frame.captured_ns / 1e9, self._cadence.fps, self._fps)

    def _next_quality(self) -> int:
        """The fixed quality, or what holds the rate asked for, or less where the path carries less."""
        if self._control is None:
            return self._quality
        cadence = self._cadence
        fps = self._taken_rate.of(cadence.fps)
        carried = self._planned(fps / cadence.per_message) / cadence.per_message
        allowed = max(1.0, min(self._frame_bytes * self._fps / fps, carried))
        self._control = self._control.with_rate(allowed * 8 / 1000 * fps, fps)
        return self._control.quality

    def _usable(self, frame: Frame) -> Recorded | None:
        """The recorded packet of a frame if it can be sent as it stands, else None.

        It can if it needs no reference, or if the receiver holds the very one that it was made from.
        """
        recorded = frame.recorded
        if recorded is None or not self._resend or not 0 <= recorded.number - self._next < NUMBERS // 2:
            return None
        self.references.next()
        if recorded.reference is None:
            return recorded
        held = self.references.held(recorded.number - recorded.packet.header.distance)
        return recorded if held is recorded.reference else None

    def _code(self, frame: Frame, original: Picture, usable: Recorded | None) -> tuple[int, int, Packet, State]:
        """The full count of a frame, the quality it was asked for at, its packet, and the state that it leaves."""
        if usable is not None:
            return usable.number, usable.packet.header.quality, usable.packet, usable.state
        number = self._next + len(self._pending)
        quality = self._next_quality()
        reference = self._pending[-1].state if self._pending else self.references.next(self._link.doubtful)
        recorded = frame.recorded
        if recorded is not None:  # it keeps its number, so that a later packet can be sent as it stands
            number = recorded.number if 0 <= recorded.number - number < NUMBERS // 2 else number
            quality = recorded.packet.header.quality if self._resend else quality
            if reference.number is not None and (number - reference.number) % NUMBERS > MAX_DISTANCE:
                reference = self._codec.blank_state()
        if self._control is not None:
            quality = self._cap.quality(number, quality)
        packet, state = self._codec.encode(original, reference, quality, number % NUMBERS)
        if self._control is not None:
            longest_s, budget = self._cadence.longest_s, self._link.budget_bytes
            most = self._first.most_bytes(longest_s, budget)
            for _ in range(self._first.tries):
                less = self._cap.again(number, quality, len(packet), most)
                if less is None:
                    break
                quality = less
                packet, state = self._codec.encode(original, reference, quality, number % NUMBERS)
            self._first.took(len(packet), longest_s, budget)
        return number, quality, packet, state

    def _open(self, patient: bool) -> bool:
        """Whether link and decoder take a frame now, or, for a packet that others need, soon."""
        until_s = time.monotonic() + (PATIENCE_S if patient else 0.0)
        while not self._taken(now_s := time.monotonic()):
            if now_s >= until_s or self._stopped.is_set():
                return False
            time.sleep(0.002)
        return True

    def _taken(self, now_s: float) -> bool:
        """Whether a frame would be taken now."""
        return self._link.can_send and not self._first.waits(now_s) and not self.references.decoder_is_full(now_s)

    def _send(self, frame: Frame) -> None:
        taken_ns = time.monotonic_ns()
        captured_ns, picture = frame.captured_ns, frame.picture
        original = picture if frame.recorded is not None else self._cropper.crop(picture, captured_ns)
        cropped_ns = time.monotonic_ns()
        usable = self._usable(frame)
        counts = self.counts
        if not self._open(usable is not None):  # asked before the work is done, not after it
            if not self._link.can_send:
                self._headroom.refused()
            self.counts = SendCounts(counts.sent, counts.payload_bytes, counts.wire_bytes, counts.refused + 1)
            return
        self._headroom.taken()
        if self._first.unanswered(time.monotonic()):
            if self._control is None and not self._warned:
                self._warned = True
                log.warning("nothing is heard of the first frame: a narrow path needs --bitrate in place of --quality")
            self._link.unanswered()
            self.references.restart()
            usable = self._usable(frame)
        doubtful = self.references.mending or self._link.doubtful
        stale = usable is not None or doubtful or self._link is not self._used
        self._used = self._link
        if self._pending and stale:
            self._pending = []  # it was predicted from what the receiver may lack, and nothing of it has left
        number, quality, packet, state = self._code(frame, original, usable)
        data, told = packet.to_bytes(), packet.header.quality
        encoded_ns = time.monotonic_ns()
        record = SentFrame(number, captured_ns, taken_ns, cropped_ns, encoded_ns, len(data), told, self._offset_ns())
        coded = Coded(record, original, state.picture)
        self._pending.append(_Ready(number, data, state, packet.header.distance, quality, coded))
        cadence = self._cadence
        large = len(data) >= LARGE * self._link.budget_bytes(cadence.messages_per_s)
        alone = usable is not None or doubtful or large
        if alone or len(self._pending) >= cadence.per_message:
            self._flush()

    def _flush(self) -> None:
        """Send what is ready in one message; if the link refuses it, it never was."""
        ready, self._pending = self._pending, []
        counts = self.counts
        if not self._link.send_frames([(each.number, each.data) for each in ready]):
            refused = counts.refused + len(ready)
            self.counts = SendCounts(counts.sent, counts.payload_bytes, counts.wire_bytes, refused)
            return
        self._first.left(ready[-1].number, time.monotonic())
        for each in ready:
            self._next = each.number + 1
            self.references.sent(each.number, each.state, each.distance)
            if self._control is not None:
                self._control = after_frame(self._control, each.quality, len(each.data), each.distance == 0)
            self._on_coded(each.coded)
        self.counts = SendCounts(
            counts.sent + len(ready),
            counts.payload_bytes + sum(len(each.data) for each in ready),
            counts.wire_bytes + self._wire_bytes(sum(len(each.data) for each in ready) + len(ready) - 1),
            counts.refused,
        )
