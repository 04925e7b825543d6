"""From packets in any order to pictures: which packet is decoded next, and from which state.

    link thread -- put() --> PacketQueue --> FrameDecoder --> pictures, verdicts

The link orders nothing. A packet whose reference has not been decoded yet waits a moment for it; only then is it given
up. No packet is skipped while others may refer to it, unless delay has built up and an intra frame allows a fresh
start.
"""

import threading
from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vidcodec.codec import Codec, State
from vidcodec.errors import DamagedPacket
from vidcodec.link.framing import FrameStatus
from vidcodec.link.options import Frame
from vidcodec.packet import Header, Packet

Picture = NDArray[np.uint8]

MAX_QUEUED = 64
LATE_MS = 100.0
STATES = 32
MOST_SPACE_S = 0.05
MAX_WAITING = 16
WAIT_MS = 250.0
"""What overtook another, and what is sent again, comes within that. A sender whose repairs fail does not wait for our
complaint: it sees what is missing, and predicts from what surely arrived."""


def is_intra(packet: bytes) -> bool:
    """Whether a packet needs no reference. False for what is no packet."""
    try:
        return not Header.from_bytes(packet).distance
    except DamagedPacket:
        return False


class PacketQueue:
    """Packets on their way to the decoder, oldest first."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._frames: deque[Frame] = deque()
        self._closed = False
        self.skipped = 0

    def put(self, frame: Frame) -> None:
        """Add a packet. Never blocks: of more than `MAX_QUEUED` the oldest is dropped."""
        with self._changed:
            if self._closed:
                return
            self._frames.append(frame)
            if len(self._frames) > MAX_QUEUED:
                self._frames.popleft()
                self.skipped += 1
            self._changed.notify()

    def get(self, timeout_s: float) -> Frame | None:
        """Take the next packet; None when none came in time, or the queue is closed and empty."""
        with self._changed:
            self._changed.wait_for(lambda: self._frames or self._closed, timeout_s)
            if not self._frames:
                return None
            if self._frames[-1].received_ms - self._frames[0].received_ms > LATE_MS:
                self._skip_to_newest_intra()
            return self._frames.popleft()

    def _skip_to_newest_intra(self) -> None:
        for index in range(len(self._frames) - 1, 0, -1):
            if is_intra(self._frames[index].packet):
                for _ in range(index):
                    self._frames.popleft()
                self.skipped += index
                return

    @property
    def empty(self) -> bool:
        """Whether nothing waits."""
        with self._changed:
            return not self._frames

    @property
    def drained(self) -> bool:
        """Whether the queue is closed and empty."""
        with self._changed:
            return self._closed and not self._frames

    def close(self) -> None:
        """Nothing more is taken in; what is there can still be taken out."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


class Spacing:
    """When a picture is due: two frames of one message arrived at once, and were captured one after the other.

    Only what needs no hurry is held back, and never for longer than one frame's time.
    """

    def __init__(self, fps: float) -> None:
        self._frame_s = min(1.0 / fps, MOST_SPACE_S)
        self._received_ms = float("-inf")
        self._shown_s = float("-inf")

    def wait_s(self, frame: Frame, now_s: float, hurry: bool) -> float:
        """How long to hold the picture of `frame` back; `hurry`: others wait behind it."""
        together = frame.received_ms == self._received_ms and not hurry
        wait_s = min(max(0.0, self._shown_s + self._frame_s - now_s), self._frame_s) if together else 0.0
        self._received_ms, self._shown_s = frame.received_ms, now_s + wait_s
        return wait_s


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a packet.

    Attributes:
        frame: the packet.
        status: OK, DAMAGED or MISSING_REFERENCE.
        quality: rate point, when it was decoded.
        picture: `[192, 192, 3]` uint8 RGB, when it was decoded.
        reason: why it was not.
    """

    frame: Frame
    status: FrameStatus
    quality: int = 0
    picture: Picture | None = None
    reason: str = ""


class FrameDecoder:
    """Decodes packets from retained states. One thread at a time."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._states: OrderedDict[int, State] = OrderedDict()
        self._waiting: list[tuple[Frame, Packet, int]] = []

    @property
    def newest(self) -> int | None:
        """Full count of the newest frame that was decoded."""
        return max(self._states, default=None)

    @property
    def more(self) -> bool:
        """Whether a packet that waited can be decoded now."""
        return self._ready() is not None

    def push(self, frame: Frame) -> Iterator[Verdict]:
        """Decode a packet and then what waited for it; nothing when its reference may still come.

        Each picture is handed out before the next is decoded: what a repair lets through was waited for long enough.
        """
        try:
            packet = Packet.from_bytes(frame.packet)
        except DamagedPacket as error:
            yield Verdict(frame, FrameStatus.DAMAGED, reason=str(error))
            return
        distance = packet.header.distance
        if distance and frame.number - distance not in self._states:
            self._waiting = [*self._waiting, (frame, packet, frame.number - distance)][-MAX_WAITING:]
            return
        yield self._decode(frame, packet)
        while ready := self._ready():
            self._waiting.remove(ready)
            yield self._decode(ready[0], ready[1])

    def _ready(self) -> tuple[Frame, Packet, int] | None:
        return next((entry for entry in self._waiting if entry[2] in self._states), None)

    def expire(self, now_ms: float) -> list[Verdict]:
        """Give up packets that have waited for their reference for longer than `WAIT_MS`."""
        late = [entry for entry in self._waiting if now_ms - entry[0].received_ms > WAIT_MS]
        self._waiting = [entry for entry in self._waiting if entry not in late]
        return [
            Verdict(frame, FrameStatus.MISSING_REFERENCE, reason=f"frame {reference} never came")
            for frame, _, reference in late
        ]

    def _decode(self, frame: Frame, packet: Packet) -> Verdict:
        distance = packet.header.distance
        state = self._states[frame.number - distance] if distance else self._codec.blank_state()
        try:
            picture, after = self._codec.decode(packet, state)
        except DamagedPacket as error:
            return Verdict(frame, FrameStatus.DAMAGED, reason=str(error))
        self._states[frame.number] = after
        while len(self._states) > STATES:
            self._states.popitem(last=False)
        return Verdict(frame, FrameStatus.OK, packet.header.quality, picture)
