"""What several test modules share. Imports are inside: most modules need no browser."""

from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium for all tests of a module; they skip where none is."""
    from web_browser import chromium

    with chromium() as opened:
        yield opened


@pytest.fixture
def page_time_limit() -> Iterator[None]:
    """Ends a browser that a test has waited too long for, so that the test fails with a reason."""
    from web_browser import TEST_S, within

    with within(TEST_S, "a test of the page"):
        yield
