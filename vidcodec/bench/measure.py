"""One rate-distortion point: a clip through one codec at one level, into packets and back in another process."""

import time
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidcodec.baselines.video import NotZeroDelay
from vidcodec.bench.clips import Clip
from vidcodec.bench.coders import Spec
from vidcodec.bench.remote import RemoteDecoder
from vidcodec.metrics import MeanQuality
from vidcodec.wire import rate_kbps, wire_bytes

Frame = NDArray[np.uint8]

MS_SSIM_EVERY = 5
LPIPS_FRAMES = 6
METHOD = 3
"""Part of every cache key: raise it when anything in how a point is measured changes."""


@dataclass(frozen=True)
class Point:
    """What one codec did to one clip at one level.

    Attributes:
        clip, codec, level: which point.
        frames: frames measured; `bytes` are those of their packets, headers included.
        kbps: payload rate at the clip's frame rate; `wire_kbps` with the transport's headers on every packet.
        mse: mean over frames, on [0, 1]; psnr_db is that of the mean.
        luma_psnr_db: the same of luma alone.
        ms_ssim: mean over every 5th frame.
        lpips: mean over 6 frames; None when not asked for.
        encode_ms, decode_ms: CPU time of the process, medians a frame, conversion and scaling included, first frame
            left out. CPU time, because several points are measured at once; `bench speed` takes the clock's.
        drift: largest difference, in levels of 255, between the decoder's picture and the one the encoder foresaw;
            None for codecs that do not say.
    """

    clip: str
    codec: str
    level: int
    frames: int
    bytes: int
    kbps: float
    wire_kbps: float
    mse: float
    psnr_db: float
    luma_psnr_db: float
    ms_ssim: float
    lpips: float | None
    encode_ms: float
    decode_ms: float
    drift: int | None

    def to_json(self) -> dict[str, Any]:
        """Rounded to six digits."""
        return {
            key: float(f"{value:.6g}") if isinstance(value, float) else value for key, value in asdict(self).items()
        }

    @classmethod
    def columns(cls) -> tuple[str, ...]:
        """Names of the values, in order."""
        return tuple(field.name for field in fields(cls))

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Point":
        """The way back; unknown names are left out."""
        return cls(**{name: values[name] for name in cls.columns()})


def measure(clip: Clip, spec: Spec, level: int, remote: RemoteDecoder, lpips: bool = False) -> Point:
    """Encode here, decode there, compare.

    Raises:
        NotZeroDelay: fewer or more packets or pictures than frames.
        VidcodecError: the codec cannot run.
    """
    frames = clip.frames[:: spec.stride]
    encoder = spec.open_encoder(level, clip.fps)
    packets: list[bytes] = []
    foreseen: list[Frame | None] = []
    encode_ms: list[float] = []
    try:
        for frame in frames:
            start = time.process_time()
            packets.append(encoder.encode(frame))
            encode_ms.append((time.process_time() - start) * 1000)
            foreseen.append(encoder.picture())
    finally:
        encoder.close()
    decoded = remote.decode(spec, packets)
    check_zero_delay(spec.name, len(frames), len(packets), len(decoded.pictures))
    quality = MeanQuality(ms_ssim_every=MS_SSIM_EVERY)
    for frame, picture in zip(frames, decoded.pictures, strict=True):
        quality.add(frame, picture)
    total_bytes = sum(map(len, packets))
    duration_s = len(frames) / clip.fps
    wire_total = sum(wire_bytes(len(packet), spec.transport) for packet in packets)
    assert quality.mse is not None and quality.psnr_db is not None
    assert quality.luma_psnr_db is not None and quality.ms_ssim is not None
    return Point(
        clip=clip.name,
        codec=spec.name,
        level=level,
        frames=len(frames),
        bytes=total_bytes,
        kbps=rate_kbps(total_bytes, duration_s),
        wire_kbps=rate_kbps(wire_total, duration_s),
        mse=quality.mse,
        psnr_db=quality.psnr_db,
        luma_psnr_db=quality.luma_psnr_db,
        ms_ssim=quality.ms_ssim,
        lpips=_mean_lpips(frames, decoded.pictures) if lpips else None,
        encode_ms=float(np.median(encode_ms[1:] or encode_ms)),
        decode_ms=float(np.median(decoded.decode_ms[1:] or decoded.decode_ms)),
        drift=_drift(foreseen, decoded.pictures),
    )


def check_zero_delay(name: str, frames: int, packets: int, pictures: int) -> None:
    """One packet and one picture for each frame.

    Raises:
        NotZeroDelay: otherwise.
    """
    if not frames == packets == pictures:
        raise NotZeroDelay(f"{name} is not zero delay: {frames} frames gave {packets} packets and {pictures} pictures")


def _drift(foreseen: list[Frame | None], pictures: list[Frame]) -> int | None:
    differences = [
        int(np.abs(a.astype(np.int16) - b).max()) for a, b in zip(foreseen, pictures, strict=True) if a is not None
    ]
    return max(differences) if differences else None


def _mean_lpips(frames: NDArray[np.uint8], pictures: list[Frame]) -> float:
    from vidcodec.perceptual import load_lpips

    chosen = np.unique(np.linspace(0, len(frames) - 1, LPIPS_FRAMES).round().astype(int))
    model = load_lpips()
    return float(np.mean([model.distance(frames[i], pictures[i]) for i in chosen]))
