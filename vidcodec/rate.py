"""Rate control: the quality of the next frame, so that every second holds a bitrate. A value that is told the sizes.

    control = RateControl.start(kbps=40, fps=30, qualities=64)
    packet = encode(..., control.quality)
    better = control.again(control.quality, len(packet))       # where time allows: None, or what to code it at instead
    control = control.after(quality, len(packet), intra)

**What a frame will cost.** Codecs spend bits in patterns: every eighth frame large, those between small, and some of
every 64th larger still. The frames at the same place of the last patterns tell what the next one at that place costs. A
frame's size grows by a constant factor from one quality to the next, and by another where the quality is above that of
the pictures it is predicted from: what is better than before has to be sent, what stays as good is there already.

**What it may cost.** Everything counts in the second that ends with a frame: the frames before it as they were, those
after it as foreseen. Of all qualities for the next frame, and for those after it, the pair is taken at which the
seconds that end with the next frames stray least from the rate, as far as that does not take quality too far from frame
to frame or from what the scene can have in the long run. Where the mean has strayed, seconds aim a little beside it.

**A frame that comes out otherwise** than foreseen may be coded again (`again`, then `within`); files do
(`vidcodec.heldrate`), calls keep their pace.

**A frame without a reference** takes half a second's bytes and more on a narrow path. It counts for at most half a
second, so that the frames after it keep half of theirs: the second that it is in goes over, and no later one.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vidcodec.errors import UsageError

DEFAULT_KBPS = 40.0
FEW_QUALITIES = 16
"""A codec of so few qualities codes stills and meets no bitrate of a call: unasked it gets its middle quality."""

RANGE = 30.0
"""The largest quality costs about this many times the bytes of the lowest."""

RISE = 23.0
"""The same, on top of it, of a frame that is predicted from pictures of the lowest quality."""

PATTERN = 8
"""Frames whose quality pattern repeats: 2, 4 and 8 fit."""

LONG_PATTERN = 64
"""Single frames may be better than the others at their place of the pattern, once in so many."""

OUTLIER = 2.5
PATTERNS = 5
FADE = 0.75
"""Of a frame's place, so many patterns count, each by this share of the one after it."""

BELOW = 0.4
"""How much a step below quality 0 changes, in steps above it: what a frame's vectors cost stays."""

MEAN_WEIGHT = 0.25
REFERENCE_SHARE = 0.05
"""How quickly the pictures that frames are predicted from take over the quality of a frame."""

WINDOW = 2 * PATTERN
AHEAD = PATTERN
FREE, TOLERANCE = 0.04, 0.05
"""A second may be off by the first share at no price; from there the price grows with the square of the second."""

STEADY_PRICE = 0.004
"""Of the square of a quality between a frame and the next ones, and between these and the long run."""

STEPS, FIRST_STEPS, AGAIN_STEPS = 4, 3, 20
"""Qualities that one frame may differ from the one before; in the first pattern; and when it is coded again."""

AGAIN_LEAST = 3
MISS, MISS_SHARE, OFF = 0.25, 0.03, 0.08
"""A frame is coded again if its size is off by the first (natural logarithm) and by the second as a share of a second's
bytes, or if the second that it ends is off by the third."""

HELD, INSIDE = 0.09, 0.97
"""A second may be off by the first share before its last frame is coded again, which then aims this far inside."""

LEAST_SHARE = 0.15
"""Less than this share of a mean frame counts as that much, since nothing grows from nothing by a factor."""

INTRA_S = 0.5
MEMORY_S = 5.0
PAYBACK, MOST_PAYBACK = 0.15, 0.05
"""Of what is too much in the balance, as a share of a second, the next second saves; and how much it saves at most."""

START_BYTES = 45.0
"""About what a frame of a talking face costs at quality 0."""

Floats = NDArray[np.float64]


def quality_or_rate(
    quality: int | None, kbps: float | None, qualities: int, model_id: str
) -> tuple[int | None, float | None]:
    """What to hold: the quality or the rate that was asked for, one of the two, else what suits the codec.

    Args:
        quality, kbps: as asked for, None where not.
        qualities, model_id: of the codec.

    Returns:
        The fixed quality and None, or None and the rate in kbit/s.

    Raises:
        UsageError: the codec has no such quality.
    """
    if quality is not None:
        if not 0 <= quality < qualities:
            raise UsageError(f"--quality {quality}: model {model_id!r} has 0 to {qualities - 1}")
        return quality, None
    if kbps is not None:
        return None, kbps
    return (qualities // 2, None) if qualities < FEW_QUALITIES else (None, DEFAULT_KBPS)


@dataclass(frozen=True, slots=True)
class RateControl:
    """State of the control.

    Attributes:
        frame_bytes: mean bytes a frame may have.
        fps: frames a second.
        qualities: the codec's number of qualities.
        lowest: the lowest that may be asked for, 0 or less.
        quality: what the next frame should get.
        shares: size of each of the last frames as a share of the mean it might have had, newest last; of a frame
            without a reference no more than counts.
        history: what each of the last frames would have cost at quality 0 if that were the quality of the pictures it
            was predicted from, newest last; 0 for a frame without a reference.
        intra_units: what the last frames without a reference would have cost at quality 0.
        reference: quality (see `_even`) of the pictures that the next frame is predicted from; None: unknown.
        balance: by how many mean frames more was sent than allowed in the last seconds.
    """

    frame_bytes: float
    fps: float
    qualities: int
    quality: int
    shares: tuple[float, ...] = ()
    history: tuple[float, ...] = ()
    intra_units: tuple[float, ...] = ()
    reference: float | None = None
    balance: float = 0.0
    lowest: int = 0

    @classmethod
    def start(cls, kbps: float, fps: float, qualities: int, lowest: int = 0) -> "RateControl":
        """Begin where a face at this rate usually stands; a codec of stills in the middle of its scale.

        The first frame has no reference: begun too high it takes a second of the path for itself.
        """
        frame_bytes = kbps * 125 / fps
        quality = (qualities - 1) // 2
        if qualities >= FEW_QUALITIES:
            usual = math.log(frame_bytes / START_BYTES) / _step(RANGE, qualities)
            quality = max(0, min(round(usual), qualities - 1))
        return cls(frame_bytes, fps, qualities, quality, lowest=lowest)

    @property
    def units(self) -> tuple[float, ...]:
        """What the last predicted frames would have cost at quality 0, newest last."""
        return tuple(unit for unit in self.history[-WINDOW:] if unit > 0)

    def with_rate(self, kbps: float, fps: float) -> "RateControl":
        """The same stream at another rate from now on."""
        return replace(self, frame_bytes=kbps * 125 / fps, fps=fps)

    def after(self, quality: int, payload_bytes: int, intra: bool = False) -> "RateControl":
        """What follows from a frame of `payload_bytes` at `quality`; `intra`: it had no reference."""
        size = max(1, payload_bytes)
        even = float(_even(quality))
        reference = even if self.reference is None else self.reference
        share = size / self.frame_bytes
        if intra:
            unit, reference = 0.0, even
            share = min(share, INTRA_S * self.fps)
            intra_units = (*self.intra_units, size / self._growth(quality))[-WINDOW:]
            balance = self.balance
        else:
            unit = size / self._growth(quality, reference)
            reference += REFERENCE_SHARE * (even - reference)
            intra_units = self.intra_units
            balance = self._balance_after(share)
        told = self._remembering(share, unit)
        told = replace(told, quality=quality, intra_units=intra_units, reference=reference, balance=balance)
        # One frame without a reference says nothing of those to come; a row of them is a codec that has no others.
        if not told.units and len(intra_units) < 2:
            return told
        steps = STEPS if len(told.units) >= PATTERN else FIRST_STEPS
        return told._choose(told._forecast(), 1 if self.qualities < FEW_QUALITIES else steps)

    def again(self, quality: int, payload_bytes: int) -> int | None:
        """At what to code a frame with a reference instead, that came to `payload_bytes` at `quality`; None: leave it.

        Worth asking once a frame, before `after`.
        """
        if not self.units or self.qualities < FEW_QUALITIES:
            return None
        window = max(1, round(self.fps))
        foreseen, growth = self._forecast(), self._growth(quality, self.reference)
        unit = max(1, payload_bytes) / growth
        share = payload_bytes / self.frame_bytes
        missed = abs(math.log(unit / foreseen[0])) > MISS
        missed = missed and abs(unit - foreseen[0]) * growth > MISS_SHARE * self.frame_bytes * window
        full = len(self.shares) >= window - 1
        if not missed and not (full and abs((sum(self.shares[1 - window :]) + share) / window - 1) > OFF):
            return None
        foreseen[0] = unit
        chosen = replace(self, quality=quality)._choose(foreseen, AGAIN_STEPS).quality
        return chosen if abs(chosen - quality) >= AGAIN_LEAST else None

    def within(self, tried: Mapping[int, int]) -> int | None:
        """At what quality to code a frame with a reference once more, so that the second that ends with it holds the
        rate. None: the last attempt does, or no quality between one that is too large and one too small is left.

        tried: bytes that the frame came to, by quality, in the order of the attempts.
        """
        window = max(1, round(self.fps))
        if not self.units or len(self.shares) < window - 1 or self.qualities < FEW_QUALITIES:
            return None
        mean, before = self.frame_bytes, sum(self.shares[1 - window :])
        least, most = (((1 + way * HELD) * window - before) * mean for way in (-1, 1))
        quality, size = list(tried.items())[-1]
        if least <= size <= most:
            return None
        lowest = max((q + 1 for q, known in tried.items() if known < least), default=self.lowest)
        highest = min((q - 1 for q, known in tried.items() if known > most), default=self.qualities - 1)
        if lowest > highest:
            return None
        wanted = INSIDE * most if size > most else least / INSIDE
        nothing = LEAST_SHARE * mean
        growth = _step(RANGE, self.qualities) + _step(RISE, self.qualities)
        even = float(_even(quality)) + math.log(max(wanted, nothing) / max(size, nothing)) / growth
        other = even if even > 0 else even / BELOW
        return max(lowest, min(math.floor(other) if size > most else math.ceil(other), highest))

    def too_much(self, quality: int, payload_bytes: int) -> bool:
        """Whether a frame with a reference, of the lowest quality, makes the second that ends with it too large, and
        farther from the rate than it is without that frame."""
        window = max(1, round(self.fps))
        if quality > self.lowest or not self.units or len(self.shares) < window - 1 or self.qualities < FEW_QUALITIES:
            return False
        share = payload_bytes / self.frame_bytes
        over = sum(self.shares[1 - window :]) + share - window
        return over > max(HELD * window, share - over)

    def left_out(self, payload_bytes: int) -> "RateControl":
        """What follows from a packet of `payload_bytes` that says nothing but that the last picture stands."""
        share = payload_bytes / self.frame_bytes
        return replace(self._remembering(share, 0.0), balance=self._balance_after(share))

    def _balance_after(self, share: float) -> float:
        return self.balance * (1 - 1 / max(1.0, MEMORY_S * self.fps)) + share - 1

    def _remembering(self, share: float, unit: float) -> "RateControl":
        """With a frame's share and what it would have cost at quality 0 as the newest."""
        shares = (*self.shares, share)[-max(1, round(self.fps) - 1) :]
        return replace(self, shares=shares, history=(*self.history, unit)[-LONG_PATTERN - PATTERN :])

    def _growth(self, quality: int, reference: float | None = None) -> float:
        """By how much a frame of a quality is larger than one of quality 0, with pictures of `reference` behind it."""
        even = float(_even(quality))
        rise = 0.0 if reference is None else _step(RISE, self.qualities) * (even - reference)
        return math.exp(_step(RANGE, self.qualities) * even + rise)

    def _forecast(self) -> Floats:
        """What the frames of the next second would cost, in units of `history`."""
        count, past = max(1, round(self.fps)), self.history
        known = self.units
        if not known:
            return np.full(count, sum(self.intra_units) / len(self.intra_units))
        mean = sum(known) / len(known)
        starts = range(len(past) - PATTERN, len(past))
        places = [_place(past[start::-PATTERN] if start >= 0 else (), mean) for start in starts]
        foreseen = np.resize(np.array(places), count)
        for at in range(min(count, len(past) - LONG_PATTERN)):
            before = len(past) - LONG_PATTERN + at
            here, around = past[before], [unit for unit in past[before % PATTERN :: PATTERN] if unit > 0]
            usual = sorted(around)[len(around) // 2] if around else 0.0
            if usual and here > OUTLIER * usual:
                foreseen[at] *= here / usual
        return foreseen

    def _choose(self, foreseen: Floats, steps: int) -> "RateControl":
        """With the quality, at most `steps` from the present one, that suits what the next second's frames cost."""
        window, held = len(foreseen), np.array(self.shares[::-1])
        predicted = bool(self.units)
        step = _step(RANGE, self.qualities)
        rise = _step(RISE, self.qualities) if predicted else 0.0
        behind = 0.0 if self.reference is None else self.reference
        most = self.qualities - 1
        long_run = math.log(self.frame_bytes / float(foreseen.mean())) / step
        own = np.arange(max(self.lowest, self.quality - steps), min(most, self.quality + steps) + 1)
        reach = 2 * STEPS if self.qualities >= FEW_QUALITIES else 1
        later = np.arange(self.quality - reach, self.quality + reach + 1, 2 if reach > 1 else 1)
        own_even, later_even = _even(own), _even(later.clip(self.lowest, most))
        settled = math.exp(step * float(np.clip(long_run, *_even(self.quality + np.array([-reach, reach])))))
        # In mean frames, of the seconds that end with the next frame and with those after it: what stands, and what
        # the frames up to `AHEAD` and those beyond bring.
        ends = np.arange(window)
        stands = np.concatenate([[0.0], np.cumsum(held)])[np.minimum(window - 1 - ends, len(held))]
        length = np.minimum(window - 1 - ends, len(held)) + 1 + ends
        sums = np.concatenate([[0.0], np.cumsum(foreseen[1:])]) / self.frame_bytes
        near = sums[np.minimum(ends, AHEAD)]
        first = foreseen[0] / self.frame_bytes * np.exp(step * own_even + rise * (own_even - behind))
        rest = np.exp(step * later_even + rise * (later_even - behind))[:, None] * near + settled * (sums - near)
        aim = 1 - max(-MOST_PAYBACK, min(PAYBACK * self.balance / window, MOST_PAYBACK))
        off = np.abs((stands + first[:, None, None] + rest) / (aim * length) - 1)
        price = ((np.maximum(off - FREE, 0) / TOLERANCE) ** 2 * length).mean(-1) / window
        price += STEADY_PRICE * ((own_even[:, None] - later_even) ** 2 + (later_even - long_run) ** 2)
        return replace(self, quality=int(own[int(price.argmin()) // len(later)]))


def _even(quality: int | NDArray[np.int_]) -> Floats:
    """Qualities on a scale on which every step changes what a frame costs alike."""
    return np.maximum(quality, np.multiply(BELOW, quality))


def _place(units: tuple[float, ...], mean: float) -> float:
    """What a frame costs where the ones at its place cost `units`, newest first (0: unknown), and all `mean`."""
    known = [unit for unit in units[:PATTERNS] if unit > 0]
    most = OUTLIER * sorted(known)[len(known) // 2] if known else 0.0
    total, weight = MEAN_WEIGHT * mean, MEAN_WEIGHT
    for back, unit in enumerate(units[:PATTERNS]):
        if unit > 0:
            total += FADE**back * min(unit, most)
            weight += FADE**back
    return total / weight


def _step(growth: float, qualities: int) -> float:
    """By how much sizes grow from one quality to the next, as a natural logarithm."""
    return math.log(growth) / max(1, qualities - 1)
