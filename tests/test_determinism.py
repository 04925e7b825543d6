"""The same symbols on every machine, the same packets however a clip is coded; short here, over all clips if asked.

`make long` (VIDCODEC_LONG=1) goes over every frame of every development clip.
"""

import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from call_in_process import make_call
from numpy.typing import NDArray

from sender.capture import Frame, Source, open_source
from sender.crop import fit_whole
from sender.resending import SharedCodec
from vidcodec.__main__ import main
from vidcodec.bench.clips import find_clips, read_clip
from vidcodec.codec import State
from vidcodec.container import read_info, read_packets
from vidcodec.learned import LearnedCodec
from vidcodec.networks.symbols import FrameSymbols
from vidcodec.packet import NUMBERS, Header, Packet

DATA = Path(os.environ.get("VIDCODEC_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
LONG = os.environ.get("VIDCODEC_LONG") == "1"
QUALITIES = (0, 16, 32, 48, 63)
READERS = [("fp32", 1), ("fp32", 2), ("bf16", 1), ("bf16", 2)]

Pictures = Sequence[NDArray[np.uint8]]


@cache
def codec(precision: str) -> LearnedCodec:
    return LearnedCodec.load("s", "cpu", precision)


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@cache
def sample(count: int, every: int = 3) -> Pictures:
    """Frames of the bundled clip, far enough apart to have much to say."""
    with open_source("sample", paced=False) as source:
        return [fit_whole(frame.picture) for frame in islice(source.frames(), 0, count * every, every)]


def coded(frames: Pictures, quality: int, writer: LearnedCodec) -> list[tuple[bytes, FrameSymbols]]:
    """A clip coded by itself: packets, and the symbols that the encoder put into them."""
    state, out = writer.blank_state(), []
    for number, frame in enumerate(frames):
        packet, state, symbols = writer.encode_symbols(frame, state, Header(number % NUMBERS, min(number, 1), quality))
        out.append((packet.to_bytes(), symbols))
    return out


def check_symbols(frames: Pictures, quality: int, writer: LearnedCodec) -> list[bytes]:
    """Every reader finds in every packet the symbols that the encoder put there; returns the packets."""
    sent = coded(frames, quality, writer)
    for precision, count in READERS:
        with threads(count):
            wrong = [n for n, (data, symbols) in enumerate(sent) if not same(read(precision, data), symbols)]
        assert not wrong, f"quality {quality}, {precision}, {count} threads: frames {wrong} of {len(sent)}"
    assert all(symbols.y.any() for _, symbols in sent[:1]), "a first frame says something"
    return [data for data, _ in sent]


def read(precision: str, data: bytes) -> FrameSymbols:
    return codec(precision).decode_symbols(Packet.from_bytes(data))


def same(a: FrameSymbols, b: FrameSymbols) -> bool:
    return all(np.array_equal(x, y) for x, y in ((a.y, b.y), (a.z, b.z), (a.vectors, b.vectors)))


def interleaved(clips: Sequence[Pictures], quality: int, writer: LearnedCodec) -> list[list[bytes]]:
    """Clips coded turn about with one codec, each with its own state, through `encode`."""
    states: list[State] = [writer.blank_state() for _ in clips]
    packets: list[list[bytes]] = [[] for _ in clips]
    for at in range(max(map(len, clips))):
        for which, clip in enumerate(clips):
            if at < len(clip):
                packet, states[which] = writer.encode(clip[at], states[which], quality)
                packets[which].append(packet.to_bytes())
    return packets


@pytest.mark.parametrize("quality", QUALITIES)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_symbols_read_in_any_precision_by_any_threads_are_those_written(precision: str, quality: int) -> None:
    packets = check_symbols(sample(5), quality, codec(precision))
    assert len(set(packets)) == 5


@pytest.mark.parametrize("quality", QUALITIES)
def test_clips_coded_turn_about_give_the_packets_of_each_alone(quality: int) -> None:
    first, second = sample(5), sample(5)[::-1][:4]
    turn_about = interleaved([first, second], quality, codec("fp32"))
    assert turn_about[0] == [data for data, _ in coded(first, quality, codec("fp32"))]
    assert turn_about[1] == [data for data, _ in coded(second, quality, codec("fp32"))]


def test_pictures_shown_are_the_senders_when_both_have_the_same_precision_and_threads() -> None:
    for precision in ("fp32", "bf16"):
        one, state, shown = codec(precision), codec(precision).blank_state(), codec(precision).blank_state()
        with threads(1):
            for frame in sample(5):
                packet, state = one.encode(frame, state, 24)
                _, shown = one.decode(Packet.from_bytes(packet.to_bytes()), shown)
                assert np.array_equal(state.picture, shown.picture)


class Unhurried(Source):
    """Pictures at a pace that a busy machine keeps too, none of them left out."""

    name, live = "unhurried", True

    def __init__(self, pictures: Pictures, fps: float) -> None:
        self.pictures, self.fps, self.slots = pictures, fps, len(pictures)
        self.size = (pictures[0].shape[1], pictures[0].shape[0])
        self._stop = threading.Event()

    def frames(self) -> Iterator[Frame]:
        for number, picture in enumerate(self.pictures):
            if self._stop.wait(1 / self.fps if number else 0):
                return
            yield Frame(number, time.monotonic_ns(), number / self.fps, picture)

    def close(self) -> None:
        self._stop.set()


def packets_of(path: Path) -> list[bytes]:
    with path.open("rb") as file:
        read_info(file)
        return [packet.to_bytes() if packet is not None else b"" for packet in read_packets(file)]


def test_clip_sent_frame_by_frame_through_a_call_gives_the_bytes_of_the_file(tmp_path: Path) -> None:
    whole = tmp_path / "whole.vdc"
    words = ["--quality", "20", "--frames", "20", "--crop", "none", "--precision", "fp32", "--threads", "1"]
    with threads(1):
        assert main(["encode", "sample", str(whole), "--model", "s", *words]) == 0
        # A machine that stands still for long may lose a frame, and the next ones then refer to another.
        for attempt in range(3):
            arrived = tmp_path / f"arrived{attempt}.vdc"
            with open_source("sample", paced=False) as clip:
                pictures = [frame.picture for frame in islice(clip.frames(), 20)]
            outcome = make_call(SharedCodec(codec("fp32")), Unhurried(pictures, 8.0), [arrived], quality=20)
            assert outcome.error is None
            if outcome.sent.frames_lost == 0 and outcome.sent.frames_sent == outcome.received.frames_shown == 20:
                break
    assert len(packets_of(whole)) == 20
    assert packets_of(arrived) == packets_of(whole)


def dev_clips() -> list[Path]:
    return find_clips([DATA / "dev"]) if (DATA / "dev").is_dir() else []


@pytest.mark.skipif(not LONG, reason="takes some ten minutes: set VIDCODEC_LONG=1")
@pytest.mark.skipif(not dev_clips(), reason="no development clips: set VIDCODEC_DATA")
@pytest.mark.parametrize("quality", QUALITIES)
@pytest.mark.parametrize(
    ("path", "other"), list(pairwise([*dev_clips(), *dev_clips()[:1]])), ids=lambda path: path.stem
)
def test_no_symbol_differs_over_a_whole_clip(path: Path, other: Path, quality: int) -> None:
    frames = list(read_clip(path).frames)
    beside = list(read_clip(other, 24).frames)
    with threads(1):
        packets = check_symbols(frames, quality, codec("fp32"))
        assert interleaved([frames[:24], beside], quality, codec("fp32"))[0] == packets[:24]
        check_symbols(frames[:24], quality, codec("bf16"))
