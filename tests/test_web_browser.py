"""A stuck browser ends as a failed test, not as a suite that waits for ever."""

import os
import time

import pytest
from web_browser import START_S, browsers, chromium, eventually, within


def test_stuck_page_is_ended_and_the_reason_told() -> None:
    began_s = time.monotonic()
    with (
        pytest.raises(AssertionError, match=r"a busy page took more than 2 s; its browser was killed"),
        chromium() as browser,
    ):
        page = browser.new_page()
        assert browsers(os.getpid())
        with within(2.0, "a busy page"):
            page.evaluate("() => { for (;;); }")
    assert browsers(os.getpid()) == []
    assert time.monotonic() - began_s < START_S


def test_condition_that_never_holds_fails_in_time() -> None:
    with chromium() as browser:
        page = browser.new_page()
        assert eventually(lambda: page.evaluate("1 + 1") == 2, page, 5.0) < 5.0
        with pytest.raises(AssertionError, match="did not happen"):
            eventually(lambda: False, page, 0.2)
