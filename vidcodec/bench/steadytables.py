"""The tables of `bench steady`, one for each part."""

from collections.abc import Callable
from typing import Any

from vidcodec.bench.tables import number, table

Row = dict[str, Any]


def _endless(rows: list[Row]) -> str:
    header = ["endless", "quality", "frames", "early dB", "late dB", "change", "same pictures", "kbit/s"]
    cells = [
        [
            row["clip"],
            str(row["quality"]),
            str(row["frames"]),
            number(row["early_db"], 2),
            number(row["late_db"], 2),
            f"{row['change_db']:+.2f}",
            "-" if row["same_pictures_db"] is None else f"{row['same_pictures_db']:+.2f}",
            number(row["kbps"]),
        ]
        for row in rows
    ]
    return table(header, cells)


def _still(rows: list[Row]) -> str:
    header = [
        "still, 20 kbit/s",
        "clean dB at 10",
        "at 100",
        "gain",
        "noisy dB at 10",
        "at 100",
        "no news, bytes",
        "kbit/s",
    ]
    cells = [
        [
            row["clip"],
            *(number(value, 2) for value in row["clean_db"]),
            f"{row['gain_db']:+.2f}",
            *(number(value, 2) for value in row["noisy_db"]),
            f"{row['idle_bytes']:g}, most {row['idle_most_bytes']}, q {row['quality']}",
            number(row["kbps"]),
        ]
        for row in rows
    ]
    return table(header, cells)


def _rate(rows: list[Row]) -> str:
    header = ["rate", "kbit/s", "mean", "settled, from", "worst second", "within 10 %"]
    header += ["first second", "at quality 0", "dB", "quality step"]
    cells = [
        [
            row["clip"],
            f"{row['target_kbps']:g}",
            number(row["kbps"]),
            f"{row['settled_kbps']:.1f}, {row['after_s']:g} s",
            f"{100 * row['worst']:+.0f} %",
            f"{100 * row['within']:.0f} %",
            number(row["first_kbps"]),
            f"{100 * row['lowest']:.0f} %",
            number(row["psnr_db"], 2),
            number(row["quality_step"], 2),
        ]
        for row in rows
    ]
    return table(header, cells)


def _precision(rows: list[Row]) -> str:
    header = [
        "precision",
        "quality",
        "from, to",
        "mean dB",
        "last second",
        "worst",
        "levels",
        "equal symbols",
        "repaired",
    ]
    cells = [
        [
            row["clip"],
            str(row["quality"]),
            f"{row['encoder']}, {row['decoder']}",
            f"{row['mean_db']:+.3f}",
            f"{row['end_db']:+.3f}",
            number(row["worst_db"], 3),
            str(row["levels"]),
            str(row["symbols_equal"]),
            f"{'yes' if row['repaired'] else 'no'}, {row['repaired_db']:+.3f} dB",
        ]
        for row in rows
    ]
    return table(header, cells)


def _low(rows: list[Row]) -> str:
    header = ["low", "common from kbit/s", "PSNR to 20 kbit/s", "better at", "kbit/s at MSE 3.1e-4", "x264", "earlier"]
    cells = [
        [
            row["clip"],
            number(row["from_kbps"]),
            "-" if row["gain_db"] is None else f"{row['gain_db']:+.2f} dB",
            "-" if row["better_share"] is None else f"{100 * row['better_share']:.0f} %",
            ("<= " if row["mark_bound"] else "") + number(row["mark_kbps"]),
            ("<= " if row["peer_mark_bound"] else "") + number(row["peer_mark_kbps"]),
            "yes" if row["earlier"] else "no",
        ]
        for row in rows
    ]
    return table(header, cells)


def _drift(rows: list[Row]) -> str:
    header = ["drift", "quality", "from, to", "frames", "mean dB", "worst second", "anew", "first at, s", "its bytes"]
    cells = [
        [
            row["clip"],
            str(row["quality"]),
            f"{row['encoder']}, {row['decoder']}",
            str(row["frames"]),
            f"{row['mean_db']:+.3f}",
            f"{row['worst_db']:+.2f}",
            str(row["fresh"]),
            number(row["first_s"]),
            f"{100 * row['fresh_share']:.1f} %",
        ]
        for row in rows
    ]
    return table(header, cells)


WRITERS: dict[str, Callable[[list[Row]], str]] = {
    "endless": _endless,
    "still": _still,
    "rate": _rate,
    "precision": _precision,
    "drift": _drift,
    "low": _low,
}
