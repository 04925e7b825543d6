"""What the tests of `/watch` need: a clip coded by the real codec, the model for a browser, and the runtime."""

import base64
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from sender.box import centre_box
from sender.capture import open_source
from sender.crop import crop_to
from vidcodec.codec import Frame
from vidcodec.learned import LearnedCodec
from vidcodec.packet import Packet
from vidcodec.watch.files import RUNTIME_FILES, default_folder

QUALITIES = (16, 40, 4, 60)
"""Each for a few frames, so that all tables are met."""
RUN = 6
RESET = 31
"""A frame without a reference in the middle of the clip."""


@dataclass(frozen=True)
class Coded:
    """A frame of the clip: its packet, what was filmed, and what a receiver shows."""

    packet: Packet
    original: Frame
    picture: Frame


@cache
def codec() -> LearnedCodec:
    """The learned codec as a receiver loads it."""
    return LearnedCodec.load("s", "cpu", "fp32", threads=1)


@cache
def clip(most: int = 1000) -> tuple[Coded, ...]:
    """The sample clip, coded with qualities from low to high."""
    state, coded = codec().blank_state(), []
    with open_source("sample", paced=False) as source:
        for number, frame in zip(range(most), source.frames(), strict=False):
            height, width = frame.picture.shape[:2]
            original = crop_to(frame.picture, centre_box(width, height))
            if number == RESET:
                state = codec().blank_state()
            quality = QUALITIES[number // RUN % len(QUALITIES)]
            packet, state = codec().encode(original, state, quality, number)
            coded.append(Coded(packet, original, state.picture))
    return tuple(coded)


def runtime() -> Path:
    """The folder of ONNX Runtime Web; skips the test where it was not fetched."""
    folder = default_folder() / "runtime"
    if not all((folder / name).is_file() for name in RUNTIME_FILES):
        pytest.skip("no ONNX Runtime Web here: python -m vidcodec export-web")
    return folder


def base64s(packets: list[bytes]) -> list[str]:
    """For a script in a page."""
    return [base64.b64encode(packet).decode() for packet in packets]


def psnr_db(a: Frame, b: Frame) -> float:
    """Between two pictures, in dB."""
    error = float(np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2))
    return 99.0 if error == 0 else 10 * np.log10(255**2 / error)
