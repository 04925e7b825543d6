"""Figures for the page: safe to write as JSON, and their recent past for the charts of a page that is opened late."""

import json
import math
from collections import deque
from collections.abc import Mapping
from typing import Any

STAGES = ("capture", "crop", "encode", "network", "decode", "display", "total")
SERIES = (
    "time_s",
    "payload_kbps",
    "wire_kbps",
    "baseline.kbps",
    "psnr_db",
    "baseline.psnr_db",
    "mse",
    "baseline.mse",
    "quality",
    "loss_percent",
    *(f"latency_ms.{stage}.p50" for stage in STAGES),
    "latency_ms.total.p95",
)
"""Columns of the charts' data: paths into the figures."""

MAX_ROWS = 600
MAX_DEPTH = 6


def plain(value: Any, depth: int = 0) -> Any:
    """A value that JSON can carry: numbers rounded to six digits, NaN and infinities as null, the rest as text."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if depth < MAX_DEPTH:
        if isinstance(value, Mapping):
            return {str(key): plain(entry, depth + 1) for key, entry in value.items()}
        if isinstance(value, list | tuple):
            return [plain(entry, depth + 1) for entry in value]
    try:
        number = float(value)
    except (TypeError, ValueError):
        return str(value)
    return float(f"{number:.6g}") if math.isfinite(number) else None


def look_up(figures: Mapping[str, Any], path: str) -> float | None:
    """The number at a dotted path, None where there is none."""
    value: Any = figures
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


class Samples:
    """The last `MAX_ROWS` figures as rows of `SERIES`. One thread at a time."""

    def __init__(self) -> None:
        self._rows: deque[list[float | None]] = deque(maxlen=MAX_ROWS)

    def add(self, figures: Mapping[str, Any]) -> str:
        """Remember plain figures; returns the message for the page."""
        row = [look_up(figures, path) for path in SERIES]
        self._rows.append(row)
        return to_json("figures", figures=figures, row=row)

    @property
    def rows(self) -> list[list[float | None]]:
        """All rows, oldest first."""
        return list(self._rows)


def to_json(kind: str, **fields: Any) -> str:
    """A text message for the page."""
    return json.dumps({"type": kind, **fields}, separators=(",", ":"), allow_nan=False)
