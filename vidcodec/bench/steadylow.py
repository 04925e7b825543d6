"""From `bench rd`'s curves: is our codec better where bits are few, and does it reach the source paper's error earlier?

**Below 20 kbit/s.** On each clip the rates that both curves reach, from the higher of their two lowest rates to 20
kbit/s. The codec is better on a clip when its mean PSNR over those rates (log spaced), which is the mean of the
logarithm of its MSE, is above the peer's. A clip without such a rate counts as not better.

**At an MSE.** Rates at which the two curves reach it. A curve that is better even at its lowest rate reaches it "at
most" there; one that never gets so good does not reach it. The codec is better when it certainly needs less: its rate,
or the bound on it, lies below the peer's exact rate, or the peer never gets there and it does.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vidcodec.bdrate import Curve
from vidcodec.bench.measure import Point
from vidcodec.bench.summary import by_codec_and_clip, curve_of
from vidcodec.errors import InputError, reason_of
from vidcodec.metrics import psnr_db

LOW_KBPS = 20.0
MARK_MSE = 3.1e-4
STEPS = 65
PEER = "x264-veryfast"


@dataclass(frozen=True)
class LowRate:
    """Our codec and a peer on one clip.

    Attributes:
        from_kbps: the lowest rate that both reach; None where that is above 20 kbit/s.
        gain_db: mean PSNR over the common rates up to 20 kbit/s, less the peer's.
        better_share: share of those rates at which the MSE is lower.
        better: `gain_db` is above zero.
        mark_kbps, peer_mark_kbps: rates that reach `MARK_MSE`; None: never within the curve.
        mark_bound, peer_mark_bound: the rate is an upper bound.
        earlier: our codec reaches it at a lower rate.
    """

    clip: str
    from_kbps: float | None
    gain_db: float | None
    better_share: float | None
    better: bool
    mark_kbps: float | None
    mark_bound: bool
    peer_mark_kbps: float | None
    peer_mark_bound: bool
    earlier: bool


def read_rd(path: Path) -> list[Point]:
    """The points of an rd.json.

    Raises:
        InputError: it cannot be read or is none.
    """
    try:
        result: dict[str, Any] = json.loads(path.read_text("utf-8"))
        columns = result["columns"]
        return [Point.from_json(dict(zip(columns, row, strict=True))) for row in result["points"]]
    except OSError as error:
        raise InputError(f"--rd {path}: cannot be read ({reason_of(error)}); run 'bench rd' first") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"--rd {path}: no result of 'bench rd' ({error})") from error


def low_rates(points: Sequence[Point], codec: str, peer: str = PEER) -> list[LowRate]:
    """One row a clip that both were measured on.

    Raises:
        InputError: one of the two was not measured.
    """
    table = by_codec_and_clip(points)
    for name in (codec, peer):
        if name not in table:
            raise InputError(f"--rd: {name} was not measured; give it to 'bench rd --codecs'")
    return [
        _compare(clip, curve_of(own), curve_of(table[peer][clip]))
        for clip, own in table[codec].items()
        if clip in table[peer]
    ]


def _compare(clip: str, own: Curve, peer: Curve) -> LowRate:
    start = max(own.rates_kbps[0], peer.rates_kbps[0])
    end = min(LOW_KBPS, own.rates_kbps[-1], peer.rates_kbps[-1])
    gains: list[float] = []
    if start < end:
        for rate in np.geomspace(start, end, STEPS):
            inside = float(np.clip(rate, start, end))  # rounding may leave the curves' ends
            ours, theirs = own.psnr_at(inside), peer.psnr_at(inside)
            gains += [] if ours is None or theirs is None else [ours - theirs]
    gain = float(np.mean(gains)) if gains else None
    rate, bound = _reaches(own)
    peer_rate, peer_bound = _reaches(peer)
    earlier = rate is not None and (peer_rate is None or (not peer_bound and rate < peer_rate))
    return LowRate(
        clip=clip,
        from_kbps=start if gains else None,
        gain_db=gain,
        better_share=float(np.mean([value > 0 for value in gains])) if gains else None,
        better=gain is not None and gain > 0,
        mark_kbps=rate,
        mark_bound=bound,
        peer_mark_kbps=peer_rate,
        peer_mark_bound=peer_bound,
        earlier=earlier,
    )


def _reaches(curve: Curve) -> tuple[float | None, bool]:
    """Rate at which a curve reaches `MARK_MSE`, and whether that is only an upper bound."""
    mark = psnr_db(MARK_MSE)
    if curve.psnr_db[0] > mark:
        return curve.rates_kbps[0], True
    return curve.rate_at(mark), False
