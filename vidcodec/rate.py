"""Rate control: which quality the next frame gets, so that the stream holds a bitrate. A value that is told the sizes.

    control = RateControl.start(kbps=40, fps=30, qualities=64)
    packet = encode(..., control.quality) ; control = control.after(control.quality, len(packet), intra)

A frame's size is taken to grow by a constant factor from one quality to the next, so sizes at any quality tell what one
at quality 0 would have cost. Its mean over the last frames, a virtual buffer that fills with every byte and drains at
the target rate, and what the last half second spent too much, which the next frames save, give the quality. Codecs
spend bits in patterns (every fourth frame large, those between small); means over whole patterns do not follow them, so
that quality stays where the scene is steady. Frames without a reference cost several times as much: they fill the
buffer, and are counted by themselves.

Most seconds are within 10 % of the rate where the scene changes slowly; not all, and fewer where it moves. A burst of
motion is seen in the size of the first frame that shows it, not before; and a frame without a reference is itself up to
a second's worth of bytes on a narrow path, paid back over seconds and not at once, which would leave a second of blur.
"""

import math
from dataclasses import dataclass, replace

from vidcodec.errors import UsageError

DEFAULT_KBPS = 40.0
FEW_QUALITIES = 16
"""A codec of so few qualities codes stills and meets no bitrate of a call: unasked it gets its middle quality."""

RANGE = 30.0
"""The largest quality costs about this many times the bytes of the lowest."""

BUFFER_S = 1.5
PATTERN = 8
"""Frames whose quality pattern repeats: 2, 4 and 8 fit."""

WINDOW = 2 * PATTERN
"""Frames whose mean size tells what the next ones cost. With one pattern alone the control rings: a better frame costs
once what it then saves in those that copy it."""

RECENT = 2 * PATTERN
PAYBACK = 0.15
"""Share of what the last `RECENT` frames spent too much that the next pattern saves, or the other way round. Twice as
much rings, too."""

LEAST_SHARE, MOST_SHARE = 0.1, 3.0
"""What a frame may have at least and at most, of its mean share."""

FIRST_STEPS, STEPS = 3, 2
"""Qualities that one frame may differ from the one before, in the first pattern and then; a near one is approached by
one a frame."""

START_BYTES = 45.0
"""About what a frame of a talking face costs at quality 0."""


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
        qualities: the codec's number of qualities.
        capacity_bytes: size of the virtual buffer.
        quality: what the next frame should get.
        units: what the last predicted frames would have cost at quality 0, newest last.
        intra_units: the same of the last frames without a reference.
        full_bytes: what is in the buffer; negative when less was sent than allowed.
        fulls: the last values of `full_bytes`.
        overs: by how many bytes each of the last predicted frames was larger than its mean share.
    """

    frame_bytes: float
    qualities: int
    capacity_bytes: float
    quality: int
    units: tuple[float, ...] = ()
    intra_units: tuple[float, ...] = ()
    full_bytes: float = 0.0
    fulls: tuple[float, ...] = ()
    overs: tuple[float, ...] = ()

    @classmethod
    def start(cls, kbps: float, fps: float, qualities: int) -> "RateControl":
        """Begin where a face at this rate usually stands; a codec of stills in the middle of its scale.

        The first frame has no reference: begun too high it takes a second of the path for itself.
        """
        bytes_per_s = kbps * 1000 / 8
        quality = (qualities - 1) // 2
        if qualities >= FEW_QUALITIES:
            usual = math.log(bytes_per_s / fps / START_BYTES) / _step(qualities)
            quality = max(0, min(round(usual), qualities - 1))
        return cls(bytes_per_s / fps, qualities, bytes_per_s * BUFFER_S, quality)

    def with_rate(self, kbps: float, fps: float) -> "RateControl":
        """The same stream at another rate from now on."""
        bytes_per_s = kbps * 1000 / 8
        return replace(self, frame_bytes=bytes_per_s / fps, capacity_bytes=bytes_per_s * BUFFER_S)

    def after(self, quality: int, payload_bytes: int, intra: bool = False) -> "RateControl":
        """What follows from a frame of `payload_bytes` at `quality`; `intra`: it had no reference."""
        step = _step(self.qualities)
        unit = max(1, payload_bytes) * math.exp(-step * quality)
        units = self.units if intra else (*self.units, unit)[-WINDOW:]
        intra_units = (*self.intra_units, unit)[-WINDOW:] if intra else self.intra_units
        full = self.full_bytes + payload_bytes - self.frame_bytes
        full = max(-0.5 * self.capacity_bytes, min(full, 2 * self.capacity_bytes))
        fulls = (*self.fulls, full)[-PATTERN:]
        overs = self.overs if intra else (*self.overs, payload_bytes - self.frame_bytes)[-RECENT:]
        told = replace(self, units=units, intra_units=intra_units, full_bytes=full, fulls=fulls, overs=overs)
        # One frame without a reference says nothing of those to come; a row of them is a codec that has no others.
        known = units or (intra_units if len(intra_units) > 1 else ())
        if not known:
            return replace(told, quality=quality)
        share = 1 - sum(fulls) / len(fulls) / self.capacity_bytes
        share -= PAYBACK * sum(overs) / PATTERN / self.frame_bytes
        budget = self.frame_bytes * max(LEAST_SHARE, min(share, MOST_SHARE))
        wanted = math.floor(math.log(budget * len(known) / sum(known)) / step)
        most = max(1, min(abs(wanted - quality) - 1, STEPS)) if len(known) >= PATTERN else FIRST_STEPS
        if self.qualities < FEW_QUALITIES:
            most = 1
        chosen = max(quality - most, min(wanted, quality + most))
        return replace(told, quality=max(0, min(chosen, self.qualities - 1)))


def _step(qualities: int) -> float:
    """By how much sizes grow from one quality to the next, as a natural logarithm."""
    return math.log(RANGE) / max(1, qualities - 1)
