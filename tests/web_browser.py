"""A headless Chromium and real frames for the tests of the page."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from sender.box import centre_box
from sender.capture import open_source
from sender.crop import crop_to
from vidcodec.baselines.live import Baseline
from vidcodec.codec import load_codec

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
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
def chromium() -> Iterator[Any]:
    """A headless browser; skips the test where there is none."""
    if not os.environ.get("VIDCODEC_BROWSER"):
        pytest.skip("set VIDCODEC_BROWSER=1 to drive a browser: a stuck one is not ended by a time limit yet")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no Chromium here: install one, or name it in the variable CHROMIUM")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, headless=True, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()
