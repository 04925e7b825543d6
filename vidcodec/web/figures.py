"""The figures of a running call as one object, under the names of the report: for the page and for Prometheus."""

from collections import deque
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from vidcodec.calllog import CallLog, Live
from vidcodec.report import Latency

LOSS_S = 4.0
STILL_S = 3.0
"""When nothing was shown for this long, the figures of the last frames are those of now no more. A sender hears once a
second what was shown."""


class LossMeter:
    """Share of frames lost in the last `LOSS_S`. Pure: time comes in as an argument."""

    def __init__(self) -> None:
        self._counts: deque[tuple[float, int, int]] = deque()

    def percent(self, time_s: float, shown: int, lost: int) -> float:
        """Take the counts of frames shown and of those lost; returns 0..100."""
        if not shown:
            return 0.0  # a receiver that begins within a call lacks what came before
        self._counts.append((time_s, shown, lost))
        while time_s - self._counts[0][0] > LOSS_S:
            self._counts.popleft()
        _, shown_before, lost_before = self._counts[0]
        newly_lost, newly_shown = max(0, lost - lost_before), shown - shown_before
        return 100.0 * newly_lost / (newly_lost + newly_shown) if newly_lost else 0.0


class CallFigures:
    """Figures of one call.

    Args:
        began_s: when it began, on the clock that `now` is given.
    """

    def __init__(self, began_s: float) -> None:
        self._began_s = began_s
        self._loss = LossMeter()
        self._shown = 0
        self._shown_s = began_s

    def now(self, time_s: float, log: CallLog, model: str, baseline: str, link: Mapping[str, Any]) -> dict[str, Any]:
        """The figures at `time_s`.

        Args:
            time_s: now.
            log: what both ends noted.
            model: our codec's name.
            baseline: what runs beside it.
            link: counters by W3C webrtc-stats names.
        """
        live, latency, still = log.live(), log.recent_latency(), False
        if live.frames_shown != self._shown:
            self._shown, self._shown_s = live.frames_shown, time_s
        elif time_s - self._shown_s > STILL_S:
            kept = ("frames_captured", "frames_sent", "frames_shown", "frames_lost", "elapsed_s")
            still = True
            live, latency = Live(**{name: getattr(live, name) for name in kept}), Latency()
        counts = {name: value for name, value in asdict(live).items() if not name.startswith("baseline_")}
        if live.latency_p50_ms is None and not still:
            counts |= dict.fromkeys(("fps", "payload_kbps", "wire_kbps"))  # not known yet, which is not zero
        # What the sender counts comes once a second: until it does, what was shown was captured and sent.
        for name in ("frames_captured", "frames_sent"):
            counts[name] = max(counts[name], live.frames_shown)
        return {
            **counts,
            "time_s": time_s - self._began_s,
            "mse": _mse(live.psnr_db),
            "loss_percent": self._loss.percent(time_s, live.frames_shown, live.frames_lost),
            "baseline": {
                "name": baseline,
                "kbps": live.baseline_kbps,
                "psnr_db": live.baseline_psnr_db,
                "mse": _mse(live.baseline_psnr_db),
            },
            "latency_ms": asdict(latency),
            "codec": {"model_id": model},
            "link": dict(link),
        }


def _mse(psnr_db: float | None) -> float | None:
    return None if psnr_db is None else 10 ** (-psnr_db / 10)
