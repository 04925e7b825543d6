"""A long call between devices that do not compute alike: how far their pictures come apart, and what the call does.

As in a call, one frame in `vidcodec.drift.EVERY` is compared by its sketch, and a receiver that is too far off gets a
frame without a reference: here `TOLD_S` later, which is the longest that a narrow path takes to tell.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from vidcodec.bench.clips import Clip
from vidcodec.bench.steadyruns import played
from vidcodec.codec import Codec
from vidcodec.drift import APART, EVERY, DriftWatch, sketch
from vidcodec.metrics import mse, psnr_db
from vidcodec.packet import NUMBERS, Packet

DRIFT_FRAMES = 1500
TOLD_S = 4.0


@dataclass(frozen=True)
class Drift:
    """Sent in one precision and shown in another, as a call does it.

    Attributes:
        mean_db: what the receiver's PSNR lacks against the sender's, on average (positive: worse).
        worst_db: the same over the worst second.
        fresh: how often the call began anew.
        first_s: seconds until the pictures were found apart for the first time; None for never.
        fresh_share: bytes of the frames that began it anew, of all bytes.
    """

    clip: str
    quality: int
    encoder: str
    decoder: str
    frames: int
    mean_db: float
    worst_db: float
    fresh: int
    first_s: float | None
    fresh_share: float


def drift(
    encoder: Codec,
    decoder: Codec,
    clip: Clip,
    quality: int,
    frames: int = DRIFT_FRAMES,
    *,
    report: Callable[[int], object] = lambda _frames: None,
) -> Drift:
    """Send `frames` frames of a clip, to and fro, from one codec to the other."""
    sent, shown, watch = encoder.blank_state(), decoder.blank_state(), DriftWatch()
    lacks, sizes, anew = [], [], -1
    begun: list[int] = []
    first: int | None = None
    for at, frame in enumerate(played(clip, frames)):
        fresh = None
        if at == anew:
            sent, fresh = encoder.blank_state(), at % NUMBERS
            begun.append(at)
        packet, sent = encoder.encode(frame, sent, quality, fresh)
        _, shown = decoder.decode(Packet.from_bytes(packet.to_bytes()), shown)
        if at % EVERY == 0:
            watch.told(at, sketch(sent.picture))
            apart = watch.decoded(at, shown.picture)
            if apart is not None and apart > APART and at > anew:
                anew = at + round(TOLD_S * clip.fps)
                first = at if first is None else first
        lacks.append(psnr_db(mse(frame, sent.picture)) - psnr_db(mse(frame, shown.picture)))
        sizes.append(len(packet))
        report(1)
    second = min(round(clip.fps), frames)
    seconds = np.convolve(lacks, np.full(second, 1 / second), "valid")
    return Drift(
        clip=clip.name,
        quality=quality,
        encoder=encoder.info.precision,
        decoder=decoder.info.precision,
        frames=frames,
        mean_db=float(np.mean(lacks)),
        worst_db=float(seconds.max()),
        fresh=len(begun),
        first_s=None if first is None else first / clip.fps,
        fresh_share=sum(sizes[at] for at in begun) / sum(sizes),
    )
