"""A headless Chromium and real frames for the tests of the page. Nothing here waits without end.

Every wait of playwright's that can have a time limit has one. Those that cannot (starting its driver, evaluating a
script, closing) end when the browser and the driver die, so `within` kills both when something takes too long.
"""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from call_commands import children

from sender.box import centre_box
from sender.capture import open_source
from sender.crop import crop_to
from vidcodec.baselines.live import Baseline
from vidcodec.bench.viewers import find_browser
from vidcodec.codec import load_codec
from vidcodec.watch.files import WatchFiles
from vidcodec.watch.server import WatchServer

WAIT_MS = 20_000
"""For one thing to happen on a page. Generous: a machine that runs a test suite may be busy."""
START_S = 120.0
"""For a browser to start, and to close: a second on a quiet machine, twenty seen on a busy one."""
START_MS = 1000 * START_S
"""The same for playwright: a page opens as soon as a browser has time for it."""
TEST_S = 180.0
"""For one whole test; less than what any test may take (pyproject.toml), so that this limit tells the reason."""
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SOFTWARE_GPU = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-unsafe-swiftshader"]
"""WebGPU without a graphics card: its shaders run on the CPU."""
PIXELS = """name => {
    const canvas = document.querySelector(`[data-panel=${name}] canvas`);
    const rgba = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    let text = "";
    for (let from = 0; from < rgba.length; from += 8192)
        text += String.fromCharCode(...rgba.subarray(from, from + 8192));
    return btoa(text);
}"""
"""Script: the RGBA bytes of a panel's canvas, base64."""

Triple = tuple[np.ndarray, np.ndarray, np.ndarray]


def real_frames(count: int) -> list[Triple]:
    """Original, ours and baseline of the sample's first frames, by codecs that really ran."""
    codec = load_codec("seed", threads=1)
    state = codec.blank_state()
    triples = []
    with Baseline("vp8", 2) as baseline, open_source("sample", paced=False) as source:
        for _, frame in zip(range(count), source.frames(), strict=False):
            height, width = frame.picture.shape[:2]
            original = crop_to(frame.picture, centre_box(width, height))
            packet, state = codec.encode(original, state, codec.info.qualities // 2)
            ours, _ = codec.decode(packet, codec.blank_state())
            beside = baseline.push(original, 60.0).picture
            assert beside is not None
            triples.append((original, ours, beside))
    return triples


@contextmanager
def within(limit_s: float, what: str) -> Iterator[None]:
    """Kill the browsers of this process when the body takes longer, so that whatever waits for one fails at once.

    Raises:
        AssertionError: they were killed.
    """
    late = threading.Event()

    def kill() -> None:
        late.set()
        for pid in browsers(os.getpid()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    timer = threading.Timer(limit_s, kill)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        if late.is_set():
            raise AssertionError(f"{what} took more than {limit_s:.0f} s; its browser was killed")


def browsers(pid: int) -> list[int]:
    """What playwright started below a process, the deepest first; no command of ours, which has no such child."""
    found = []
    for child in children(pid):
        with contextlib.suppress(OSError):  # it has just ended
            name = Path(f"/proc/{child}/cmdline").read_bytes()
            if b"playwright" in name or b"chrom" in name.lower():
                found += [*browsers(child), child]
    return found


def eventually(condition: Callable[[], object], page: Any, within_s: float = WAIT_MS / 1000) -> float:
    """Wait for a condition, with the page's own events going on; how long it took, in seconds.

    Raises:
        AssertionError: it did not come about in time.
    """
    began_s = time.monotonic()
    while not condition():
        assert time.monotonic() - began_s < within_s, f"did not happen in {within_s:g} s"
        page.wait_for_timeout(50)
    return time.monotonic() - began_s


@contextmanager
def chromium(gpu: bool = False) -> Iterator[Any]:
    """A headless browser; skips the test where there is none, and fails it where there is one that does not start.

    Args:
        gpu: with WebGPU, as far as this browser has it.
    """
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = find_browser()
    if path is None:
        pytest.skip("no Chromium here: install one, or name it in the variable CHROMIUM")
    flags = [*(flag for flag in FLAGS if flag != "--disable-gpu"), *SOFTWARE_GPU] if gpu else FLAGS
    driver = playwright.sync_playwright()
    try:
        with within(START_S, "starting a browser"):
            browser = driver.start().chromium.launch(
                executable_path=path, headless=True, args=flags, timeout=0.8 * START_MS
            )
        yield browser
        with within(START_S, "closing a browser"), contextlib.suppress(playwright.Error):  # it was killed
            browser.close()
    finally:
        with within(START_S, "ending playwright's driver"):
            driver.__exit__()


@contextmanager
def keeping_pages(browser: Any) -> Iterator[Any]:
    """Another browser beside this one, which keeps a page that is left for whoever goes back to it, as people's do."""
    with within(START_S, "starting a browser"):
        another = browser.browser_type.launch(
            executable_path=find_browser(),
            headless=True,
            args=FLAGS,
            ignore_default_args=["--disable-back-forward-cache"],
            timeout=0.8 * START_MS,
        )
    try:
        yield another
    finally:
        with within(START_S, "closing a browser"):
            another.close()


@contextmanager
def watch_page(files: WatchFiles, what: str) -> Iterator[Any]:
    """The page of a `/watch` server in a browser that is killed when the tests with it, `what`, take too long."""
    server = WatchServer("127.0.0.1:0", files)
    try:
        with within(TEST_S, what), chromium() as browser:
            opened = browser.new_page()
            opened.goto(server.url, timeout=START_MS)
            yield opened
    finally:
        server.close()
