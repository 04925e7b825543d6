"""Frames coded several times until the second that they end holds the rate."""

import math
import random

import numpy as np
import pytest

from vidcodec.codec import FRAME_SIZE, Codec, CodecInfo, Frame, State, next_header, reference_state
from vidcodec.heldrate import TRIES, encode_held
from vidcodec.packet import HEADER_BYTES, Packet
from vidcodec.rate import RateControl

PATTERN = (3.2, 0.1, 0.4, 0.1, 1.8, 0.1, 0.4, 0.1)
FRAME: Frame = np.zeros((FRAME_SIZE, FRAME_SIZE, 3), np.uint8)


class Padded(Codec):
    """Sizes as a codec's: by quality, what the frames before had of it, place in the pattern and a scene that moves in
    bursts. The packets say nothing."""

    info = CodecInfo("padded", "0" * 64, "cpu", "fp32", 64)

    def __init__(self, floor: int = 4) -> None:
        self.rng, self.floor, self.asked = random.Random(5), floor, [0]
        self.scene = [math.exp(self.rng.gauss(0, 0.4) + 0.8 * math.sin(t / 25)) for t in range(1024)]

    def encode(self, frame: Frame, state: State, quality: int, number: int | None = None) -> tuple[Packet, State]:
        header = next_header(frame, state, quality, self.info, number)
        self.asked.append(header.number)
        size = 40 * 30 ** (quality / 63) * self.scene[header.number] * PATTERN[header.number % len(PATTERN)]
        shown = quality if header.distance == 0 else state.memory
        size *= 8 if header.distance == 0 else math.exp(0.05 * (quality - shown))
        if frame is state.picture:  # nothing is new in it
            return Packet(header, b""), State(header.number, frame, shown)
        after = State(header.number, frame.copy(), shown + 0.1 * (quality - shown))
        return Packet(header, bytes(max(self.floor, round(size)))), after

    def decode(self, packet: Packet, state: State) -> tuple[Frame, State]:
        reference_state(self, packet.header, state)
        return FRAME, State(packet.header.number, FRAME)

    def attempts(self) -> list[int]:
        """How often each frame was coded."""
        return np.bincount(self.asked[1:]).tolist()


def seconds(codec: Codec, kbps: float, fps: int, held: bool, sizes: list[int] | None = None) -> np.ndarray:
    """Rate of every second from the third on, as a share of `kbps`, less 1; `sizes` gets the bytes of all frames."""
    sizes = [] if sizes is None else sizes
    state, control = codec.blank_state(), RateControl.start(kbps, fps, 64)
    for _ in range(600):
        if held:
            packet, state, control = encode_held(codec, FRAME, state, control)
        else:
            packet, state = codec.encode(FRAME, state, control.quality)
            control = control.after(packet.header.quality, len(packet), packet.header.distance == 0)
        sizes.append(len(packet))
    return np.convolve(sizes[3 * fps :], np.ones(fps), "valid") / (kbps * 125) - 1


@pytest.mark.parametrize("fps", [25, 30])
@pytest.mark.parametrize("kbps", [20.0, 40.0])
def test_every_second_holds_the_rate_within_a_tenth(kbps: float, fps: int) -> None:
    codec = Padded()
    off = seconds(codec, kbps, fps, held=True)
    assert np.mean(np.abs(off) <= 0.1) > 0.93 and abs(off.mean()) < 0.03
    assert max(codec.attempts()) <= TRIES + 1 and np.mean(codec.attempts()) < 2.5
    assert np.mean(np.abs(seconds(Padded(), kbps, fps, held=False)) <= 0.1) < 0.9, "a burst is too much for one attempt"


def test_where_no_quality_is_low_enough_frames_are_left_out_until_the_second_holds() -> None:
    codec = Padded(floor=100)
    sizes: list[int] = []
    off = seconds(codec, 20.0, 30, held=True, sizes=sizes)
    assert off.max() <= 0.1, "100 bytes a frame are too many"
    left_out = np.mean([size == HEADER_BYTES for size in sizes])
    assert 0.1 < left_out < 0.4
    assert max(codec.attempts()[100:]) == 2, "the lowest quality, and nothing"


def test_frame_that_fits_or_has_no_second_before_it_is_left() -> None:
    control = RateControl.start(24, 10, 64)
    for number in range(9):
        assert control.within({30: 5000}) is None, "less than a second is known"
        control = control.after(30, 300, intra=number == 0)
    assert control.within({30: 400}) is None and control.within({30: 200}) is None
    assert control.within({30: 1500}) < 30
    control = control.after(30, 150)
    assert control.within({30: 20}) > 30
    assert control.within({30: 20, 40: 1500}) in range(31, 40)
    assert control.within({30: 20, 31: 1500}) is None, "nothing is left between the two"
    assert control.within({0: 1500}) is None, "nothing is lower"
