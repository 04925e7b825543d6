"""Which state the next frame is predicted from, by what the receiver said."""

import threading
from collections import OrderedDict

from sender.backlog import Backlog
from vidcodec.codec import State
from vidcodec.link.framing import FrameStatus
from vidcodec.packet import MAX_DISTANCE

STATES = 48


class References:
    """Which state the next frame is predicted from. Any thread may report; the frame path asks.

    Normally the newest one. While frames are missing that should be there (`doubtful`), the newest one that arrived
    with all that it needs, or none. After the receiver has said that it could not decode a frame, the newest one that
    it said it decoded, as long as a packet can refer to it, else the blank state. A receiver that goes on asking for a
    refresh gets the blank state.
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
        self._told: int | None = None
        self._needs: dict[int, int | None] = {}
        self._arrived: set[int] = set()
        self._sure: set[int] = set()
        self._backlog = Backlog()

    def sent(self, number: int, state: State, distance: int | None = None) -> None:
        """Frame `number` was sent and left `state`.

        Args:
            number: full count.
            state: what the receiver will hold.
            distance: frames back to what it was predicted from, 0 for nothing; by default what `next` said.
        """
        with self._lock:
            if self._mending:  # what is said of frames before this one is no news any more
                self._broken, self._mending, self._resumed_at = False, False, number - 1
            self._states[number] = state
            self._needs[number] = self._told if distance is None else (number - distance if distance else None)
            self._newest = number
            if len(self._states) > STATES:
                oldest, _ = self._states.popitem(last=False)
                self._needs.pop(oldest, None)
                self._arrived.discard(oldest)
                self._sure.discard(oldest)

    def restart(self) -> None:
        """The receiver holds nothing any more: the next frame stands alone."""
        with self._lock:
            self._states.clear()
            self._needs.clear()
            self._arrived.clear()
            self._sure.clear()
            self._newest = self._decoded = -1
            self._broken = False
            self._backlog.clear()

    def acknowledged(self, number: int, status: FrameStatus, now_s: float = 0.0) -> None:
        """Frame `number` arrived, or what the receiver's decoder made of it."""
        with self._lock:
            if number in self._states and status is not FrameStatus.RECEIVED:
                self._backlog.judged(number, now_s)
            if status in (FrameStatus.RECEIVED, FrameStatus.OK) and number in self._states:
                self._arrived.add(number)
                if status is FrameStatus.OK:
                    self._decoded = max(self._decoded, number)
                    self._sure.add(number)
                for later, need in self._needs.items():  # in order of sending, so that one pass is enough
                    if later in self._arrived and (need is None or need in self._sure):
                        self._sure.add(later)
                        self._backlog.ready(later, now_s)
            elif status in (FrameStatus.DAMAGED, FrameStatus.MISSING_REFERENCE) and number > self._resumed_at:
                self._broken = True

    def decoder_is_full(self, now_s: float) -> bool:
        """Whether another frame would only wait in front of the receiver's decoder."""
        with self._lock:
            return self._backlog.full(now_s)

    def decoder_pace(self, now_s: float) -> tuple[bool, float]:
        """Whether the receiver's decoder is behind, and how many frames a second it did lately."""
        with self._lock:
            return self._backlog.slow(now_s), self._backlog.decoded_fps()

    def asked_for_refresh(self, have: int | None) -> None:
        """The receiver cannot go on; it holds frame `have`, or nothing."""
        with self._lock:
            self._decoded = -1 if have is None or have not in self._states else max(self._decoded, have)
            if self._newest > self._resumed_at or have is None:
                self._broken = True

    def next(self, doubtful: bool = False) -> State:
        """The state to predict the frame after the newest one from; `doubtful`: something is missing for long."""
        with self._lock:
            # Told here and not in `sent`: a report that comes while the frame is coded is for the frame after it.
            sure = max(self._sure, default=-1)
            doubtful = doubtful and sure < self._newest
            self._mending = self._broken or doubtful
            self._told = None
            if self._newest < 0:
                return self._blank
            wanted = self._decoded if self._broken else sure if doubtful else self._newest
            if wanted not in self._states or self._newest + 1 - wanted > MAX_DISTANCE:
                return self._blank
            self._told = wanted
            return self._states[wanted]

    @property
    def mending(self) -> bool:
        """Whether the receiver complained: the next frame will not be predicted from the newest one."""
        with self._lock:
            return self._broken

    def held(self, number: int) -> State | None:
        """The state that frame `number` left, if by what `next` knew the receiver has it, too."""
        with self._lock:
            return self._states.get(number) if not self._mending or number == self._decoded else None
