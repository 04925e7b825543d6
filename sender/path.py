"""The frame path of the sender: newest picture -> crop -> encode -> link, in one thread.

    capture thread --Mailbox--> FramePath --> link
                                    '-- Coded --> measuring thread

Nothing in here waits for anything but the next picture. A frame that the link refuses is not sent, and the coder's
state does not advance to it.
"""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sender.capture import Capture, Frame
from sender.crop import LiveCropper
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

Picture = NDArray[np.uint8]

STATES = 48
PATIENCE_S = 0.1
"""How long a packet that must not be left out waits for the link."""


class References:
    """Which state the next frame is predicted from. Any thread may report; the frame path asks.

    Normally the newest one. After the receiver has said that it could not decode a frame, the newest one that it said
    it decoded, as long as a packet can refer to it, else the blank state. A receiver that goes on asking for a refresh
    gets the blank state.
    """

    def __init__(self, blank: State) -> None:
        self._lock = threading.Lock()
        self._blank = blank
        self._states: OrderedDict[int, State] = OrderedDict()
        self._newest = -1
        self._decoded = -1
        self._broken = False
        self._mending = False
        self._resumed_at = -1

    def sent(self, number: int, state: State) -> None:
        """Frame `number` was sent, predicted from what `next` said, and left `state`."""
        with self._lock:
            if self._mending:  # what is said of frames before this one is no news any more
                self._broken, self._mending, self._resumed_at = False, False, number - 1
            self._states[number] = state
            self._newest = number
            if len(self._states) > STATES:
                self._states.popitem(last=False)

    def restart(self) -> None:
        """The receiver holds nothing any more: the next frame stands alone."""
        with self._lock:
            self._states.clear()
            self._newest = self._decoded = -1
            self._broken = False

    def acknowledged(self, number: int, status: FrameStatus) -> None:
        """What the receiver's decoder made of frame `number`."""
        with self._lock:
            if status is FrameStatus.OK and number in self._states:
                self._decoded = max(self._decoded, number)
            elif status in (FrameStatus.DAMAGED, FrameStatus.MISSING_REFERENCE) and number > self._resumed_at:
                self._broken = True

    def asked_for_refresh(self, have: int | None) -> None:
        """The receiver cannot go on; it holds frame `have`, or nothing."""
        with self._lock:
            self._decoded = -1 if have is None or have not in self._states else max(self._decoded, have)
            if self._newest > self._resumed_at or have is None:
                self._broken = True

    def next(self) -> State:
        """The state to predict the frame after the newest one from."""
        with self._lock:
            # Told here and not in `sent`: a report that comes while the frame is coded is for the frame after it.
            self._mending = self._broken
            if self._newest < 0:
                return self._blank
            if not self._broken:
                return self._states[self._newest]
            within_reach = self._newest + 1 - self._decoded <= MAX_DISTANCE
            return self._states.get(self._decoded, self._blank) if within_reach else self._blank

    def held(self, number: int) -> State | None:
        """The state that frame `number` left, if by what `next` knew the receiver has it, too."""
        with self._lock:
            return self._states.get(number) if not self._mending or number == self._decoded else None


@dataclass(frozen=True, slots=True)
class Coded:
    """A frame that was sent.

    Attributes:
        record: what is known of it; errors are still to be measured.
        original: the cropped picture, `[192, 192, 3]` uint8 RGB.
        shown: the picture that the receiver will show.
    """

    record: SentFrame
    original: Picture
    shown: Picture


@dataclass(frozen=True, slots=True)
class Orders:
    """How frames are made from now on.

    Attributes:
        cropper: what cuts the face out.
        quality: fixed rate point, None to hold `kbps`.
        kbps: payload rate to hold, None for a fixed quality.
        paused: send nothing.
    """

    cropper: LiveCropper
    quality: int | None
    kbps: float | None
    paused: bool = False


@dataclass(frozen=True, slots=True)
class SendCounts:
    """What went out so far."""

    sent: int = 0
    payload_bytes: int = 0
    wire_bytes: int = 0
    refused: int = 0


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
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def on_ack(self, ack: Acknowledgement) -> None:
        """For the link: news of a frame."""
        if ack.status not in (FrameStatus.RECEIVED, FrameStatus.OK):
            log.debug("frame %d was not decoded (%s); %d are sent", ack.number, ack.status.name, self.counts.sent)
        self.references.acknowledged(ack.number, ack.status)

    def obey(self, orders: Orders) -> None:
        """Make frames in another way, from the next one on. Any thread; the newest orders win."""
        self._orders = orders

    def use(self, link: SenderLink) -> None:
        """Go on over another link, whose receiver holds nothing."""
        self.references.restart()
        self._link = link

    def start(self, capture: Capture) -> None:
        """Begin to take pictures."""
        self._fps = capture.source.fps
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
                if not self._paused and not idle:
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
            self._control = RateControl.start(orders.kbps, self._fps, self._codec.info.qualities)

    def _next_quality(self) -> int:
        """The fixed quality, or what holds the rate asked for, or less where the path carries less."""
        if self._control is None:
            return self._quality
        carried = float(self._link.budget_bytes(self._fps))
        allowed = max(1.0, min(self._frame_bytes, carried))
        self._control = self._control.with_rate(allowed * 8 / 1000 * self._fps, self._fps)
        return self._control.quality

    def _usable(self, frame: Frame) -> Recorded | None:
        """What a frame was recorded as, if its packet can be sent as it stands: nothing, or what it needs, is held."""
        recorded = frame.recorded
        if recorded is None or not self._resend or not 0 <= recorded.number - self._next < NUMBERS // 2:
            return None
        self.references.next()
        if recorded.reference is None:
            return recorded
        held = self.references.held(recorded.number - recorded.packet.header.distance)
        return recorded if held is recorded.reference else None

    def _code(self, frame: Frame, original: Picture, usable: Recorded | None) -> tuple[int, Packet, State]:
        """The full count of a frame, its packet, and the state that it leaves."""
        if usable is not None:
            return usable.number, usable.packet, usable.state
        number = self._next
        quality = self._next_quality()
        reference = self.references.next()
        recorded = frame.recorded
        if recorded is not None:  # it keeps its number, so that a later packet can be sent as it stands
            number = recorded.number if 0 <= recorded.number - number < NUMBERS // 2 else number
            quality = recorded.packet.header.quality if self._resend else quality
            if reference.number is not None and (number - reference.number) % NUMBERS > MAX_DISTANCE:
                reference = self._codec.blank_state()
        packet, state = self._codec.encode(original, reference, quality, number % NUMBERS)
        return number, packet, state

    def _open(self, patient: bool) -> bool:
        """Whether the link takes a frame now, or, for a packet that others need, soon."""
        until_s = time.monotonic() + (PATIENCE_S if patient else 0.0)
        while not self._link.can_send:
            if time.monotonic() >= until_s or self._stopped.is_set():
                return False
            time.sleep(0.002)
        return True

    def _send(self, frame: Frame) -> None:
        taken_ns = time.monotonic_ns()
        captured_ns, picture = frame.captured_ns, frame.picture
        original = picture if frame.recorded is not None else self._cropper.crop(picture, captured_ns)
        cropped_ns = time.monotonic_ns()
        usable = self._usable(frame)
        counts = self.counts
        if not self._open(usable is not None):  # asked before the work is done, not after it
            self.counts = SendCounts(counts.sent, counts.payload_bytes, counts.wire_bytes, counts.refused + 1)
            return
        number, packet, state = self._code(frame, original, usable)
        data, quality = packet.to_bytes(), packet.header.quality
        encoded_ns = time.monotonic_ns()
        if not self._link.send_frame(number, data):
            self.counts = SendCounts(counts.sent, counts.payload_bytes, counts.wire_bytes, counts.refused + 1)
            return
        self._next = number + 1
        self.references.sent(number, state)
        if self._control is not None:
            self._control = self._control.after(quality, len(data), packet.header.distance == 0)
        self.counts = SendCounts(
            counts.sent + 1,
            counts.payload_bytes + len(data),
            counts.wire_bytes + self._wire_bytes(len(data)),
            counts.refused,
        )
        record = SentFrame(number, captured_ns, taken_ns, cropped_ns, encoded_ns, len(data), quality, self._offset_ns())
        self._on_coded(Coded(record, original, state.picture))
