"""Figures of a call for the page and for Prometheus."""

import re
import urllib.error
import urllib.request

import pytest

from vidcodec.calllog import CallLog, SenderTotals
from vidcodec.errors import UsageError
from vidcodec.records import SentFrame, ShownFrame
from vidcodec.report import CodecFigures
from vidcodec.web.figures import CallFigures, LossMeter
from vidcodec.web.metrics import MetricsServer, render

MS = 1_000_000
LINE = re.compile(r'vidcodec_[a-z_]+(\{[a-z]+="[a-z0-9.]+"(,[a-z]+="[a-z0-9.]+")*\})? -?[0-9.e+-]+')


def logged(frames: int) -> CallLog:
    """A call of 30 frames a second, 100 bytes each, 40 ms from picture to screen, MSE 1e-3."""
    log = CallLog(CodecFigures("seed"))
    error = round(1e-3 * 192 * 192 * 3 * 255**2)
    for number in range(frames):
        start = number * 33 * MS
        moments = [start, start + MS, start + 3 * MS, start + 13 * MS]
        log.add_sent([SentFrame(number, *moments, 100, 7, 0, squared_error=error, baseline_bytes=120)])
        log.add_shown([ShownFrame(number, start + 28 * MS, start + 38 * MS, start + 40 * MS)])
    log.set_totals(SenderTotals(frames, frames, 100 * frames, 190 * frames, frames * 33 * MS, "vp8", 2))
    log.set_decoded(frames)
    return log


def figures(frames: int = 90) -> dict[str, object]:
    return CallFigures(10.0).now(
        12.5, logged(frames), "seed", "vp8 1/2", {"framesReceived": 90, "currentRoundTripTime": 0.02}
    )


def test_figures_have_the_names_and_units_of_the_report() -> None:
    made = figures()
    assert made["time_s"] == 2.5 and made["quality"] == 7 and made["frames_shown"] == 90
    assert made["psnr_db"] == pytest.approx(30.0, abs=0.01) and made["mse"] == pytest.approx(1e-3, rel=1e-3)
    assert made["payload_kbps"] == pytest.approx(100 * 8 / 33, rel=0.02)
    assert made["latency_ms"]["total"]["p50"] == pytest.approx(40, abs=0.1)  # type: ignore[index]
    assert made["latency_ms"]["encode"]["p95"] == pytest.approx(10, abs=0.1)  # type: ignore[index]
    assert made["baseline"]["kbps"] == pytest.approx(120 * 8 / 33, rel=0.02)  # type: ignore[index]


def test_no_more_frames_are_shown_than_were_captured_and_sent_while_the_senders_count_is_on_its_way() -> None:
    log = logged(90)
    log.set_totals(SenderTotals(80, 80, 8000, 15200, 2640 * MS, "vp8", 2))
    made = CallFigures(10.0).now(12.5, log, "seed", "vp8", {})
    assert (made["frames_captured"], made["frames_sent"], made["frames_shown"]) == (90, 90, 90)


def test_share_of_frames_lost_is_that_of_the_last_seconds() -> None:
    meter = LossMeter()
    percents = [meter.percent(0.25 * step, 6 * step, 2 * max(0, min(step, 80) - 40)) for step in range(100)]
    assert percents[:41] == [0.0] * 41
    assert percents[57:81] == [25.0] * 24
    assert percents[97:] == [0.0] * 3


def test_receiver_that_begins_within_a_call_has_not_lost_what_came_before() -> None:
    meter = LossMeter()
    assert [meter.percent(0.25 * step, 4 * step, 500 if step else 0) for step in range(20)] == [0.0] * 20


def test_rates_that_are_not_known_yet_are_not_zero() -> None:
    figures = CallFigures(0.0).now(1.0, CallLog(CodecFigures("seed")), "seed", "vp8", {})
    assert figures["fps"] is figures["payload_kbps"] is figures["wire_kbps"] is None


def test_figures_of_a_call_that_stands_still_are_not_those_of_its_last_frames() -> None:
    log = logged(90)
    figures = CallFigures(0.0)
    moving = figures.now(3.0, log, "seed", "vp8", {})
    assert figures.now(5.9, log, "seed", "vp8", {})["fps"] == moving["fps"]
    still = figures.now(6.1, log, "seed", "vp8", {})
    assert still["fps"] == still["payload_kbps"] == still["wire_kbps"] == 0.0
    assert still["psnr_db"] is still["quality"] is still["baseline"]["kbps"] is None
    assert still["latency_ms"]["total"]["p50"] is None
    counts = ("frames_captured", "frames_sent", "frames_shown", "frames_lost")
    assert [still[name] for name in counts] == [moving[name] for name in counts]
    more = logged(100)
    assert figures.now(6.4, more, "seed", "vp8", {})["fps"] == pytest.approx(moving["fps"])


def test_every_line_is_one_that_prometheus_reads() -> None:
    lines = render(figures()).splitlines()
    samples = [line for line in lines if not line.startswith("#")]
    assert all(LINE.fullmatch(line) for line in samples), samples
    assert len(samples) == len({line.split(" ")[0] for line in samples})
    for name in {re.split(r"[{ ]", line)[0] for line in samples}:
        assert sum(line.startswith(f"# TYPE {name} ") for line in lines) == 1
    text = "\n".join(lines)
    assert "vidcodec_call_up 1" in text
    assert 'vidcodec_latency_seconds{stage="total",quantile="0.5"} 0.04\n' in text
    assert "vidcodec_link_frames_received 90" in text and "vidcodec_link_current_round_trip_time 0.02" in text


def test_what_is_not_known_is_left_out() -> None:
    text = render(CallFigures(0.0).now(1.0, CallLog(CodecFigures("seed")), "seed", "none", {"x y": 1, "label": "a"}))
    assert "psnr" not in text and "x y" not in text and "label" not in text and "nan" not in text.lower()
    assert render(None).splitlines()[-1] == "vidcodec_call_up 0"


def test_server_gives_the_newest_figures_and_nothing_else() -> None:
    server = MetricsServer("127.0.0.1:0")
    try:
        server.update(figures())
        with urllib.request.urlopen(server.url, timeout=2) as answer:
            assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
            assert b"vidcodec_frames_shown_total 90\n" in answer.read()
        server.update(None)
        with urllib.request.urlopen(server.url, timeout=2) as answer:
            assert b"vidcodec_call_up 0\n" in answer.read()
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(server.url.replace("/metrics", "/"), timeout=2)
        with pytest.raises(UsageError, match="--metrics"):
            MetricsServer(server.url.split("/")[2])
    finally:
        server.close()
        server.close()
