"""Markdown tables."""

from collections.abc import Sequence
from typing import Any

BITS = ("BD-rate", "least..most", "by luma", "by MS-SSIM")
"""Columns of what a codec takes of another's bits."""


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A markdown table; the first column is left-aligned, the others right."""
    lines = ["| " + " | ".join(header) + " |", "|" + "|".join([":--"] + ["--:"] * (len(header) - 1)) + "|"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows]) + "\n"


def number(value: float | None, digits: int = 1, unit: str = "") -> str:
    """A number, or a dash where there is none."""
    return "-" if value is None else f"{value:.{digits}f}{unit}"


def percent(value: float | None) -> str:
    """A signed percentage, or a dash; from four times on, how many times."""
    if value is None:
        return "-"
    return f"x {1 + value / 100:.0f}" if value >= 300 else f"{value:+.0f} %"


def bits_words(value: float) -> str:
    """`20 % fewer bits than`, `75 times the bits of`."""
    if value >= 300:
        return f"{1 + value / 100:.0f} times the bits of"
    return f"{abs(value):.0f} % {'more' if value > 0 else 'fewer'} bits than"


def spread(least: float | None, most: float | None) -> str:
    """Two percentages, or a dash."""
    return "-" if least is None or most is None else f"{percent(least)} .. {percent(most)}"


def mse_text(value: float | None) -> str:
    """`3.1e-4`, or a dash."""
    if value is None:
        return "-"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def rd_table(summaries: Sequence[dict[str, Any]], mse_marks: Sequence[float]) -> str:
    """One row a codec, best BD-rate first; codecs without a curve last."""
    header = ["codec", *BITS, "BD-PSNR dB", "clips", "overlap"]
    header += [f"kbit/s at MSE {mse_text(mark)}" for mark in mse_marks] + ["MSE", "encode CPU ms", "decode CPU ms"]
    ordered = sorted(summaries, key=lambda row: _order(row["bd_rate_percent"]))
    rows = [
        [
            row["codec"],
            *_bits(row),
            "-" if row["bd_psnr_db"] is None else f"{row['bd_psnr_db']:+.2f}",
            str(row["clips"]),
            f"{100 * row['overlap_share']:.0f} %" if row["clips"] else "-",
            *(number(value) for value in row["kbps_at_mse"]),
            mse_text(row["mse"]),
            number(row["encode_ms"], 2),
            number(row["decode_ms"], 2),
        ]
        for row in ordered
    ]
    return table(header, rows)


def against_table(summaries: Sequence[dict[str, Any]], anchors: Sequence[str]) -> str:
    """Bits of one codec against each of several: its summary with each as the anchor."""
    rows = [[name, *_bits(row), str(row["clips"])] for name, row in zip(anchors, summaries, strict=True)]
    return table(["against", *BITS, "clips"], rows)


def _bits(row: dict[str, Any]) -> list[str]:
    """The cells under `BITS`."""
    return [
        percent(row["bd_rate_percent"]),
        spread(row["bd_rate_least"], row["bd_rate_most"]),
        percent(row["bd_rate_luma_percent"]),
        percent(row["bd_rate_ms_ssim_percent"]),
    ]


def short_table(summaries: Sequence[dict[str, Any]], rate_marks_kbps: Sequence[float], mse_mark: float) -> str:
    """The README's table: one row a codec, best BD-rate first."""
    header = ["codec", "bits for the same PSNR", "least..most", f"kbit/s at MSE {mse_text(mse_mark)}"]
    # A rate that half of the codecs cannot go down to on every clip says little: only those that most reach.
    reached = [
        at
        for at in range(len(rate_marks_kbps))
        if 2 * sum(row["psnr_at_kbps"][at] is not None for row in summaries) > len(summaries)
    ]
    header += [f"PSNR at {rate_marks_kbps[at]:g} kbit/s" for at in reached] + ["CPU ms encode + decode"]
    rows = [
        [
            row["codec"],
            percent(row["bd_rate_percent"]),
            spread(row["bd_rate_least"], row["bd_rate_most"]),
            number(row["kbps_at_mse"][0], 0),
            *(number(row["psnr_at_kbps"][at]) for at in reached),
            f"{number(row['encode_ms'])} + {number(row['decode_ms'])}",
        ]
        for row in sorted(summaries, key=lambda row: _order(row["bd_rate_percent"]))
    ]
    return table(header, rows)


def clip_table(deltas: Sequence[dict[str, Any]], codecs: Sequence[str]) -> str:
    """BD-rate of every codec on every clip, with the PSNR overlap it is over."""
    found = {(row["clip"], row["codec"]): row for row in deltas}
    clips = list(dict.fromkeys(row["clip"] for row in deltas))
    rows = [[codec, *(_delta_cell(found.get((clip, codec))) for clip in clips)] for codec in codecs]
    return table(["codec", *clips], rows)


def _delta_cell(row: dict[str, Any] | None) -> str:
    if row is None or row["bd_rate_percent"] is None:
        return "-"
    low, high = row["overlap_db"]
    return f"{percent(row['bd_rate_percent'])} ({low:.0f} to {high:.0f} dB)"


def _order(value: float | None) -> float:
    return float("inf") if value is None else value
