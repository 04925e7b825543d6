"""From points to claims: Bjontegaard deltas clip by clip, then their mean and spread."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from vidcodec.bdrate import Curve, bjontegaard
from vidcodec.bench.measure import Point
from vidcodec.errors import UsageError
from vidcodec.metrics import PSNR_CEILING_DB, psnr_db

MSE_MARKS = (3.1e-4, 1.9e-4)
"""MSEs at which rates are compared: the source paper's best, and one that looks good."""
RATE_MARKS_KBPS = (20.0, 30.0, 40.0, 60.0)


@dataclass(frozen=True)
class ClipDelta:
    """One codec against the anchor on one clip; None where the curves do not overlap.

    Attributes:
        bd_rate_luma_percent: BD-rate over PSNR of luma alone.
        bd_rate_ms_ssim_percent: BD-rate over MS-SSIM in dB, -10 log10(1 - MS-SSIM).
    """

    clip: str
    codec: str
    bd_rate_percent: float | None
    bd_rate_luma_percent: float | None
    bd_rate_ms_ssim_percent: float | None
    bd_psnr_db: float | None
    overlap_db: tuple[float, float] | None
    overlap_share: float


@dataclass(frozen=True)
class CodecSummary:
    """One codec over all clips.

    Attributes:
        bd_rate_percent: mean over clips of BD-rate against the anchor, with its least and greatest.
        bd_rate_luma_percent, bd_rate_ms_ssim_percent: the same mean over PSNR of luma, and over MS-SSIM.
        clips: how many clips the mean is over (curves that overlap).
        overlap_share: mean share of the anchor's PSNR range that the deltas are over.
        kbps_at_mse: median over clips of the payload rate at each of `MSE_MARKS`. A clip that never gets so good counts
            as infinite, one that is better even at its lowest rate as that rate; None when the median is infinite.
        psnr_at_kbps: mean over clips of PSNR at each of `RATE_MARKS_KBPS`; None unless every clip's curve goes there.
        encode_ms, decode_ms: medians over clips and levels.
        mse: mean over clips, for what has one point only.
        drift: largest over all points.
    """

    codec: str
    bd_rate_percent: float | None
    bd_rate_least: float | None
    bd_rate_most: float | None
    bd_rate_luma_percent: float | None
    bd_rate_ms_ssim_percent: float | None
    bd_psnr_db: float | None
    clips: int
    overlap_share: float
    kbps_at_mse: tuple[float | None, ...]
    psnr_at_kbps: tuple[float | None, ...]
    encode_ms: float
    decode_ms: float
    mse: float | None
    drift: int | None


def curve_of(points: Iterable[Point]) -> Curve:
    """The payload-rate curve of one codec on one clip, over its usual points."""
    return whole_curve(usual(points))


def whole_curve(points: Iterable[Point]) -> Curve:
    """The same with the points below quality 0."""
    rows = list(points)
    return Curve.of([point.kbps for point in rows], [point.psnr_db for point in rows])


def usual(points: Iterable[Point]) -> list[Point]:
    """Those of quality 0 and above. Below, pictures get worse faster than packets get smaller, so those points say what
    a codec does at rates that nothing else of it reaches, and nothing of how many bits it takes for a picture."""
    return [point for point in points if point.level >= 0]


def by_codec_and_clip(points: Iterable[Point]) -> dict[str, dict[str, list[Point]]]:
    """Points as `[codec][clip]`, in the order they come."""
    table: dict[str, dict[str, list[Point]]] = defaultdict(lambda: defaultdict(list))
    for point in points:
        table[point.codec][point.clip].append(point)
    return {codec: dict(clips) for codec, clips in table.items()}


def clip_deltas(points: Sequence[Point], anchor: str) -> list[ClipDelta]:
    """Every codec with a curve against the anchor, clip by clip.

    Raises:
        UsageError: the anchor was not measured.
    """
    table = by_codec_and_clip(points)
    if anchor not in table:
        raise UsageError(f"anchor {anchor!r} was not measured: add it to --codecs")
    deltas: list[ClipDelta] = []
    for codec, clips in table.items():
        for clip, rows in clips.items():
            if len(rows) < 2 or clip not in table[anchor]:
                continue
            luma, similar = (_bd_rate(table[anchor][clip], rows, scale) for scale in (_luma_db, _ms_ssim_db))
            try:
                delta = bjontegaard(curve_of(table[anchor][clip]), curve_of(rows))
            except UsageError:  # too few rising points: said as "no overlap" rather than ending the whole run
                deltas.append(ClipDelta(clip, codec, None, luma, similar, None, None, 0.0))
                continue
            row = (delta.rate_percent, luma, similar, delta.psnr_db, delta.overlap_db, delta.overlap_share)
            deltas.append(ClipDelta(clip, codec, *row))
    return deltas


def _luma_db(point: Point) -> float:
    return point.luma_psnr_db


def _ms_ssim_db(point: Point) -> float:
    return psnr_db(1 - point.ms_ssim)


def _bd_rate(anchor: Sequence[Point], other: Sequence[Point], quality_db: Callable[[Point], float]) -> float | None:
    """BD-rate over another measure in dB, in percent; None where the curves have too few points in common. Exact copies
    have no such measure, and are left out."""

    def curve(points: Sequence[Point]) -> Curve:
        rows = [point for point in usual(points) if quality_db(point) < PSNR_CEILING_DB]
        return Curve.of([point.kbps for point in rows], [quality_db(point) for point in rows])

    try:
        return bjontegaard(curve(anchor), curve(other)).rate_percent
    except UsageError:
        return None


def summarise(points: Sequence[Point], deltas: Sequence[ClipDelta]) -> list[CodecSummary]:
    """One row a codec, in the order of `points`."""
    summaries = []
    for codec, clips in by_codec_and_clip(points).items():
        own = [delta for delta in deltas if delta.codec == codec and delta.bd_rate_percent is not None]
        rates = [delta.bd_rate_percent for delta in own if delta.bd_rate_percent is not None]
        luma = [delta.bd_rate_luma_percent for delta in own if delta.bd_rate_luma_percent is not None]
        similar = [delta.bd_rate_ms_ssim_percent for delta in own if delta.bd_rate_ms_ssim_percent is not None]
        gains = [delta.bd_psnr_db for delta in own if delta.bd_psnr_db is not None]
        rows = usual(point for points in clips.values() for point in points)
        curves = [curve_of(points) for points in clips.values() if len(points) > 1]
        whole = [whole_curve(points) for points in clips.values() if len(points) > 1]
        drifts = [point.drift for point in rows if point.drift is not None]
        summaries.append(
            CodecSummary(
                codec=codec,
                bd_rate_percent=float(np.mean(rates)) if rates else None,
                bd_rate_least=min(rates, default=None),
                bd_rate_most=max(rates, default=None),
                bd_rate_luma_percent=float(np.mean(luma)) if luma else None,
                bd_rate_ms_ssim_percent=float(np.mean(similar)) if similar else None,
                bd_psnr_db=float(np.mean(gains)) if gains else None,
                clips=len(rates),
                overlap_share=float(np.mean([delta.overlap_share for delta in own])) if own else 0.0,
                kbps_at_mse=tuple(_median_rate(curves, -10 * float(np.log10(mark))) for mark in MSE_MARKS),
                psnr_at_kbps=tuple(_mean_psnr(whole, kbps) for kbps in RATE_MARKS_KBPS),
                encode_ms=float(np.median([point.encode_ms for point in rows])),
                decode_ms=float(np.median([point.decode_ms for point in rows])),
                mse=float(np.mean([point.mse for point in rows])) if not curves else None,
                drift=max(drifts, default=None),
            )
        )
    return summaries


def against(points: Sequence[Point], codec: str, anchor: str) -> CodecSummary:
    """One codec's row with another anchor.

    Raises:
        UsageError: one of both was not measured.
    """
    rows = [point for point in points if point.codec in (codec, anchor)]
    found = [row for row in summarise(rows, clip_deltas(rows, anchor)) if row.codec == codec]
    if not found:
        raise UsageError(f"codec {codec!r} was not measured: add it to --codecs")
    return found[0]


def _median_rate(curves: list[Curve], psnr_db: float) -> float | None:
    """Median over clips of the rate that reaches a PSNR; None when that is more than was measured."""
    rates = [
        curve.rates_kbps[0]
        if psnr_db <= curve.psnr_db[0]
        else float("inf")
        if (rate := curve.rate_at(psnr_db)) is None
        else rate
        for curve in curves
    ]
    middle = float(np.median(rates)) if rates else float("inf")
    return middle if np.isfinite(middle) else None


def _mean_psnr(curves: list[Curve], rate_kbps: float) -> float | None:
    """Mean over clips of the PSNR at a rate; None when a clip's curve does not go there."""
    values = [value for curve in curves if (value := curve.psnr_at(rate_kbps)) is not None]
    return float(np.mean(values)) if values and len(values) == len(curves) else None


def to_json(rows: Iterable[ClipDelta | CodecSummary]) -> list[dict[str, Any]]:
    """Rounded to six digits."""
    return [{key: _rounded(value) for key, value in asdict(row).items()} for row in rows]


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}")
    return [_rounded(item) for item in value] if isinstance(value, (tuple, list)) else value
