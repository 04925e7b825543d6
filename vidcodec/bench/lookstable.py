"""LPIPS as a rate-distortion measure: BD-rate over it, and what it is at a few low rates, beside PSNR at the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from vidcodec.bdrate import Curve, bjontegaard
from vidcodec.bench.measure import Point
from vidcodec.bench.summary import by_codec_and_clip, curve_of, usual
from vidcodec.bench.tables import number, percent, spread, table
from vidcodec.errors import UsageError

LOOKS_MARKS_KBPS = (10.0, 15.0, 20.0, 30.0)


@dataclass(frozen=True)
class LooksRow:
    """One codec over all clips.

    Attributes:
        bd_rate_percent: mean over clips of the bits for the same LPIPS against the anchor, with its least and greatest;
            None where no curves overlap. clips: how many it is over.
        lpips_at_kbps, psnr_at_kbps: means at each of `LOOKS_MARKS_KBPS` over the clips on which every codec measured
            goes there; None where there is no such clip. clips_at_kbps: how many there are.
    """

    codec: str
    bd_rate_percent: float | None
    bd_rate_least: float | None
    bd_rate_most: float | None
    clips: int
    lpips_at_kbps: tuple[float | None, ...]
    psnr_at_kbps: tuple[float | None, ...]
    clips_at_kbps: tuple[int, ...]


def looks_curve(points: Sequence[Point]) -> Curve:
    """Rate over -10 log10(LPIPS), which rises as pictures get better."""
    seen = [(point.kbps, -10 * float(np.log10(point.lpips))) for point in points if point.lpips]
    return Curve.of([rate for rate, _ in seen], [value for _, value in seen])


def looks_rows(points: Sequence[Point], anchor: str) -> list[LooksRow]:
    """A row for each codec with more than one usual point a clip, in the order of `points`."""
    points = usual(points)
    curves: dict[str, dict[str, tuple[Curve, Curve]]] = {}
    for codec, clips in by_codec_and_clip(points).items():
        if all(len(rows) > 1 for rows in clips.values()):
            curves[codec] = {clip: (looks_curve(rows), curve_of(rows)) for clip, rows in clips.items()}
    reached = [
        [
            clip
            for clip in dict.fromkeys(p.clip for p in points)
            if all(_goes_to(own, clip, mark) for own in curves.values())
        ]
        for mark in LOOKS_MARKS_KBPS
    ]
    rows = []
    for codec, own in curves.items():
        rates = [
            rate
            for clip, (looks, _) in own.items()
            if clip in curves.get(anchor, {}) and (rate := _bd_rate(curves[anchor][clip][0], looks)) is not None
        ]
        rows.append(
            LooksRow(
                codec,
                float(np.mean(rates)) if rates else None,
                min(rates, default=None),
                max(rates, default=None),
                len(rates),
                tuple(
                    float(np.mean([10 ** (-_at(own[clip][0], mark) / 10) for clip in clips])) if clips else None
                    for mark, clips in zip(LOOKS_MARKS_KBPS, reached, strict=True)
                ),
                tuple(
                    float(np.mean([_at(own[clip][1], mark) for clip in clips])) if clips else None
                    for mark, clips in zip(LOOKS_MARKS_KBPS, reached, strict=True)
                ),
                tuple(len(clips) for clips in reached),
            )
        )
    return rows


def looks_table(rows: Sequence[dict[str, Any]], anchor: str) -> str:
    """One row a codec, of `looks_json`, fewest bits for the same LPIPS first."""
    counts = rows[0]["clips_at_kbps"]
    marks = [at for at, count in enumerate(counts) if count]
    header = ["codec", f"bits for the LPIPS of {anchor}", "least..most"]
    header += [f"LPIPS, PSNR at {LOOKS_MARKS_KBPS[at]:g} kbit/s ({counts[at]} clips)" for at in marks]
    ordered = sorted(rows, key=lambda row: float("inf") if row["bd_rate_percent"] is None else row["bd_rate_percent"])
    return table(
        header,
        [
            [
                row["codec"],
                percent(row["bd_rate_percent"]),
                spread(row["bd_rate_least"], row["bd_rate_most"]),
                *(f"{number(row['lpips_at_kbps'][at], 3)}, {number(row['psnr_at_kbps'][at], 1)} dB" for at in marks),
            ]
            for row in ordered
        ],
    )


def looks_json(rows: Sequence[LooksRow]) -> list[dict[str, Any]]:
    """Rounded to six digits."""
    return [{key: _rounded(value) for key, value in asdict(row).items()} for row in rows]


def _rounded(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_rounded(one) for one in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _goes_to(own: dict[str, tuple[Curve, Curve]], clip: str, kbps: float) -> bool:
    return clip in own and all(curve.psnr_at(kbps) is not None for curve in own[clip])


def _at(curve: Curve, kbps: float) -> float:
    value = curve.psnr_at(kbps)
    assert value is not None
    return value


def _bd_rate(anchor: Curve, other: Curve) -> float | None:
    try:
        return bjontegaard(anchor, other).rate_percent
    except UsageError:  # too few rising points
        return None
