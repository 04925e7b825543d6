"""How many frames are coded a second, and how many share a message, by what the path carries. No clock, no socket.

A message costs 85 bytes of headers, as much as a frame does on a narrow path: 20 of 40 kbit/s at 30 messages a second.
So, as the path gets narrower, first the quality falls, down to `FLOOR`; then two frames share a message, at the price
of one frame's time of delay for the first of them; then fewer frames are coded, a half and then a third, each in a
message of its own.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from vidcodec.rate import PATTERN, RANGE, RateControl
from vidcodec.wire import wire_bytes

FLOOR = 0.2
"""Quality, as a share of the scale, below which the frames get fewer instead."""

FIRST_NEED_BYTES = 60.0
MARGIN = 1.3
PATIENCE_S = 2.0
NARROW_FPS = 12.0

FRAME_S = 0.055
"""A frame may take the path for this long. One that takes more is coded again, once, with fewer bits. With 90 ms, a
third of all frames found the window closed by the large one before them; with 50, less of the path was used."""

FRAME_SHARE = 0.8
"""Of the time between two messages."""

GROWTH = 0.05
"""By how much a frame's size grows from one quality to the next, roughly, in natural logarithm."""

LESS, MORE, LEAST_SHARE = 0.96, 0.016, 0.6
"""What the share that is planned with is multiplied by for a frame that finds the window closed, what is added for one
that does not, and how far it falls."""

HEADERS = wire_bytes(1)
"""Of a message, with the byte that the link puts before its packet."""

EASE = 0.8
BACK = 0.3
"""Of what a frame could have had at least, the next one at its place gets this share back: small frames grow more
quickly than `GROWTH`, and with a half they went to and fro. One quality at a time took ten seconds after a path had
become three times as wide."""

GAPS, LONGEST_GAP_S, FEWER = 16.0, 0.5, 0.8
"""Gaps between frames are smoothed over so many; one is a pause from the second on; below the third share of the
cadence, bytes are planned for the frames that come."""

LARGE = 0.8
"""A frame of this share of a message's bytes leaves at once."""


@dataclass(frozen=True, slots=True)
class Cadence:
    """Frames coded a second, and frames in a message."""

    fps: float
    per_message: int = 1

    @property
    def messages_per_s(self) -> float:
        return self.fps / self.per_message

    @property
    def longest_s(self) -> float:
        """How long a frame may take the path: `FRAME_S`, or more where messages are farther apart."""
        return max(FRAME_S, FRAME_SHARE / self.messages_per_s)


def ladder(fps: float) -> tuple[Cadence, ...]:
    """Cadences of a source of `fps`, from the finest to the coarsest; none with less than 10 frames a second if `fps`
    is not."""
    steps = [Cadence(fps)]
    if fps >= NARROW_FPS:
        steps.append(Cadence(fps, 2))
        steps += [Cadence(fps * share) for share in (1 / 2, 1 / 3) if fps * share >= 9.9]
    return tuple(steps)


def needed_bytes(control: RateControl) -> float:
    """What a frame takes at the lowest quality worth having, by the sizes of the last ones."""
    known = control.units or control.intra_units[-1:]
    if not control.units or not known:
        return FIRST_NEED_BYTES
    return float(sum(known) / len(known) * RANGE**FLOOR)


class CadenceChooser:
    """Goes down at once when frames get too few bytes, and up again when a finer cadence would have more than enough
    for two seconds."""

    def __init__(self, fps: float) -> None:
        self._ladder = ladder(fps)
        self._place = 0
        self._enough_since_s: float | None = None

    @property
    def cadence(self) -> Cadence:
        """The present one."""
        return self._ladder[self._place]

    def choose(self, need_bytes: float, budget: Callable[[float], float], now_s: float) -> Cadence:
        """The cadence from now on.

        Args:
            need_bytes: what a frame takes at the lowest quality worth having.
            budget: bytes that each of so many messages a second may have beside its headers.
            now_s: now.
        """
        place = next((i for i, step in enumerate(self._ladder) if _each(step, budget) >= need_bytes), None)
        place = len(self._ladder) - 1 if place is None else place
        if place >= self._place:
            self._place, self._enough_since_s = place, None
        elif _each(self._ladder[self._place - 1], budget) < MARGIN * need_bytes:
            self._enough_since_s = None
        elif self._enough_since_s is None:
            self._enough_since_s = now_s
        elif now_s - self._enough_since_s >= PATIENCE_S:
            self._place, self._enough_since_s = self._place - 1, None
        return self.cadence


def _each(cadence: Cadence, budget: Callable[[float], float]) -> float:
    """Bytes that each frame may have."""
    return budget(cadence.messages_per_s) / cadence.per_message


class FrameCap:
    """Keeps single frames from taking the path for too long.

    Codecs spend bits in patterns (`vidcodec.rate.PATTERN`): one frame of eight may be five times the mean. What it had
    to give up is remembered for the next frame at its place, so that only the first has to be coded twice.
    """

    def __init__(self) -> None:
        self._less = [0] * PATTERN

    def quality(self, number: int, wanted: int) -> int:
        """What frame `number` is coded at when the rate control wants `wanted`."""
        return max(min(0, wanted), wanted - self._less[number % PATTERN])

    def again(self, number: int, quality: int, size: int, most: float) -> int | None:
        """The quality to code a frame at again that came to `size` bytes of at most `most`; None where it is fine."""
        place = number % PATTERN
        if size <= most:
            if size < EASE * most:
                more = BACK * math.log(EASE * most / max(size, 1)) / GROWTH
                self._less[place] = max(0, self._less[place] - max(1, int(more)))
            return None
        if quality <= 0:
            return None
        less = math.ceil(math.log(size / max(most, 1.0)) / GROWTH)
        self._less[place] = min(self._less[place] + less, 63)
        return max(0, quality - less)


def after_frame(control: RateControl, quality: int, size: int, intra: bool) -> RateControl:
    """Rate control after a frame that got `quality`: where that was less than it wanted, it goes on from what it
    wanted, and others may have what this one had to give up."""
    return control.after(max(quality, control.quality), size, intra)


class TakenRate:
    """Frames a second that the frame path comes to. An encoder without a processor of its own, or a camera in the dark,
    gives fewer than the cadence; each of them may then have the bytes of those that never were."""

    def __init__(self) -> None:
        self._last_s: float | None = None
        self._gap_s = 0.0

    def took(self, now_s: float) -> None:
        """A frame was taken."""
        if self._last_s is not None:
            gap_s = min(now_s - self._last_s, LONGEST_GAP_S)
            self._gap_s += (gap_s - self._gap_s) / (GAPS if self._gap_s else 1.0)
        self._last_s = now_s

    def of(self, cadence_fps: float) -> float:
        """What to plan with where a cadence is wanted: it, unless far fewer come."""
        taken_fps = 1.0 / self._gap_s if self._gap_s > 0.0 else cadence_fps
        return taken_fps if taken_fps < FEWER * cadence_fps else cadence_fps


class Headroom:
    """The share of what the path is said to carry that is planned with.

    An estimate above the path shows in no queue where the window holds the queue down: it shows in frames that find the
    window closed. Where more than 28 % do, the share falls.
    """

    def __init__(self) -> None:
        self._share = 1.0

    def refused(self) -> None:
        """A frame found the window closed."""
        self._share = max(LEAST_SHARE, LESS * self._share)

    def taken(self) -> None:
        """A frame could leave."""
        self._share = min(1.0, self._share + MORE)

    def of(self, most_bytes: float) -> float:
        """Of what a message may have beside its headers, as much as leaves the share of both."""
        return max(0.0, self._share * (most_bytes + HEADERS) - HEADERS)


class Thinner:
    """Leaves frames of a live source out, evenly."""

    def __init__(self) -> None:
        self._due_s: float | None = None

    def keeps(self, captured_s: float, fps: float, source_fps: float) -> bool:
        """Whether the frame that was captured then stays, when `fps` of `source_fps` frames a second should."""
        gap_s, half_s = 1.0 / fps, 0.5 / source_fps
        if fps > 0.99 * source_fps:
            self._due_s = None
            return True
        if self._due_s is not None and captured_s < self._due_s - half_s:
            return False
        due_s = captured_s if self._due_s is None else self._due_s
        self._due_s = max(due_s + gap_s, captured_s + 0.5 * gap_s)
        return True
