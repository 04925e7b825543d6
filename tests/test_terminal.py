"""What a call prints: every figure with its unit, nothing where nothing was measured, and few lines in a log."""

import io
import time

import pytest

from vidcodec.calllog import Live
from vidcodec.report import BaselineFigures, CodecFigures, Latency, Percentiles, QualityRange, Report
from vidcodec.terminal import LINE_EVERY_S, LiveFigures, print_report

LIVE = Live(30.0, 200.0, 223.14, 31.456, 220.0, 30.2, 23.4, 4.0, 301, 300, 299, 1, 10.0)


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_final_table_has_the_figures_of_the_report() -> None:
    out = io.StringIO()
    latency = Latency(total=Percentiles(23.4, 31.5, 40.25))
    baseline = BaselineFigures("vp8", 2, 40.5, 9.9e-4, 30.04)
    report = Report(
        CodecFigures("seed"), 301, 300, 299, 1, 10.03, 29.8, 38.1, 41.2, 7.1e-4, 31.49, 0.9712, baseline, latency
    )
    print_report(report, out)
    text = out.getvalue()
    for figure in ("41.2 kbit/s", "40.5 kbit/s", "7.100e-04", "31.49 dB", "30.04 dB", "0.9712", "40.2", "vp8 1/2"):
        assert figure in text, figure
    assert "301 frames captured, 300 sent, 299 shown, 1 lost in 10.0 s: 29.8 fps" in text
    assert max(map(len, text.splitlines())) <= 100


def test_reader_that_went_away_is_told_to_the_command() -> None:
    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        print_report(Report(CodecFigures("seed")), Closed())


def test_table_without_a_baseline_has_no_column_for_it() -> None:
    out = io.StringIO()
    print_report(Report(CodecFigures("seed"), quality=QualityRange(4, 4.0, 4)), out)
    assert "baseline" not in out.getvalue()
    assert "quality 4.0" in out.getvalue()


def test_log_gets_a_line_now_and_then_and_a_terminal_a_table() -> None:
    out = io.StringIO()
    with LiveFigures("seed", stream=out) as figures:
        figures.update(LIVE, "vp8 1/2")
        assert out.getvalue() == ""
        figures._last_s = time.monotonic() - LINE_EVERY_S
        figures.update(LIVE, "vp8 1/2")
        figures.update(LIVE, "vp8 1/2")
    assert out.getvalue().count("\n") == 1
    assert "223.1 kbit/s  31.46 dB" in out.getvalue()
    assert "299 shown, 1 lost" in out.getvalue()
    terminal = Terminal()
    with LiveFigures("seed", stream=terminal) as figures:
        figures.update(LIVE, "vp8 1/2")
    assert "baseline (vp8 1/2)" in terminal.getvalue()


def test_quiet_figures_print_nothing() -> None:
    terminal = Terminal()
    with LiveFigures("seed", quiet=True, stream=terminal) as figures:
        figures.update(LIVE, "none")
    assert terminal.getvalue() == ""
