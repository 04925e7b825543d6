"""What the frame path is told and what it gives: orders, coded frames, counts."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sender.crop import LiveCropper
from vidcodec.records import SentFrame

Picture = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Coded:
    """A frame that was sent.

    Attributes:
        record: what is known of it; errors are still to be measured.
        original: the cropped picture, `[192, 192, 3]` uint8 RGB.
        shown: the picture that the receiver will show.
    """

    record: SentFrame
    original: Picture
    shown: Picture


@dataclass(frozen=True, slots=True)
class Orders:
    """How frames are made from now on.

    Attributes:
        cropper: what cuts the face out.
        quality: fixed rate point, None to hold `kbps`.
        kbps: payload rate to hold, None for a fixed quality.
        paused: send nothing.
    """

    cropper: LiveCropper
    quality: int | None
    kbps: float | None
    paused: bool = False


@dataclass(frozen=True, slots=True)
class SendCounts:
    """What went out so far."""

    sent: int = 0
    payload_bytes: int = 0
    wire_bytes: int = 0
    refused: int = 0
