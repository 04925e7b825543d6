"""What a codec does over time: the runs behind `bench steady`. Every frame is a real packet; nothing is estimated.

Clips are played forwards and backwards, so that they go on without a cut for as long as a run takes. The sender's
picture of a frame is the very picture that a receiver on the same device shows.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidcodec.bench.clips import Clip
from vidcodec.codec import Codec, Frame
from vidcodec.errors import UsageError
from vidcodec.heldrate import encode_held
from vidcodec.learned import LearnedCodec
from vidcodec.metrics import mse, psnr_db
from vidcodec.packet import Packet
from vidcodec.rate import RateControl

Report = Callable[[int], object]
"""Told how many more frames are done."""

LEAST_ENDLESS = 40
NOISE_SIGMA = 2.0
STILL_KBPS = 20.0
STILL_FRAMES = 101
STILL_MARKS = (10, 100)
IDLE_SETTLE, IDLE_FRAMES = 64, 32
TOLERANCE = 0.10
PRECISION_FRAMES = 300
AFTER_REPAIR = 8


@dataclass(frozen=True)
class Endless:
    """A clip played on and on at one quality.

    Attributes:
        early_db, late_db: mean PSNR of frames 5 to 15 % into the run, and of its last tenth (of 1,000 frames: 50 to
            149 and 900 to 999).
        change_db: late minus early.
        same_pictures_db: mean over the last tenth of a frame's PSNR minus that of the first time, from 5 % on, that the
            clip stood at the same place going the same way. The two spans above show different pictures of a clip;
            this leaves nothing but time. None where the run is too short to come back.
        kbps: payload rate.
    """

    clip: str
    quality: int
    frames: int
    early_db: float
    late_db: float
    change_db: float
    same_pictures_db: float | None
    kbps: float


@dataclass(frozen=True)
class Still:
    """One frame repeated with camera noise under rate control; then exactly repeated.

    Attributes:
        clean_db, noisy_db: PSNR at the `STILL_MARKS` against the frame without noise, and against what the encoder got.
        gain_db: what the clean PSNR rises between the marks.
        idle_bytes, idle_most_bytes: median and largest packet of the last frames when the frame is repeated exactly, at
            `quality`.
        kbps: payload rate over all noisy frames.
    """

    clip: str
    quality: int
    clean_db: tuple[float, float]
    noisy_db: tuple[float, float]
    gain_db: float
    idle_bytes: float
    idle_most_bytes: int
    kbps: float


@dataclass(frozen=True)
class Rate:
    """A clip under rate control.

    Attributes:
        target_kbps: what was asked for.
        kbps: mean over the whole run; `settled_kbps` without its first `after_s` seconds.
        worst: largest deviation, as a share of the target and with its sign, of any one-second window (one at each
            frame) that begins after `after_s`.
        within: share of those windows that are within 10 %.
        first_kbps: the first second's.
        lowest: share of frames at quality 0: near 1 the rate cannot be held by this codec on this clip.
        psnr_db: of the mean error of the whole run.
        quality_step: mean change of quality from a frame to the next.
    """

    clip: str
    target_kbps: float
    seconds: float
    after_s: float
    kbps: float
    settled_kbps: float
    worst: float
    within: float
    first_kbps: float
    lowest: float
    psnr_db: float
    quality_step: float


@dataclass(frozen=True)
class Precision:
    """Encoded in one precision, decoded in another.

    Attributes:
        mean_db, end_db: what the receiver's PSNR lacks against the sender's (positive: worse), mean over all frames and
            over the last second; `worst_db` is the largest of a frame, in either direction.
        levels: largest difference of a pixel, in levels of 255, at the last frame.
        symbols_equal: packets whose symbols the receiver read as they were written.
        repaired: after a frame from a blank state, the receiver shows what a fresh receiver shows, bit for bit, for
            that frame and the next ones; `repaired_db` is `mean_db` over those.
    """

    clip: str
    quality: int
    encoder: str
    decoder: str
    frames: int
    mean_db: float
    end_db: float
    worst_db: float
    levels: int
    symbols_equal: int
    repaired: bool
    repaired_db: float


def to_and_fro(length: int, count: int) -> list[int]:
    """Places 0, 1, .., length - 1, length - 2, .., 1, 0, 1, ..: `count` of them."""
    period = max(1, 2 * length - 2)
    return [min(at % period, period - at % period) if length > 1 else 0 for at in range(count)]


def played(clip: Clip, count: int) -> Iterator[Frame]:
    """`count` frames of a clip, forwards and backwards."""
    return (clip.frames[at] for at in to_and_fro(len(clip.frames), count))


def _ignore(_frames: int) -> None:
    """Nobody wants to know."""


def endless(codec: Codec, clip: Clip, frames: int, quality: int, *, report: Report = _ignore) -> Endless:
    """Play a clip to and fro.

    Raises:
        UsageError: too few frames to compare.
    """
    if frames < LEAST_ENDLESS:
        raise UsageError(f"--frames {frames}: at least {LEAST_ENDLESS} frames are needed to compare early with late")
    state, errors, total = codec.blank_state(), [], 0
    for frame in played(clip, frames):
        packet, state = codec.encode(frame, state, quality)
        total += len(packet)
        errors.append(mse(frame, state.picture))
        report(1)
    values = np.array([psnr_db(error) for error in errors])
    first, span = frames // 20, frames // 10
    early, late = float(values[first : first + span].mean()), float(values[-span:].mean())
    rate = total * 8 / 1000 / (frames / clip.fps)
    same = _same_pictures(values, len(clip.frames), first, span)
    return Endless(clip.name, quality, frames, early, late, late - early, same, rate)


def _same_pictures(values: NDArray[np.float64], length: int, first: int, span: int) -> float | None:
    """Mean of the last `span` values minus those at the same places of the to-and-fro, the first time from `first`."""
    period, changes = max(1, 2 * length - 2), []
    for late in range(len(values) - span, len(values)):
        early = first + (late - first) % period
        if early < late:
            changes.append(values[late] - values[early])
    return float(np.mean(changes)) if changes else None


def still(codec: Codec, clip: Clip, quality: int, seed: int, *, report: Report = _ignore) -> Still:
    """The first frame of a clip, repeated with fresh noise of `NOISE_SIGMA` levels, held at `STILL_KBPS`; then the
    same frame without noise at a fixed quality."""
    rng = np.random.default_rng(seed)
    frame = clip.frames[0]
    state, control = codec.blank_state(), RateControl.start(STILL_KBPS, clip.fps, codec.info.qualities)
    clean, noisy, total = [], [], 0
    for _ in range(STILL_FRAMES):
        seen = np.clip(np.rint(frame + rng.normal(0, NOISE_SIGMA, frame.shape)), 0, 255).astype(np.uint8)
        packet, state = codec.encode(seen, state, control.quality)
        control = control.after(control.quality, len(packet), packet.header.distance == 0)
        total += len(packet)
        clean.append(psnr_db(mse(frame, state.picture)))
        noisy.append(psnr_db(mse(seen, state.picture)))
        report(1)
    state, sizes = codec.blank_state(), []
    for _ in range(IDLE_SETTLE + IDLE_FRAMES):
        packet, state = codec.encode(frame, state, quality)
        sizes.append(len(packet))
        report(1)
    early, late = STILL_MARKS
    return Still(
        clip=clip.name,
        quality=quality,
        clean_db=(clean[early], clean[late]),
        noisy_db=(noisy[early], noisy[late]),
        gain_db=clean[late] - clean[early],
        idle_bytes=float(np.median(sizes[IDLE_SETTLE:])),
        idle_most_bytes=max(sizes[IDLE_SETTLE:]),
        kbps=total * 8 / 1000 / (STILL_FRAMES / clip.fps),
    )


def rate_frames(clip: Clip, seconds: float) -> int:
    """Frames of `seconds` of a clip."""
    return round(seconds * clip.fps)


def rate(codec: Codec, clip: Clip, kbps: float, seconds: float, after_s: float, *, report: Report = _ignore) -> Rate:
    """A clip under the project's rate control, as `vidcodec encode --bitrate` uses it.

    Raises:
        UsageError: no whole second is left after `after_s`.
    """
    if seconds < after_s + 1:
        raise UsageError(f"--seconds {seconds:g}: at least {after_s + 1:g} are needed")
    state, control = codec.blank_state(), RateControl.start(kbps, clip.fps, codec.info.qualities, codec.info.lowest)
    sizes, qualities, error = [], [], 0.0
    frames = rate_frames(clip, seconds)
    for frame in played(clip, frames):
        packet, state, control = encode_held(codec, frame, state, control)
        sizes.append(len(packet))
        qualities.append(packet.header.quality)
        error += mse(frame, state.picture)
        report(1)
    skip = rate_frames(clip, after_s)
    deviations = window_deviations(sizes[skip:], kbps, clip.fps)
    worst = int(np.abs(deviations).argmax())
    return Rate(
        clip=clip.name,
        target_kbps=kbps,
        seconds=seconds,
        after_s=after_s,
        kbps=_kbps(sizes, clip.fps),
        settled_kbps=_kbps(sizes[skip:], clip.fps),
        worst=float(deviations[worst]),
        within=float((np.abs(deviations) <= TOLERANCE).mean()),
        first_kbps=_kbps(sizes[: round(clip.fps)], clip.fps),
        lowest=float(np.mean([quality == 0 for quality in qualities])),
        psnr_db=psnr_db(error / frames),
        quality_step=float(np.abs(np.diff(qualities)).mean()),
    )


def _kbps(sizes: list[int], fps: float) -> float:
    return sum(sizes) * 8 / 1000 / (len(sizes) / fps)


def window_deviations(sizes: list[int], kbps: float, fps: float) -> NDArray[np.float64]:
    """Rate over `kbps`, less 1, of the second that begins at each frame; a second is as many frames as fill one."""
    window = round(fps)
    sums = np.convolve(sizes, np.ones(window), "valid")
    return np.asarray(sums * 8 / 1000 / (window / fps) / kbps - 1)


def precision(
    encoder: Codec,
    decoder: Codec,
    clip: Clip,
    quality: int,
    frames: int = PRECISION_FRAMES,
    *,
    report: Report = _ignore,
) -> Precision:
    """Send `frames` frames from one codec to the other, then one from a blank state and a few more."""
    sent, shown, fresh = encoder.blank_state(), decoder.blank_state(), decoder.blank_state()
    lacks, equal, levels, same = [], 0, 0, True
    for at, frame in enumerate(played(clip, frames + AFTER_REPAIR)):
        if at == frames:
            levels = int(np.abs(sent.picture.astype(np.int16) - shown.picture).max())
            number = sent.number
            sent = encoder.blank_state()
            packet, sent = encoder.encode(frame, sent, quality, None if number is None else (number + 1) % 1024)
        else:
            packet, sent = encoder.encode(frame, sent, quality)
        received = Packet.from_bytes(packet.to_bytes())
        equal += _same_symbols(encoder, decoder, packet, received)
        _, shown = decoder.decode(received, shown)
        if at >= frames:
            _, fresh = decoder.decode(received, fresh)
            same = same and bool(np.array_equal(fresh.picture, shown.picture))
        lacks.append(psnr_db(mse(frame, sent.picture)) - psnr_db(mse(frame, shown.picture)))
        report(1)
    before = np.array(lacks[:frames])
    return Precision(
        clip=clip.name,
        quality=quality,
        encoder=encoder.info.precision,
        decoder=decoder.info.precision,
        frames=frames,
        mean_db=float(before.mean()),
        end_db=float(before[-round(clip.fps) :].mean()),
        worst_db=float(np.abs(before).max()),
        levels=levels,
        symbols_equal=equal,
        repaired=same,
        repaired_db=float(np.mean(lacks[frames:])),
    )


def _same_symbols(encoder: Codec, decoder: Codec, sent: Packet, received: Packet) -> bool:
    """Both ends read the same symbols. `decode` checks them against the sender's checksum, whatever the codec."""
    if not (isinstance(encoder, LearnedCodec) and isinstance(decoder, LearnedCodec)):
        return True
    here, there = encoder.decode_symbols(sent), decoder.decode_symbols(received)
    pairs: list[tuple[Any, Any]] = [(here.y, there.y), (here.z, there.z), (here.vectors, there.vectors)]
    return all(np.array_equal(a, b) for a, b in pairs)
