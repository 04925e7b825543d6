"""Bjontegaard deltas between two rate-distortion curves, on a monotone cubic (pchip) of log rate over PSNR.

Bjontegaard, VCEG-M33 (2001), with the piecewise cubic Hermite interpolation that the JCT-VC common test conditions
adopted (JCTVC-L1100), because a single cubic swings between points. Integrals are exact, over the overlap only, and
the overlap is part of the result: a delta over half a decibel says little.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidcodec.errors import MissingExtra, UsageError

LEAST_POINTS = 4


@dataclass(frozen=True, slots=True)
class Curve:
    """A monotone rate-distortion curve: both sequences rise strictly."""

    rates_kbps: tuple[float, ...]
    psnr_db: tuple[float, ...]

    @classmethod
    def of(cls, rates_kbps: Sequence[float], psnr_db: Sequence[float]) -> "Curve":
        """Sort points by rate and leave out those that a cheaper point equals or beats.

        Raises:
            UsageError: lengths differ, or a rate is not above zero, or a value is not finite.
        """
        if len(rates_kbps) != len(psnr_db):
            raise UsageError(f"curve has {len(rates_kbps)} rates and {len(psnr_db)} PSNRs: give as many of each")
        if not all(np.isfinite([*rates_kbps, *psnr_db])) or not all(rate > 0 for rate in rates_kbps):
            raise UsageError("curve has a rate that is not above zero, or a value that is not finite")
        kept: list[tuple[float, float]] = []
        for rate, psnr in sorted(zip(rates_kbps, psnr_db, strict=True), key=lambda point: (point[0], -point[1])):
            if not kept or psnr > kept[-1][1]:
                kept.append((float(rate), float(psnr)))
        return cls(tuple(rate for rate, _ in kept), tuple(psnr for _, psnr in kept))

    def rate_at(self, psnr_db: float) -> float | None:
        """Rate in kbit/s that reaches a PSNR, by the same interpolation; None outside the curve."""
        if len(self.psnr_db) < 2 or not self.psnr_db[0] <= psnr_db <= self.psnr_db[-1]:
            return None
        return float(np.exp(_pchip(self.psnr_db, np.log(self.rates_kbps))(psnr_db)))

    def psnr_at(self, rate_kbps: float) -> float | None:
        """PSNR in dB at a rate; None outside the curve."""
        if len(self.psnr_db) < 2 or not self.rates_kbps[0] <= rate_kbps <= self.rates_kbps[-1]:
            return None
        return float(_pchip(np.log(self.rates_kbps), self.psnr_db)(np.log(rate_kbps)))


@dataclass(frozen=True, slots=True)
class Delta:
    """How `other` compares with `anchor`.

    Attributes:
        rate_percent: BD-rate: bits for the same PSNR; negative is better than the anchor. None: no overlap.
        psnr_db: BD-PSNR: PSNR for the same bits; positive is better. None: no overlap.
        overlap_db: the PSNR range that BD-rate is over.
        overlap_share: that range as a share of the anchor's.
    """

    rate_percent: float | None
    psnr_db: float | None
    overlap_db: tuple[float, float] | None
    overlap_share: float


def bjontegaard(anchor: Curve, other: Curve, least_points: int = LEAST_POINTS) -> Delta:
    """BD-rate and BD-PSNR of `other` against `anchor`.

    Raises:
        UsageError: a curve has fewer than `least_points` points that rise.
    """
    for name, curve in (("anchor", anchor), ("other", other)):
        if len(curve.psnr_db) < least_points:
            raise UsageError(f"{name} curve has {len(curve.psnr_db)} rising points: at least {least_points} are needed")
    low, high = max(anchor.psnr_db[0], other.psnr_db[0]), min(anchor.psnr_db[-1], other.psnr_db[-1])
    if low >= high:
        return Delta(None, None, None, 0.0)
    difference = _mean(other.psnr_db, np.log(other.rates_kbps), low, high)
    difference -= _mean(anchor.psnr_db, np.log(anchor.rates_kbps), low, high)
    share = (high - low) / (anchor.psnr_db[-1] - anchor.psnr_db[0])
    return Delta(float(np.expm1(difference) * 100), _bd_psnr(anchor, other), (low, high), share)


def _bd_psnr(anchor: Curve, other: Curve) -> float | None:
    low = float(np.log(max(anchor.rates_kbps[0], other.rates_kbps[0])))
    high = float(np.log(min(anchor.rates_kbps[-1], other.rates_kbps[-1])))
    if low >= high:
        return None
    mine = _mean(np.log(other.rates_kbps), other.psnr_db, low, high)
    return mine - _mean(np.log(anchor.rates_kbps), anchor.psnr_db, low, high)


def _pchip(x: Sequence[float] | NDArray[np.float64], y: Sequence[float] | NDArray[np.float64]) -> Any:
    try:
        from scipy.interpolate import PchipInterpolator
    except ImportError as error:
        raise MissingExtra("BD-rate needs scipy", "bench") from error
    return PchipInterpolator(np.asarray(x), np.asarray(y))


def _mean(
    x: Sequence[float] | NDArray[np.float64], y: Sequence[float] | NDArray[np.float64], low: float, high: float
) -> float:
    """Mean of the pchip through (x, y) over [low, high], integrated exactly."""
    return float(_pchip(x, y).integrate(low, high)) / (high - low)
