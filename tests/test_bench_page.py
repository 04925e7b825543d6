"""`bench page`: viewers that do what they say on a real page, and figures from calls that are known."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from vidcodec.bench import main
from vidcodec.bench.page import RunningCall, Turn, markdown, row
from vidcodec.bench.processes import Processes, child_of, members, resident_mib
from vidcodec.bench.viewers import Browser, Nobody, Reader, Stuck, find_browser, log_in
from vidcodec.errors import PeerError
from vidcodec.web import WebView
from vidcodec.web.page import WINDOW


@pytest.fixture
def view() -> Iterator[WebView]:
    opened = WebView("127.0.0.1:0", title="test", panels=("ours",), on_control=lambda change: None)
    yield opened
    opened.close()


def show_until(view: WebView, condition: Callable[[], bool], within_s: float) -> int:
    """Show frames at some 50 a second; returns how many."""
    picture = np.random.default_rng(0).integers(0, 256, (192, 192, 3), np.uint8)
    end_s = time.monotonic() + within_s
    number = 0
    while not condition() and time.monotonic() < end_s:
        view.show((picture,), number)
        number += 1
        time.sleep(0.02)
    return number


def sent_to(view: WebView) -> int:
    return sum(page.frames_sent for page in view._server.pages)


def test_reader_takes_what_is_shown(view: WebView) -> None:
    with Reader() as reader:
        reader.look(view.url)
        show_until(view, lambda: (reader.drawn or 0) >= 20, 30)
        assert (reader.drawn or 0) >= 20


def test_stuck_viewer_is_sent_a_window_and_no_more(view: WebView) -> None:
    with Stuck() as stuck:
        stuck.look(view.url)
        assert show_until(view, lambda: False, 2.0) > 20
        assert 0 < sent_to(view) <= WINDOW
        assert stuck.drawn is None


def test_viewer_without_the_token_is_refused(view: WebView) -> None:
    with pytest.raises(PeerError, match="token"):
        log_in(view.url.partition("#")[0] + "#token=wrong")


@pytest.mark.skipif(find_browser() is None, reason="no Chromium here")
def test_browser_draws_what_is_shown(view: WebView) -> None:
    with Browser() as browser:
        browser.look(view.url)
        show_until(view, lambda: (browser.drawn or 0) >= 5, 90)
        assert (browser.drawn or 0) >= 5


@pytest.mark.skipif(find_browser() is None, reason="no Chromium here")
def test_browser_that_left_draws_nothing_until_it_comes_back(view: WebView) -> None:
    with Browser() as browser:
        browser.look(view.url)
        show_until(view, lambda: (browser.drawn or 0) >= 3, 90)
        browser.leave()
        show_until(view, lambda: view.page_count == 0, 30)
        assert view.page_count == 0
        before = browser.drawn or 0
        browser.look(view.url)
        show_until(view, lambda: (browser.drawn or 0) >= before + 3, 90)
        assert (browser.drawn or 0) >= before + 3 > 3
        assert browser.session is not None and browser.session in members(browser.session)


def turn(p95_ms: float, cpu_ms: float = 100.0) -> Turn:
    cpu = {"receiver_cpu_ms": cpu_ms, "sender_cpu_ms": 300.0, "viewer_cpu_ms": 0.0}
    return {"p50_ms": p95_ms - 10, "p95_ms": p95_ms, **cpu, "memory_mib": 0.5}


def test_figures_are_medians_of_differences_and_the_bound_is_judged() -> None:
    # The machine gets slower by far more than the page costs: the pairs tell all the same.
    pairs = [(turn(40 + 20 * number), turn(42 + 20 * number + 0.1 * number, 120)) for number in range(8)]
    found = row("browser", pairs, 500)
    assert found["rise"]["p95_ms"]["middle"] == pytest.approx(2.35)
    assert (found["p95_within_bound"], found["rise"]["receiver_cpu_ms"]["middle"]) == (True, 20)
    late = row("reader", [(turn(40), turn(49))] * 8, None)
    assert late["p95_within_bound"] is False
    few = row("stuck", pairs[:3], None)
    assert few["p95_within_bound"] is None
    result = {"fps": 30.0, "model": "s", "input": "sample", "cores": 2, "load": 0.5, "turn_s": 7.0}
    text = markdown({**result, "rows": [found, late, few], "notes": ["not all"]})
    assert "| one browser on the same machine | 8 | 500 | 100.0 / 110.0 | 102.3 / 112.3 | +2.4 (+2.0 .. +2.7) |" in text
    assert "| yes |" in text and "| no |" in text and "| cannot be told |" in text and "* not all" in text


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_and_time_of_a_child_are_seen() -> None:
    program = "kept = bytearray(100 << 20); print(len(kept), flush=True)\nwhile True: pass"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {program!r}])"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True) as parent:
        try:
            assert parent.stdout is not None and parent.stdout.readline()
            child = child_of(parent.pid)
            assert child is not None and {parent.pid, child} <= set(members(parent.pid))
            assert resident_mib(child) > 100
            busy = Processes([child])
            end_s = time.monotonic() + 30
            while busy.spent_s() < 0.2 and time.monotonic() < end_s:
                time.sleep(0.05)
            assert busy.spent_s() >= 0.2
        finally:
            os.killpg(parent.pid, signal.SIGKILL)
    assert child_of(parent.pid) is None and resident_mib(parent.pid) == 0.0 and members(None) == []


def test_command_measures_turns_of_one_call_and_writes_them_down(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["page", "--viewers", "stuck", "--pairs", "1", "--model", "seed", "--out", str(tmp_path)]
    assert main(words) == 0
    assert "| one viewer that reads nothing | 1 |" in capsys.readouterr().out
    result = json.loads((tmp_path / "page.json").read_text())
    (found,) = result["rows"]
    assert found["with"]["p95_ms"] > 0 and found["without"]["p50_ms"] > 0
    assert found["p95_within_bound"] is None


def test_call_that_does_not_begin_is_named() -> None:
    with pytest.raises(PeerError, match="no such file"):
        RunningCall([sys.executable, "-m", "sender", "--loopback", "--input", "/nowhere.mp4"])


def test_bad_options_end_with_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["page", "--pairs", "0"]) == 2
    assert "--pairs" in capsys.readouterr().err
    assert Nobody().drawn is None
