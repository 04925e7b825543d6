"""What of the page is out of sight is painted when it comes back; pictures of any size are exact."""

import base64
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from web_browser import PIXELS, START_S, WAIT_MS, eventually, within

from vidcodec.web import WebView

pytestmark = pytest.mark.usefixtures("page_time_limit")

HEIGHT = 700


@pytest.fixture
def view() -> Iterator[WebView]:
    with WebView(title="receiver") as made:
        yield made


@pytest.fixture
def page(browser: Any, view: WebView) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": 1280, "height": HEIGHT})
    opened = context.new_page()
    opened.goto(view.url)
    opened.wait_for_selector("#charts canvas", timeout=WAIT_MS)
    yield opened
    with within(START_S, "closing a page"):
        context.close()


def noise(seed: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    values = np.random.default_rng(seed).integers(0, 256, (3, height, width, 3), np.uint8)
    return values[0], values[1], values[2]


def painted(page: Any, panel: str, height: int, width: int) -> np.ndarray:
    rgba = np.frombuffer(base64.b64decode(page.evaluate(PIXELS, panel)), np.uint8)
    return rgba.reshape(height, width, 4)


def figures(time_s: float, rate_kbps: float) -> dict[str, Any]:
    return {"time_s": time_s, "wire_kbps": rate_kbps, "link": {"framesReceived": round(100 * rate_kbps)}}


@pytest.mark.parametrize(("height", "width"), [(192, 192), (5, 8), (7, 9), (1, 1), (33, 6)])
def test_pictures_of_any_size_are_exact(page: Any, view: WebView, height: int, width: int) -> None:
    shown = noise(7, height, width)
    view.show(shown, 1)
    eventually(lambda: page.get_attribute("#pictures", "data-number") == "1", page)
    for name, expected in zip(("original", "ours", "baseline"), shown, strict=True):
        rgba = painted(page, name, height, width)
        assert np.array_equal(rgba[:, :, :3], expected), name
        assert (rgba[:, :, 3] == 255).all()


def test_picture_out_of_sight_takes_its_frames_and_is_painted_when_it_comes_back(page: Any, view: WebView) -> None:
    first, second = noise(1, 192, 192), noise(2, 192, 192)
    view.show(first, 1)
    eventually(lambda: page.get_attribute("#pictures", "data-number") == "1", page)
    page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
    eventually(lambda: page.evaluate("document.querySelector('#pictures').getBoundingClientRect().bottom") < -100, page)
    page.wait_for_timeout(300)
    view.show(second, 2)
    eventually(lambda: page.get_attribute("#pictures", "data-number") == "2", page)
    assert np.array_equal(painted(page, "ours", 192, 192)[:, :, :3], first[1])
    page.evaluate("scrollTo(0, 0)")
    eventually(lambda: np.array_equal(painted(page, "ours", 192, 192)[:, :, :3], second[1]), page)


def test_charts_and_tables_out_of_sight_are_up_to_date_once_they_are_seen(page: Any, view: WebView) -> None:
    view.figures(figures(0.25, 10.0))
    row = page.get_by_role("row", name="framesReceived").locator("td")
    eventually(lambda: row.count() == 1 and row.inner_text() == "1,000", page)
    rate = page.locator(".chart .plot").first
    for count in range(3):  # fewer than what has the unseen ones drawn
        view.figures(figures(0.5 + 0.25 * count, 20.0 + count))
        page.wait_for_timeout(50)
    assert row.inner_text() == "1,000"
    page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
    eventually(lambda: row.inner_text() == "2,200", page)
    page.evaluate("scrollTo(0, 0)")
    eventually(lambda: "ours, wire 22.0" in str(rate.get_attribute("aria-label")), page)


def test_figures_out_of_sight_follow_slowly(page: Any, view: WebView) -> None:
    for count in range(1, 32):
        view.figures(figures(0.25 * count, float(count)))
        page.wait_for_timeout(20)
    row = page.get_by_role("row", name="framesReceived").locator("td")
    eventually(lambda: row.inner_text() in ("3,100", "1,600"), page)
