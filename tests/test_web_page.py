"""The page in a real browser, showing frames of real codecs."""

import base64
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from web_browser import PIXELS, START_MS, START_S, WAIT_MS, Triple, eventually, keeping_pages, real_frames, within

from vidcodec.errors import UsageError
from vidcodec.web import Change, WebView, call_controls
from vidcodec.web.server import MAX_PAGES

pytestmark = pytest.mark.usefixtures("page_time_limit")

AT_ONCE_S = 3.0
"""A control acts within a tenth of a second on a quiet machine."""
OVERFLOWING = """() => [...document.querySelectorAll("body *")].filter(element =>
    element.getClientRects().length && element.getBoundingClientRect().right > innerWidth + 0.5
    && !element.closest(".u-wrap")).map(element => element.outerHTML.slice(0, 80))"""
UNNAMED = """() => [...document.querySelectorAll("button, input, select")].filter(element =>
    element.getClientRects().length && !(element.labels?.length || element.ariaLabel || element.textContent.trim())
    ).map(element => element.outerHTML)"""


class Feed:
    """A view that plays real frames at 15 a second, with their own figures, and keeps what it was told."""

    def __init__(self, frames: list[Triple]) -> None:
        self.frames = frames
        self.playing = threading.Lock()
        self.changes: list[Change] = []
        self.stopped = threading.Event()
        self.paused = False
        self.number = 0
        controls = call_controls(
            qualities=64,
            bitrate_kbps=(5, 200),
            baselines=("vp8", "h264", "none"),
            crop=True,
            pause=True,
            refresh=True,
            record=True,
            impair=True,
        )
        self.view = WebView(title="receiver", controls=controls, on_control=self.changed)
        self.view.settings({"bitrate": 40, "quality": None, "baseline_codec": "vp8", "crop": "face", "pause": False})
        self._thread = threading.Thread(target=self._play)
        self._thread.start()

    def changed(self, change: Change) -> None:
        self.changes.append(change)
        self.paused = change.value is True if change.name == "pause" else self.paused
        self.view.settings({change.name: change.value})

    def _play(self) -> None:
        start_s = time.monotonic()
        while not self.stopped.wait(1 / 15):
            with self.playing:
                if not self.paused:
                    self._play_one(time.monotonic() - start_s)

    def _play_one(self, time_s: float) -> None:
        original, ours, baseline = self.frames[self.number % len(self.frames)]
        self.view.show((original, ours, baseline), self.number)
        if self.number % 3 == 0:
            self.view.figures(figures(original, ours, baseline, time_s, self.number))
        self.number += 1

    def close(self) -> None:
        self.stopped.set()
        self._thread.join()
        self.view.close()


def figures(original: np.ndarray, ours: np.ndarray, baseline: np.ndarray, time_s: float, number: int) -> dict[str, Any]:
    def mse(shown: np.ndarray) -> float:
        return float(np.mean(np.square(original / 255.0 - shown / 255.0)))

    delays = {name: {"p50": 4.0 + number % 3, "p95": 9.0, "p99": 12.0} for name in ("encode", "decode", "total")}
    return {
        "time_s": time_s,
        "fps": 30.0,
        "wire_kbps": 60.0 + number % 7,
        "payload_kbps": 38.0,
        "mse": mse(ours),
        "psnr_db": -10 * np.log10(mse(ours)),
        "baseline": {"name": "vp8 1/2", "kbps": 61.0, "mse": mse(baseline), "psnr_db": -10 * np.log10(mse(baseline))},
        "latency_ms": delays,
        "quality": 3,
        "frames_shown": number,
        "loss_percent": 0.0,
        "link": {"framesReceived": number, "wireBytesReceived": 250 * number, "currentRoundTripTime": 0.012},
    }


@pytest.fixture(scope="module")
def frames() -> list[Triple]:
    return real_frames(24)


@pytest.fixture(scope="module")
def feed(frames: list[Triple]) -> Iterator[Feed]:
    made = Feed(frames)
    yield made
    made.close()


def is_complaint(said: Any) -> bool:
    return said.type in ("error", "warning") and "net::ERR_CONNECTION" not in said.text


@pytest.fixture(scope="module")
def page(browser: Any, feed: Feed) -> Iterator[Any]:
    """The page of `feed`, open and showing; whatever it complains about fails the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    opened = context.new_page()
    complaints: list[str] = []
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    # A connection that a test breaks is said by the browser itself, and is no fault of the page.
    opened.on("console", lambda said: complaints.append(said.text) if is_complaint(said) else None)
    opened.goto(feed.view.url)
    opened.wait_for_selector("#pictures[data-number]", timeout=WAIT_MS)
    yield opened
    with within(START_S, "closing a page"):
        context.close()
    assert complaints == []


def hold(page: Any, feed: Feed) -> Triple:
    """Stop at a frame, wait until the page shows it, return it; the next test goes on from there."""
    with feed.playing:
        feed.paused = True
    eventually(lambda: page.get_attribute("#pictures", "data-number") == str(feed.number - 1), page)
    return feed.frames[(feed.number - 1) % len(feed.frames)]


@pytest.fixture(autouse=True)
def playing(feed: Feed) -> None:
    """Every test begins with moving pictures and no changes made."""
    feed.paused = False
    feed.view.settings({"pause": False})
    feed.changes.clear()


def test_canvas_pixels_equal_the_frames_shown(page: Any, feed: Feed) -> None:
    shown = hold(page, feed)
    for name, expected in zip(("original", "ours", "baseline"), shown, strict=True):
        rgba = np.frombuffer(base64.b64decode(page.evaluate(PIXELS, name)), np.uint8).reshape(192, 192, 4)
        assert np.array_equal(rgba[:, :, :3], expected), name
        assert (rgba[:, :, 3] == 255).all()


def test_frames_figures_and_charts_move(page: Any, feed: Feed) -> None:
    first = int(page.get_attribute("#pictures", "data-number"))
    charts = page.locator(".chart .plot")
    said = charts.nth(0).get_attribute("aria-label")
    picture = charts.nth(0).locator("canvas").evaluate("canvas => canvas.toDataURL()")
    eventually(lambda: int(page.get_attribute("#pictures", "data-number")) > first + 20, page)
    eventually(lambda: charts.nth(0).get_attribute("aria-label") != said, page)
    assert charts.nth(0).locator("canvas").evaluate("canvas => canvas.toDataURL()") != picture
    assert charts.count() == 6
    assert "kbit/s" in page.locator("[data-panel=ours] figcaption").inner_text()
    assert page.get_by_role("row", name="framesReceived").is_visible()


def test_bitrate_by_keyboard_reaches_the_call_at_once(page: Any, feed: Feed) -> None:
    slider = page.get_by_role("slider", name="Bitrate")
    slider.focus()
    page.keyboard.press("ArrowRight")
    eventually(lambda: Change("bitrate", 41) in feed.changes, page, AT_ONCE_S)
    entry = page.get_by_role("spinbutton", name="Bitrate in kbit/s")
    eventually(lambda: entry.input_value() == "41", page)
    entry.fill("25")
    entry.press("Enter")
    eventually(lambda: Change("bitrate", 25) in feed.changes, page, AT_ONCE_S)


def test_pause_refresh_and_choices_act_and_show_where_they_stand(page: Any, feed: Feed) -> None:
    pause = page.get_by_role("button", name="Pause")
    pause.focus()
    page.keyboard.press("Space")
    eventually(lambda: pause.get_attribute("aria-pressed") == "true", page)
    assert page.get_by_role("status").inner_text() == "paused"
    page.get_by_role("button", name="Refresh").click()
    page.get_by_label("Baseline", exact=True).select_option("h264")
    page.get_by_label("Crop", exact=True).select_option("none")
    wanted = [("pause", True), ("refresh", None), ("baseline_codec", "h264"), ("crop", "none")]
    eventually(lambda: [(change.name, change.value) for change in feed.changes] == wanted, page)


def test_snapshot_holds_the_exact_pixels(page: Any, feed: Feed, tmp_path: Path) -> None:
    shown = hold(page, feed)
    with page.expect_download(timeout=WAIT_MS) as download:
        page.get_by_role("button", name="Snapshot").click()
    download.value.save_as(tmp_path / "snapshot.png")
    saved = cv2.cvtColor(cv2.imread(str(tmp_path / "snapshot.png")), cv2.COLOR_BGR2RGB)
    assert np.array_equal(saved, np.hstack(shown))


def test_token_leaves_the_address_and_a_reload_needs_none(page: Any, feed: Feed) -> None:
    assert feed.view.token not in page.url
    page.reload()
    page.wait_for_selector("#pictures[data-number]", timeout=WAIT_MS)
    assert feed.view.token not in page.content()


def test_wrong_token_is_refused_and_the_right_one_lets_in(browser: Any, feed: Feed) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(feed.view.url + "x")
    page.wait_for_selector("#login:not([hidden])", timeout=WAIT_MS)
    assert page.get_by_role("alert").first.inner_text() == "This token was refused."
    assert not page.locator("#call").is_visible()
    page.get_by_label("Address or token").fill(feed.view.url)
    page.keyboard.press("Enter")
    page.wait_for_selector("#pictures[data-number]", timeout=WAIT_MS)
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 768, 1280])
def test_page_fits_its_window(browser: Any, feed: Feed, width: int, scheme: str) -> None:
    context = browser.new_context(viewport={"width": width, "height": 740}, color_scheme=scheme)
    page = context.new_page()
    page.goto(feed.view.url)
    page.wait_for_selector("#pictures[data-number]", timeout=WAIT_MS)
    page.wait_for_selector("tbody tr", timeout=WAIT_MS)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate(OVERFLOWING) == []
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(json.loads(ground.replace("rgb(", "[").replace(")", "]"))) < 200) == (scheme == "dark")
    if width == 1280:
        sizes = page.evaluate("[...document.querySelectorAll('.picture canvas')].map(c => c.clientWidth)")
        assert sizes == [384, 384, 384]
    context.close()


def test_everything_can_be_reached_by_keyboard_and_has_a_name(page: Any) -> None:
    page.wait_for_selector("tbody tr", timeout=WAIT_MS)
    assert page.evaluate(UNNAMED) == []
    total = page.locator("button:visible, input:visible, select:visible").count()
    page.evaluate("document.activeElement.blur()")
    reached = set()
    for _ in range(total + 2):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("[...document.querySelectorAll('*')].indexOf(document.activeElement)"))
    assert len(reached) >= total
    headings = page.get_by_role("heading").all_inner_texts()
    assert headings[0].startswith("vidcodec") and "Numbers" in headings


def test_entry_that_is_left_shows_where_the_call_stands(page: Any, feed: Feed) -> None:
    feed.view.settings({"bitrate": 40})
    entry = page.get_by_role("spinbutton", name="Bitrate in kbit/s")
    eventually(lambda: entry.input_value() == "40", page)
    for typed in ("9999", ""):
        entry.fill(typed)
        page.get_by_role("spinbutton", name="Quality").focus()
        eventually(lambda: entry.input_value() == "40", page)
    entry.focus()
    feed.view.settings({"bitrate": 77})  # by another page
    eventually(lambda: entry.input_value() == "77", page)
    entry.press("5")
    feed.view.settings({"bitrate": 78})
    page.wait_for_timeout(300)
    assert "5" in entry.input_value()  # what is being typed is not taken away
    page.get_by_role("spinbutton", name="Quality").focus()
    assert not [change for change in feed.changes if change.value == 9999]


def test_slider_says_its_new_value_at_once(page: Any, feed: Feed) -> None:
    slider = page.get_by_role("slider", name="Bitrate")
    slider.focus()
    slider.evaluate("""slider => slider.addEventListener("input", () => {
        window.said = `${slider.value} kbit/s` === slider.getAttribute("aria-valuetext");
    })""")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("window.said") is True


def test_connection_that_breaks_takes_no_focus_away(page: Any, feed: Feed) -> None:
    eventually(page.get_by_role("button", name="Refresh").is_enabled, page)
    page.get_by_role("button", name="Refresh").focus()
    drop(feed)
    eventually(page.get_by_role("button", name="Refresh").is_disabled, page)
    eventually(page.get_by_role("button", name="Refresh").is_enabled, page)
    assert page.evaluate("document.activeElement.textContent") == "Refresh"


@pytest.mark.parametrize("width", [360, 1280])
def test_long_words_in_what_the_page_says_are_broken(browser: Any, width: int) -> None:
    reason = f"cannot write to /films/{'long' * 60}.mkv"

    def refuse(_: Change) -> None:
        raise UsageError(reason)

    with WebView(controls=call_controls(refresh=True), on_control=refuse) as view:
        view.figures({"time_s": 0.1})
        context = browser.new_context(viewport={"width": width, "height": 740})
        page = context.new_page()
        page.goto(view.url)
        page.get_by_role("button", name="Refresh").click(timeout=WAIT_MS)
        eventually(lambda: reason in page.locator("#refused").inner_text(), page)
        view.end(reason)
        eventually(lambda: page.get_by_role("status").inner_text() == reason, page)
        assert page.evaluate("document.documentElement.scrollWidth") == width
        context.close()


def test_page_too_many_says_so(browser: Any) -> None:
    with WebView() as view:
        context = browser.new_context()
        pages = [context.new_page() for _ in range(MAX_PAGES + 1)]
        for count, page in enumerate(pages, 1):
            page.goto(view.url)
            eventually(lambda count=count: view.page_count == min(count, MAX_PAGES), page)
        status = pages[-1].get_by_role("status")
        eventually(lambda: status.inner_text() == "too many pages are open, trying again", pages[-1])
        pages[0].close()
        eventually(lambda: status.inner_text() == "waiting for the call", pages[-1])
        context.close()


def test_address_with_half_a_token_asks_for_the_token(browser: Any, feed: Feed) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(feed.view.url.partition("#")[0] + "#token=%zz")
    eventually(page.get_by_label("Address or token").is_visible, page)
    assert "refused" in page.get_by_role("alert").first.inner_text()
    context.close()


def test_frame_of_one_call_is_not_painted_into_the_panels_of_the_next(page: Any) -> None:
    found = page.evaluate("""async () => {
        const { Pictures } = await import("/pictures.js");
        let drawn = 0;
        const section = document.createElement("section");
        const pictures = new Pictures(section, () => { drawn += 1; });
        pictures.setPanels(["ours"]);
        const frame = new DataView(new ArrayBuffer(12 + 3 * 4 * 4));
        frame.setUint32(0, 7, true);
        frame.setUint16(4, 4, true);
        frame.setUint16(6, 4, true);
        frame.setUint8(8, 1);
        pictures.push(frame.buffer);
        pictures.setPanels(["original", "ours", "baseline"]);
        await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
        return [drawn, pictures.number, pictures.panels.filter((panel) => panel.image).length];
    }""")
    assert found == [1, None, 0]  # it is acknowledged, so that the next one comes


def test_page_without_a_call_says_so_and_shows_no_black_wall(browser: Any) -> None:
    with WebView(title="receiver", panels=("ours",), controls=call_controls(refresh=True)) as view:
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        page = context.new_page()
        page.goto(view.url)
        eventually(lambda: page.get_by_role("status").inner_text() == "waiting for the call", page)
        assert page.get_by_role("button", name="Refresh").is_disabled()
        page.get_by_role("button", name="Snapshot").click(timeout=WAIT_MS)
        eventually(lambda: "no picture yet" in page.get_by_role("alert").inner_text(), page)
        assert not page.locator("canvas[role=img]").is_visible()
        box = page.locator("[data-panel=ours] .stage").bounding_box()
        assert box is not None and box["width"] == box["height"] == 576
        view.show((np.full((192, 192, 3), 99, np.uint8),), 0)
        view.figures({"time_s": 0.1})
        eventually(lambda: page.get_by_role("status").inner_text() == "live", page)
        assert page.get_by_role("button", name="Refresh").is_enabled()
        eventually(page.locator("canvas[role=img]").is_visible, page)
        context.close()


def drop(feed: Feed) -> None:
    """Break the connections of all pages."""
    for transport in list(feed.view._server._sockets.values()):
        assert transport is not None
        feed.view._loop.call(transport.abort)


def test_page_comes_back_after_the_connection_broke(page: Any, feed: Feed) -> None:
    drop(feed)
    eventually(lambda: page.get_by_role("status").inner_text() != "live", page)
    first = feed.number
    eventually(lambda: int(page.get_attribute("#pictures", "data-number")) > first, page)
    assert page.get_by_role("status").inner_text() == "live"


def test_page_that_is_left_is_sent_nothing_and_goes_on_when_the_reader_goes_back(browser: Any, feed: Feed) -> None:
    others = feed.view.page_count
    with keeping_pages(browser) as another:
        page = another.new_page()
        page.goto(feed.view.url, timeout=START_MS)
        page.wait_for_selector("#pictures[data-number]", timeout=START_MS)
        page.evaluate("window.kept = true")
        page.goto("about:blank", timeout=START_MS)
        eventually(lambda: feed.view.page_count == others, page)
        page.go_back(timeout=START_MS, wait_until="commit")  # a page that was kept is not loaded again
        eventually(lambda: feed.view.page_count == others + 1, page)
        assert page.evaluate("window.kept") is True  # the same page, not one that was loaded again
        before = int(page.get_attribute("#pictures", "data-number"))
        eventually(lambda: int(page.get_attribute("#pictures", "data-number")) > before, page)
        page.wait_for_timeout(1000)
        assert feed.view.page_count == others + 1  # and one connection


def test_end_of_a_call_is_said_and_the_next_one_begins_on_the_same_page(page: Any, feed: Feed) -> None:
    feed.view.end("the sender hung up")
    eventually(lambda: page.get_by_role("status").inner_text() == "the sender hung up", page)
    assert (
        page.get_by_role("slider", name="Bitrate").is_disabled()
        and page.get_by_role("combobox", name="Crop").is_disabled()
    )
    assert (
        page.get_by_role("combobox", name="Scaling").is_enabled()
        and page.get_by_role("button", name="Snapshot").is_enabled()
    )
    feed.view.offer(call_controls(refresh=True))
    eventually(lambda: page.get_by_role("status").inner_text() == "live", page)
    assert page.get_by_role("slider").count() == 0 and page.get_by_role("button", name="Refresh").is_visible()
    feed.view.end("the sender said goodbye")
    eventually(lambda: page.get_by_role("status").inner_text() == "the sender said goodbye", page)
    feed.close()
    page.wait_for_timeout(300)
    assert page.get_by_role("status").inner_text() == "the sender said goodbye"
    assert page.locator("[data-panel=ours] canvas").is_visible()
