"""A whole call to a browser: the sender's command, WebRTC from Chromium to aiortc, the decoder in a worker."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from call_commands import Command, read_report
from watch_files import runtime
from web_browser import START_MS, START_S, chromium, eventually, within

from vidcodec.watch.export import copy_runtime, export_model

NUMBER = "() => Number(document.querySelector('#picture').dataset.number ?? -1)"
PIXELS = """() => {
    const canvas = document.querySelector("#picture");
    return [...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data].join();
}"""
WAIT_S = 90.0


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("onnxscript", reason="no onnxscript here: pip install -e '.[watch]'")
    folder = tmp_path_factory.mktemp("watch")
    copy_runtime(runtime(), folder / "runtime")
    export_model(folder)
    return folder


@pytest.fixture
def call(files: Path, tmp_path: Path) -> Iterator[tuple[Command, str]]:
    words = ("--input", "sample", "--loop", "--model", "s", "--fps", "10", "--quality", "12", "--baseline", "none")
    report = ("--report", str(tmp_path / "report.json"))
    watch = ("--watch", "127.0.0.1:0", "--watch-files", str(files))
    with within(2 * START_S, "a call to a browser"), Command("sender", *watch, *words, *report) as command:
        yield command, command.wait_for("watch the call at").split()[-1]


def test_frames_reach_a_browser_change_and_are_reported(call: tuple[Command, str], tmp_path: Path) -> None:
    command, url = call
    with chromium() as browser:
        page = browser.new_page()
        faults: list[str] = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto(url, timeout=START_MS)
        assert "token" not in eventually_text(page, "#status", "live") and "#" not in page.url
        eventually(lambda: page.evaluate(NUMBER) >= 3, page, WAIT_S)
        first, number = page.evaluate(PIXELS), page.evaluate(NUMBER)
        eventually(lambda: page.evaluate(NUMBER) > number + 2, page, WAIT_S)
        assert page.evaluate(PIXELS) != first
        assert "WebAssembly" in eventually_text(page, "#where", "WebAssembly")
        eventually_text(page, "#decode", "ms, p95\u00a0")
        # The same page again, after a reload that needs no token in the address: the call goes on.
        page.reload()
        eventually(lambda: page.evaluate(NUMBER) > number, page, WAIT_S)
        page.wait_for_timeout(1500)  # figures go to the sender once a second
        command.send_signal(signal.SIGINT)
        eventually_text(page, "#status", "the call is over")
        assert faults == []
    assert command.wait() == 0
    report = read_report(tmp_path / "report.json")
    assert report["frames_shown"] >= 3 and report["psnr_db"] > 20.0
    assert report["latency_ms"]["total"]["p50"] > 0.0


def test_wrong_token_is_refused_and_the_right_one_then_lets_in(call: tuple[Command, str]) -> None:
    _, url = call
    address, _, token = url.partition("#token=")
    with chromium() as browser:
        page = browser.new_page()
        page.goto(f"{address}#token={token}x", timeout=START_MS)
        eventually_text(page, "#login-error", "This token was refused.")
        assert page.evaluate(NUMBER) == -1
        page.fill("#token", url)
        page.click("button")
        eventually(lambda: page.evaluate(NUMBER) >= 1, page, WAIT_S)


def test_address_pasted_over_the_page_of_a_wrong_token_lets_in(call: tuple[Command, str]) -> None:
    _, url = call
    with chromium() as browser:
        page = browser.new_page()
        page.goto(url + "x", timeout=START_MS)
        eventually_text(page, "#login-error", "This token was refused.")
        assert page.evaluate("document.activeElement.id") == "token"
        page.evaluate("url => { location.href = url; }", url)
        # A rate of the first seconds is one of so many seconds, not of the five that a window has later.
        eventually(lambda: rate(page) > 1.3 * page.evaluate("framesOfCall().frames.length") / 5, page, WAIT_S)
        assert "#" not in page.url


def rate(page: Any) -> float:
    """Frames a second, as the page says."""
    text = page.text_content("#fps") or ""
    return float(text.split()[0]) if "of" in text else 0.0


def test_frames_of_the_call_before_are_not_told_to_the_next_sender(files: Path) -> None:
    env = {"VIDCODEC_TOKEN": "only-for-this-test-of-two-calls"}
    words = ("--watch-files", str(files), "--input", "sample", "--loop", "--fps", "10", "--quality", "12")
    with within(3 * START_S, "two calls to a browser"), chromium() as browser:
        page = browser.new_page()
        page.add_init_script("""
            window.said = [];
            const { send } = RTCDataChannel.prototype;
            RTCDataChannel.prototype.send = function (data) {
                if (typeof data === "string") said.push(JSON.parse(data));
                send.call(this, data);
            };
        """)
        with Command("sender", "--watch", "127.0.0.1:0", *words, env=env) as first:
            url = first.wait_for("watch the call at").split()[-1]
            page.goto(url, timeout=START_MS)
            eventually(lambda: page.evaluate("framesOfCall().frames.length") >= 15, page, WAIT_S)
            first.send_signal(signal.SIGKILL)
            first.wait()
        page.evaluate("said.length = 0")
        with Command("sender", "--watch", url.split("/")[2], *words, env=env):
            eventually(lambda: page.evaluate("said.some(({ type }) => type === 'hello')"), page, WAIT_S)
            told = "said.slice(said.findIndex(({ type }) => type === 'hello')).filter(({ type }) => type === 'stats')"
            eventually(lambda: page.evaluate(f"{told}.length"), page, WAIT_S)
            assert page.evaluate(f"{told}[0].payload.decoded") < 15


def test_page_whose_decoder_cannot_be_loaded_says_so(call: tuple[Command, str]) -> None:
    _, url = call
    with chromium() as browser:
        page = browser.new_page()
        page.context.route("**/watch/decoding.js", lambda route: route.abort())
        page.goto(url, timeout=START_MS)
        assert eventually_text(page, "#status", "cannot") == "cannot decode"
        assert "cannot be loaded" in (page.text_content("#notice") or "")


def test_sender_whose_viewer_has_left_ends_in_order(call: tuple[Command, str]) -> None:
    command, url = call
    with chromium() as browser:
        page = browser.new_page()
        page.goto(url, timeout=START_MS)
        eventually(lambda: page.evaluate(NUMBER) >= 1, page, WAIT_S)
        page.close(run_before_unload=False)
        page = browser.new_page()
        eventually(lambda: any("trying again" in line for line in command.err), page, WAIT_S)
    command.send_signal(signal.SIGINT)
    assert command.wait() == 0
    assert not any(line.startswith("error") for line in command.err)


def eventually_text(page: Any, selector: str, part: str) -> str:
    """The text of an element once it holds `part`."""
    found = [""]

    def holds() -> bool:
        found[0] = page.text_content(selector) or ""
        return part in found[0]

    eventually(holds, page, WAIT_S)
    return found[0]
