"""The figures of a running call as one object, under the names of the report: for the page and for Prometheus."""

from collections import deque
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from vidcodec.calllog import CallLog

SETTLED_S = 2.0
"""A frame on its way counts as lost until it is acknowledged; what still counts after this long is lost."""


class LossMeter:
    """Share of frames lost lately. Pure: time comes in as an argument."""

    def __init__(self) -> None:
        self._counts: deque[tuple[float, int, int]] = deque()

    def percent(self, time_s: float, sent: int, missing: int) -> float:
        """Take the counts of frames sent, and of those not known to have been decoded; returns 0..100."""
        self._counts.append((time_s, sent, missing))
        while time_s - self._counts[0][0] > 2 * SETTLED_S:
            self._counts.popleft()
        early = [count for count in self._counts if time_s - count[0] > SETTLED_S]
        late = [count for count in self._counts if time_s - count[0] <= SETTLED_S]
        if not early or late[0][1] <= early[0][1]:
            return 0.0
        lost = min(count[2] for count in late) - min(count[2] for count in early)
        return min(100.0, max(0.0, 100.0 * lost / (late[0][1] - early[0][1])))


class CallFigures:
    """Figures of one call.

    Args:
        began_s: when it began, on the clock that `now` is given.
    """

    def __init__(self, began_s: float) -> None:
        self._began_s = began_s
        self._loss = LossMeter()

    def now(self, time_s: float, log: CallLog, model: str, baseline: str, link: Mapping[str, Any]) -> dict[str, Any]:
        """The figures at `time_s`.

        Args:
            time_s: now.
            log: what both ends noted.
            model: our codec's name.
            baseline: what runs beside it.
            link: counters by W3C webrtc-stats names.
        """
        live = log.live()
        counts = {name: value for name, value in asdict(live).items() if not name.startswith("baseline_")}
        # What the sender counts comes once a second: until it does, what was shown was sent.
        counts["frames_sent"] = max(live.frames_sent, live.frames_shown)
        return {
            **counts,
            "time_s": time_s - self._began_s,
            "mse": _mse(live.psnr_db),
            "loss_percent": self._loss.percent(time_s, live.frames_sent, live.frames_lost),
            "baseline": {
                "name": baseline,
                "kbps": live.baseline_kbps,
                "psnr_db": live.baseline_psnr_db,
                "mse": _mse(live.baseline_psnr_db),
            },
            "latency_ms": asdict(log.recent_latency()),
            "codec": {"model_id": model},
            "link": dict(link),
        }


def _mse(psnr_db: float | None) -> float | None:
    return None if psnr_db is None else 10 ** (-psnr_db / 10)
