"""Statistics between the two ends: they arrive as they were, and a hostile peer's are refused whole."""

from typing import Any

import pytest

from vidcodec.calllog import CallLog, SenderTotals
from vidcodec.exchange import receiver_stats, sender_stats, take_receiver_stats, take_sender_stats
from vidcodec.records import SentFrame, ShownFrame
from vidcodec.report import CodecFigures

TOTALS = SenderTotals(3, 2, 300, 500, 10**9, "vp8", 2)
SENT = [SentFrame(n, 10**9, 2 * 10**9, 3 * 10**9, 4 * 10**9, 150, 1) for n in range(2)]
SHOWN = [ShownFrame(n, 5 * 10**9, 6 * 10**9, 7 * 10**9) for n in range(2)]


def new_log() -> CallLog:
    return CallLog(CodecFigures("seed"))


def test_statistics_of_both_ends_arrive_as_they_were_sent() -> None:
    log = new_log()
    take_sender_stats(log, sender_stats(TOTALS, SENT))
    take_receiver_stats(log, receiver_stats(2, SHOWN))
    report = log.report()
    assert log.totals == TOTALS
    assert (report.frames_shown, report.frames_lost, report.latency_ms.total.p50) == (2, 0, 6000.0)
    assert (report.baseline.codec, report.baseline.scale) == ("vp8", 2)


@pytest.mark.parametrize(
    "change",
    [
        {"sent": -1},
        {"sent": 1.5},
        {"sent": True},
        {"sent": "2"},
        {"captured": None},
        {"elapsed_ns": 1 << 60},
        {"scale": []},
        {"baseline": 5},
        {"baseline": "x" * 100},
        {"baseline": "\x1b[2J"},
        {"frames": 3},
        {"frames": "!!"},
    ],
)
def test_bad_field_of_the_sender_is_refused_and_changes_nothing(change: dict[str, Any]) -> None:
    log = new_log()
    with pytest.raises(ValueError, match=r"statistics|record"):
        take_sender_stats(log, {**sender_stats(TOTALS, SENT), **change})
    assert log.report() == new_log().report()


@pytest.mark.parametrize(
    "payload", [{}, {"decoded": 1}, {"decoded": -1, "frames": ""}, {"decoded": 1, "frames": "AAAA"}]
)
def test_bad_statistics_of_the_receiver_are_refused_and_change_nothing(payload: dict[str, Any]) -> None:
    log = new_log()
    with pytest.raises(ValueError, match=r"statistics|record"):
        take_receiver_stats(log, payload)
    assert log.report() == new_log().report()
