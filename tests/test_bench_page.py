"""`bench page`: viewers that do what they say on a real page, and figures from calls that are known."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vidcodec.bench import main
from vidcodec.bench.page import SETTLE_S, Memory, child_of, markdown, rows_of
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


def call(p95_ms: float, drawn: int | None, growth_mib: float | None = 1.0) -> dict[str, Any]:
    return {
        "frames_captured": 100,
        "frames_shown": 99,
        "frames_drawn": drawn,
        "total_ms": {"p50": p95_ms - 10, "p95": p95_ms, "p99": None},
        "memory_growth_mib": growth_mib,
    }


def test_figures_are_medians_over_rounds_and_the_rise_is_against_no_page() -> None:
    rows = rows_of({"none": [call(40, None), call(90, None), call(42, None)], "browser": [call(45, 9), call(47, 8)]})
    plain, browser = rows
    assert (plain["total_ms"]["p95"], plain["p95_rise_ms"], plain["frames_drawn"]) == (42, None, None)
    assert (browser["total_ms"]["p95"], browser["p95_rise_ms"], browser["frames_drawn"]) == (46, 4, 17)
    assert browser["p95_of_rounds_ms"] == [45, 47]
    result = {"duration_s": 10.0, "model": "s", "input": "sample", "cores": 2, "load": 0.5, "rounds": 3, "rows": rows}
    text = markdown({**result, "notes": ["not all"]})
    assert "| no page | 297 of 300 | - | 32.0 / 42.0 / - | 40, 90, 42 | - | +1.0 |" in text
    assert "| +4.0 | +1.0 |" in text and "* not all" in text


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_of_a_child_is_seen_to_grow() -> None:
    program = "import time\nkept = []\nfor _ in range(500): kept.append(bytearray(1 << 20)); time.sleep(0.02)"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {program!r}])"
    with subprocess.Popen([sys.executable, "-c", code]) as parent:
        end_s = time.monotonic() + 30
        while child_of(parent.pid) is None and time.monotonic() < end_s:
            time.sleep(0.02)
        memory = Memory(parent.pid)
        memory.start()
        time.sleep(SETTLE_S + 4.5)
        memory.stop()
        parent.wait()
    assert memory.growth_mib is not None and memory.growth_mib > 10
    assert Memory(parent.pid).growth_mib is None


def test_command_measures_calls_and_writes_them_down(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["page", "--viewers", "none", "stuck", "--rounds", "1", "--duration", "3", "--fps", "10"]
    assert main([*words, "--model", "seed", "--out", str(tmp_path)]) == 0
    assert "| one viewer that reads nothing |" in capsys.readouterr().out
    result = json.loads((tmp_path / "page.json").read_text())
    assert [row["viewer"] for row in result["rows"]] == ["none", "stuck"]
    assert all(row["frames_shown"] > 0 and row["total_ms"]["p95"] > 0 for row in result["rows"])


def test_bad_options_end_with_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["page", "--rounds", "0"]) == 2
    assert "--rounds 0" in capsys.readouterr().err
    assert Nobody().drawn is None
