"""Ends of a call whose pictures drift apart find out by a sketch, and begin anew."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from call_in_process import make_call
from delta_codec import DeltaCodec, pictures
from hypothesis import given
from hypothesis import strategies as st
from videos import write_video

from sender.capture import open_source
from tests.tiny import moving_face
from vidcodec.bench.clips import Clip
from vidcodec.bench.steadydrift import drift
from vidcodec.calllog import SenderTotals
from vidcodec.codec import Frame, State
from vidcodec.drift import APART, EVERY, DriftWatch, blocks_of, difference, from_text, sketch, to_text
from vidcodec.exchange import sender_stats, told_sketch
from vidcodec.packet import Packet

FACE = moving_face(1)[0]


def shaken(picture: np.ndarray, levels: float, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, levels, picture.shape)
    return np.clip(picture + noise, 0, 255).round().astype(np.uint8)


def test_difference_of_sketches_is_about_the_mean_squared_difference() -> None:
    picture = np.clip(FACE, 20, 235)
    for levels in (1.0, 3.0, 10.0):
        true = [float(((shaken(picture, levels, k) - picture.astype(float)) ** 2).mean()) for k in range(20)]
        told = [difference(sketch(picture), sketch(shaken(picture, levels, k))) for k in range(20)]
        assert 0.8 < np.mean(told) / np.mean(true) < 1.25


def test_a_shade_that_changes_everywhere_is_seen_too() -> None:
    lighter = np.clip(FACE, 0, 250) + np.uint8(5)
    apart = difference(sketch(np.clip(FACE, 0, 250)), sketch(lighter))
    assert 5 < apart < 100  # 25 is the truth, seen through 36 numbers


def test_signs_are_those_that_a_browser_works_out() -> None:
    # By the arithmetic of tests/watch_files.py's language: Math.imul and >>> of JavaScript, here with whole numbers.
    def sign(index: int) -> int:
        x = index * 2654435761 % 2**32
        x ^= x >> 15
        x = x * 2246822519 % 2**32
        return 1 - 2 * ((x ^ x >> 13) & 1)

    flat = FACE.reshape(-1)
    expected = np.zeros((6, 6), np.int64)
    for index in range(flat.size):
        pixel = index // 3
        expected[pixel // 192 // 32, pixel % 192 // 32] += sign(index) * int(flat[index])
    assert (sketch(FACE) == (expected % 65536).reshape(-1)).all()


@given(st.lists(st.integers(0, 65535), min_size=36, max_size=36))
def test_sketch_survives_its_text(numbers: list[int]) -> None:
    assert from_text(to_text(np.array(numbers)), 36).tolist() == numbers


@pytest.mark.parametrize("text", [None, 7, "", "AAAA", "ä" * 96, ["A"]])
def test_what_is_no_sketch_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="unusable"):
        from_text(text, 36)
    with pytest.raises(ValueError):
        told_sketch({"picture": {"number": 64, "sketch": text}}, 36)


def test_statistics_carry_a_sketch_where_there_is_one() -> None:
    totals = SenderTotals()
    assert told_sketch(sender_stats(totals, []), blocks_of(192)) is None
    told = told_sketch(sender_stats(totals, [], (128, sketch(FACE))), blocks_of(192))
    assert told is not None and told[0] == 128 and (told[1] == sketch(FACE)).all()


@pytest.mark.parametrize("told_first", [True, False])
def test_pictures_are_compared_whichever_is_known_first(told_first: bool) -> None:
    watch, other = DriftWatch(), shaken(FACE, 4.0)
    calls = [lambda: watch.told(EVERY, sketch(FACE)), lambda: watch.decoded(EVERY, other)]
    first, second = calls if told_first else calls[::-1]
    assert first() is None
    apart = second()
    assert apart is not None and apart > APART


def test_what_is_never_told_or_never_made_is_forgotten() -> None:
    watch = DriftWatch()
    for k in range(50):
        assert watch.told(2 * k * EVERY, sketch(FACE)) is None
        assert watch.decoded((2 * k + 1) * EVERY, FACE) is None
        assert watch.decoded((2 * k + 1) * EVERY + 1, FACE) is None  # nobody tells of such a frame
    assert len(watch._told) <= 8 and len(watch._made) <= 8


class DriftingCodec(DeltaCodec):
    """Another device: `error` levels more of one colour with every frame that is predicted."""

    def __init__(self, error: float) -> None:
        self.error, self.fresh = error, 0

    def encode(self, frame: Frame, state: State, quality: int, number: int | None = None) -> tuple[Packet, State]:
        packet, after = super().encode(frame, state, quality, number)
        self.fresh += packet.header.distance == 0
        return packet, after

    def decode(self, packet: Packet, state: State) -> tuple[Frame, State]:
        picture, after = super().decode(packet, state)
        if packet.header.distance:
            picture = picture.copy()
            picture[..., 0] += np.uint8(packet.header.number * self.error % 1 < self.error)
        return picture, replace(after, picture=picture)


def test_benchmark_begins_a_drifting_call_anew_and_says_what_it_cost() -> None:
    clip = Clip("faces", 30.0, np.stack(pictures(40)), "0" * 64)
    steady, drifting = (drift(DriftingCodec(error), DriftingCodec(error), clip, 0, 400) for error in (0.0, 0.25))
    assert (steady.fresh, steady.first_s, steady.mean_db, steady.fresh_share) == (0, None, 0, 0)
    assert drifting.fresh >= 1 and drifting.first_s == pytest.approx(EVERY / 30)
    assert 0 < drifting.fresh_share < 0.5 and drifting.worst_db > drifting.mean_db > 0


@pytest.mark.parametrize(("error", "fresh_starts"), [(0.0, 0), (0.25, 1)])
def test_receiver_whose_pictures_drift_gets_a_fresh_start(error: float, fresh_starts: int, tmp_path: Path) -> None:
    video = write_video(tmp_path / "v.mkv", pictures(180), fps=30)
    codec = DriftingCodec(error)
    outcome = make_call(codec, open_source(str(video)), [])
    assert outcome.error is None
    assert outcome.sent.frames_sent > EVERY + 40
    assert codec.fresh - 1 >= fresh_starts if fresh_starts else codec.fresh == 1
