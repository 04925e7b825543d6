"""Rate control: which quality the next frame gets, so that the stream holds a bitrate. A value that is told the sizes.

    control = RateControl.start(kbps=40, fps=30, qualities=64)
    packet = encode(..., control.quality) ; control = control.after(control.quality, len(packet), intra)

A frame's size is taken to grow by a constant factor from one quality to the next, so sizes at any quality tell what one
at quality 0 would have cost. Its mean over the last frames, and a virtual buffer that fills with every byte and drains
at the target rate, give the quality. Codecs spend bits in patterns (every fourth frame large, those between small);
means over whole patterns do not follow them, so that quality stays where the scene is steady. Frames without a
reference cost several times as much: they fill the buffer, and are counted by themselves.
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
FAR = 6
"""Qualities this far off are approached faster than one a frame."""


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
    """

    frame_bytes: float
    qualities: int
    capacity_bytes: float
    quality: int
    units: tuple[float, ...] = ()
    intra_units: tuple[float, ...] = ()
    full_bytes: float = 0.0
    fulls: tuple[float, ...] = ()

    @classmethod
    def start(cls, kbps: float, fps: float, qualities: int) -> "RateControl":
        """Begin in the middle of the scale; the first frames' sizes then say where the stream stands."""
        bytes_per_s = kbps * 1000 / 8
        return cls(bytes_per_s / fps, qualities, bytes_per_s * BUFFER_S, (qualities - 1) // 2)

    def with_rate(self, kbps: float, fps: float) -> "RateControl":
        """The same stream at another rate from now on."""
        bytes_per_s = kbps * 1000 / 8
        return replace(self, frame_bytes=bytes_per_s / fps, capacity_bytes=bytes_per_s * BUFFER_S)

    def after(self, quality: int, payload_bytes: int, intra: bool = False) -> "RateControl":
        """What follows from a frame of `payload_bytes` at `quality`; `intra`: it had no reference."""
        step = math.log(RANGE) / max(1, self.qualities - 1)
        unit = max(1, payload_bytes) * math.exp(-step * quality)
        units = self.units if intra else (*self.units, unit)[-WINDOW:]
        intra_units = (*self.intra_units, unit)[-WINDOW:] if intra else self.intra_units
        full = self.full_bytes + payload_bytes - self.frame_bytes
        full = max(-0.5 * self.capacity_bytes, min(full, 2 * self.capacity_bytes))
        fulls = (*self.fulls, full)[-PATTERN:]
        told = replace(self, units=units, intra_units=intra_units, full_bytes=full, fulls=fulls)
        # One frame without a reference says nothing of those to come; a row of them is a codec that has no others.
        known = units or (intra_units if len(intra_units) > 1 else ())
        if not known:
            return replace(told, quality=quality)
        budget = self.frame_bytes * max(0.1, 1 - sum(fulls) / len(fulls) / self.capacity_bytes)
        wanted = math.floor(math.log(budget * len(known) / sum(known)) / step)
        most = 1 if abs(wanted - quality) <= FAR and len(known) >= PATTERN else 3
        if self.qualities <= WINDOW:
            most = 1
        chosen = max(quality - most, min(wanted, quality + most))
        return replace(told, quality=max(0, min(chosen, self.qualities - 1)))
