"""At one low rate: our codec beside the strongest opponent at its best scale, clip by clip.

What a curve says at a rate is read off its interpolation. Scaled down, an opponent may have the smaller error where
bits are few: it gets the best of its scales on each clip.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vidcodec.bench.measure import Point
from vidcodec.bench.summary import by_codec_and_clip, whole_curve
from vidcodec.bench.tables import number, table

AT_KBPS = 20.0
CODEC, OPPONENT = "s", "svtav1"


@dataclass(frozen=True)
class AtRate:
    """One clip at `AT_KBPS`.

    Attributes:
        psnr_db: of our codec; None where it does not go there.
        opponent: the opponent's name at its best scale; None where no scale goes there.
        opponent_psnr_db: its PSNR.
    """

    clip: str
    psnr_db: float | None
    opponent: str | None
    opponent_psnr_db: float | None

    @property
    def better(self) -> bool:
        """Whether ours goes there, and has the smaller error or is alone."""
        return self.psnr_db is not None and (self.opponent_psnr_db is None or self.psnr_db > self.opponent_psnr_db)


def at_rate(points: Sequence[Point]) -> list[AtRate]:
    """A row for each clip that ours was measured on; none where the opponent was not measured."""
    curves = {
        name: {clip: whole_curve(rows) for clip, rows in clips.items() if len(rows) > 1}
        for name, clips in by_codec_and_clip(points).items()
        if name == CODEC or name.partition("@")[0] == OPPONENT
    }
    own = curves.pop(CODEC, {})
    rows = []
    for clip, curve in own.items() if curves else ():
        others = [
            (value, name)
            for name, clips in curves.items()
            if clip in clips and (value := clips[clip].psnr_at(AT_KBPS)) is not None
        ]
        best, name = max(others, default=(None, None))
        rows.append(AtRate(clip, curve.psnr_at(AT_KBPS), name, best))
    return rows


def at_rate_table(rows: Sequence[AtRate]) -> str:
    """The rows as a table, and on how many clips ours is better."""
    lines = [
        [
            row.clip,
            number(row.psnr_db, 2),
            number(row.opponent_psnr_db, 2),
            row.opponent or "-",
            "yes" if row.better else "no",
        ]
        for row in rows
    ]
    header = ["clip", f"{CODEC}, dB", f"{OPPONENT} at its best scale, dB", "which", "better"]
    count = sum(row.better for row in rows)
    return f"{table(header, lines)}\n`{CODEC}` is better on {count} of {len(rows)} clips.\n"
