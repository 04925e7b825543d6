"""From what both ends noted of each frame to the figures of one call. No clock, no socket."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any

from vidcodec.report import Percentiles

VALUES_PER_FRAME = 192 * 192 * 3
SETTLED_MS = 150.0
SETTLED_SHARE = 0.8


@dataclass(frozen=True, slots=True)
class ShownFrame:
    """A frame that was shown; times in ms on the one clock that both processes share.

    Attributes:
        captured_ms: it came from the source.
        sent_ms: it was coded and handed to the link; None where nobody can tell.
        received_ms: the other process held its bytes; None where nobody can tell.
        shown_ms: its picture was ready to be looked at.
        squared_error: sum over `[192, 192, 3]`, None where it was not measured.
        values: how many values that sum is over.
    """

    captured_ms: float
    shown_ms: float
    sent_ms: float | None = None
    received_ms: float | None = None
    squared_error: int | None = None
    values: int = VALUES_PER_FRAME


@dataclass(frozen=True)
class Course:
    """How a call went.

    Attributes:
        began_ms: when the path was there; a network's times count from here.
        seconds: from the first frame to the last.
        captured: frames that the source gave.
        sent: frames that went out; None where nobody can tell.
        shown: the frames that were shown, in that order.
        wire: (time in ms, bytes sent so far with every header down to IPv4), as sampled.
        events: further times of events on the same clock.
        threads_left: names of threads that the receiver still had after its end.
    """

    began_ms: float
    seconds: float
    captured: int
    sent: int | None
    shown: tuple[ShownFrame, ...]
    wire: tuple[tuple[float, int], ...] = ()
    events: dict[str, float] = field(default_factory=dict)
    threads_left: tuple[str, ...] = ()


def figures(course: Course) -> dict[str, Any]:
    """What a table says of a call; null for what cannot be told."""
    shown = course.shown
    gaps = [b.shown_ms - a.shown_ms for a, b in pairwise(shown)]
    network = [
        frame.received_ms - frame.sent_ms
        for frame in shown
        if frame.received_ms is not None and frame.sent_ms is not None
    ]
    errors = [frame for frame in shown if frame.squared_error is not None]
    values = sum(frame.values for frame in errors)
    tenth = max(1, len(network) // 10)
    steady = network[tenth:]
    growth = sum(steady[-tenth:]) / tenth - sum(steady[:tenth]) / tenth if len(steady) >= tenth else None
    return {
        "seconds": round(course.seconds, 1),
        "captured": course.captured,
        "sent": course.sent,
        "shown": len(shown),
        "fps": round(len(shown) / course.seconds, 1) if course.seconds > 0 else None,
        "shown_percent": round(100 * len(shown) / course.captured, 1) if course.captured else None,
        "freezes": freezes(gaps),
        "longest_gap_ms": round(max(gaps), 0) if gaps else None,
        "total_ms": asdict(Percentiles.of([frame.shown_ms - frame.captured_ms for frame in shown])),
        "network_ms": asdict(Percentiles.of(network)),
        "growth_ms": None if growth is None else round(growth, 1),
        "wire_kbps": _rate(course.wire, course.wire[0][0], course.wire[-1][0]) if len(course.wire) > 1 else None,
        "mse": sum(frame.squared_error or 0 for frame in errors) / values / 255**2 if values else None,
    }


def freezes(gaps_ms: Sequence[float]) -> int:
    """W3C webrtc-stats, freezeCount: gaps of at least max(3 x mean, mean + 150 ms)."""
    if not gaps_ms:
        return 0
    mean = sum(gaps_ms) / len(gaps_ms)
    return sum(gap >= max(3 * mean, mean + 150) for gap in gaps_ms)


def step_figures(course: Course, steps_s: Sequence[float], rates_kbps: Sequence[float]) -> dict[str, Any]:
    """A path whose rate falls at the first of `steps_s` and rises at the second.

    Settled after the fall: from when on, for a second, 95 % of the frames take at most 150 ms. After the rise: from
    when on, for a second, 0.8 of the path are used. Use: what was sent of what the path carried, the two seconds after
    each change left out.
    """
    fall_ms, rise_ms = (course.began_ms + 1000 * at for at in steps_s)
    delays = [
        (frame.sent_ms, frame.received_ms - frame.sent_ms)
        for frame in course.shown
        if frame.sent_ms is not None and frame.received_ms is not None and fall_ms <= frame.sent_ms < rise_ms
    ]
    down = None
    for at, _ in delays:
        rest = [delay for later, delay in delays if at <= later < at + 1000]
        if sum(delay > SETTLED_MS for delay in rest) <= 0.05 * len(rest):
            down = at - fall_ms
            break
    wanted = SETTLED_SHARE * rates_kbps[2]
    times = [at for at, _ in course.wire if rise_ms <= at <= course.wire[-1][0] - 1000]
    up = next((at - rise_ms for at in times if (_rate(course.wire, at, at + 1000) or 0) >= wanted), None)
    spans = zip((course.began_ms, fall_ms, rise_ms), (fall_ms, rise_ms, course.wire[-1][0]), rates_kbps, strict=True)
    use = [round(100 * (_rate(course.wire, start + 2000, end) or 0) / rate) for start, end, rate in spans]
    return {
        "settles_down_s": None if down is None else round(down / 1000, 1),
        "settles_up_s": None if up is None else round(up / 1000, 1),
        "use_percent": use,
    }


def back_after_s(course: Course, since_ms: float) -> float | None:
    """How long after a time the next frame was shown, None for never."""
    place = bisect_left([frame.shown_ms for frame in course.shown], since_ms)
    return round((course.shown[place].shown_ms - since_ms) / 1000, 2) if place < len(course.shown) else None


def _rate(wire: Sequence[tuple[float, int]], start_ms: float, end_ms: float) -> float | None:
    """kbit/s between two times, from the samples next to them."""
    inside = [(at, count) for at, count in wire if start_ms <= at <= end_ms]
    if len(inside) < 2 or inside[-1][0] <= inside[0][0]:
        return None
    return round((inside[-1][1] - inside[0][1]) * 8 / (inside[-1][0] - inside[0][0]), 1)
