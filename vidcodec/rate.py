"""Rate control: which quality the next frame gets, so that the stream holds a bitrate. A value that is told the sizes.

    control = RateControl.start(kbps=40, fps=30, qualities=64)
    packet = encode(..., control.quality) ; control = control.after(control.quality, len(packet))

A frame's size is taken to grow by a constant factor from one quality to the next. The mean size at quality 0 is
tracked in the log domain; a virtual buffer that fills with every byte and drains at the target rate pulls the budget
down while it is full, so that the mean over a second or two is the target, whatever single frames do.
"""

import math
from dataclasses import dataclass, replace

RANGE = 30.0
"""The largest quality costs about this many times the bytes of the lowest."""

BUFFER_S = 1.0
SMOOTHING = 0.15
MAX_STEP = 0.12


@dataclass(frozen=True, slots=True)
class RateControl:
    """State of the control.

    Attributes:
        frame_bytes: mean bytes a frame may have.
        qualities: the codec's number of qualities.
        capacity_bytes: size of the virtual buffer.
        log_base: natural logarithm of the bytes that quality 0 is expected to cost; None before the first frame.
        full_bytes: what is in the buffer; negative when less was sent than allowed.
        quality: what the next frame should get.
    """

    frame_bytes: float
    qualities: int
    capacity_bytes: float
    quality: int
    log_base: float | None = None
    full_bytes: float = 0.0

    @classmethod
    def start(cls, kbps: float, fps: float, qualities: int) -> "RateControl":
        """Begin in the middle of the scale; the first frame's size then says where the stream stands."""
        bytes_per_s = kbps * 1000 / 8
        return cls(bytes_per_s / fps, qualities, bytes_per_s * BUFFER_S, (qualities - 1) // 2)

    def with_rate(self, kbps: float, fps: float) -> "RateControl":
        """The same stream at another rate from now on."""
        bytes_per_s = kbps * 1000 / 8
        return replace(self, frame_bytes=bytes_per_s / fps, capacity_bytes=bytes_per_s * BUFFER_S)

    def after(self, quality: int, payload_bytes: int) -> "RateControl":
        """What follows from a frame of `payload_bytes` at `quality`."""
        step = math.log(RANGE) / max(1, self.qualities - 1)
        seen = math.log(max(1, payload_bytes)) - step * quality
        base = seen if self.log_base is None else self.log_base + SMOOTHING * (seen - self.log_base)
        full = self.full_bytes + payload_bytes - self.frame_bytes
        full = max(-0.5 * self.capacity_bytes, min(full, 2 * self.capacity_bytes))
        budget = self.frame_bytes * max(0.1, 1 - full / self.capacity_bytes)
        wanted = (math.log(budget) - base) / step
        # Quality that jumps is seen; on a coarse scale one step is always allowed.
        most = max(1, round(MAX_STEP * self.qualities))
        chosen = max(quality - most, min(math.floor(wanted), quality + most))
        return replace(self, log_base=base, full_bytes=full, quality=max(0, min(chosen, self.qualities - 1)))
