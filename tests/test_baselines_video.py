"""Peers in process: zero delay, true bytes, colour, scaling."""

import os
import threading
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from vidcodec import colour
from vidcodec.baselines.scaling import bicubic, scale_down, scale_up
from vidcodec.baselines.scheduling import policies, same_scheduling
from vidcodec.baselines.settings import PEERS, STRONGER, VideoSettings, find_peer
from vidcodec.baselines.video import NotZeroDelay, VideoDecoder, VideoEncoder, strip_sei
from vidcodec.errors import UsageError
from vidcodec.metrics import mse, psnr_db

LOSSLESS_444 = replace(
    PEERS["x264-veryfast"], name="x264-lossless", quality_options=(("qp", "0"),), pixel_format="yuv444p"
)


def moving_frames(count: int, size: int = 192) -> list[NDArray[np.uint8]]:
    """A textured picture that slides and brightens."""
    rng = np.random.default_rng(7)
    y, x = np.mgrid[0 : size + 64, 0 : size + 64] / size
    texture = np.stack([np.sin(9 * x + c) + np.cos(7 * y * (c + 1)) for c in range(3)], axis=2)
    texture = 128 + 45 * texture + rng.normal(0, 4, texture.shape)
    return [np.clip(texture[i : i + size, 2 * i : 2 * i + size] + i, 0, 255).astype(np.uint8) for i in range(count)]


def _code(settings: VideoSettings, q: int, frames: list[NDArray[np.uint8]]) -> list[bytes]:
    height, width = frames[0].shape[:2]
    with VideoEncoder(settings, settings.with_quality(q), width, height) as encoder:
        return [encoder.encode(frame) for frame in frames]


@pytest.mark.parametrize("name", PEERS | STRONGER)
def test_every_peer_gives_one_packet_and_one_picture_a_frame(name: str) -> None:
    settings = find_peer(name)
    frames = moving_frames(12)
    packets = _code(settings, settings.levels[-2], frames)
    decoder = VideoDecoder(settings)
    pictures = [decoder.decode(packet) for packet in packets]
    assert len(packets) == len(pictures) == len(frames)
    assert min(psnr_db(mse(a, b)) for a, b in zip(frames, pictures, strict=True)) > 28
    assert max(len(packet) for packet in packets[1:]) < len(packets[0])


@pytest.mark.skipif(not policies(), reason="threads and their policies are read the Linux way")
@pytest.mark.parametrize("name", PEERS)
def test_no_thread_becomes_a_real_time_one(name: str) -> None:
    settings = find_peer(name)
    before = policies()
    with VideoEncoder(settings, settings.with_quality(settings.levels[3]), 192, 192) as encoder:
        for frame in moving_frames(3):
            encoder.encode(frame)
            inside = policies()
    after = policies()
    own = before[threading.get_native_id()]
    assert after[threading.get_native_id()] == own
    assert all(now == before.get(number, own) for number, now in {**inside, **after}.items())


@pytest.mark.skipif(not policies() or os.geteuid() != 0, reason="only root on Linux may ask for real time")
def test_scheduling_that_native_code_changes_is_put_back() -> None:
    own = threading.get_native_id()
    before = policies()[own]
    with pytest.raises(ValueError, match="refused"), same_scheduling():
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
        assert policies()[own] == (os.SCHED_RR, 1)
        raise ValueError("refused")
    assert policies()[own] == before


@pytest.mark.parametrize("name", PEERS)
def test_levels_run_from_few_bits_to_many(name: str) -> None:
    settings = find_peer(name)
    assert len(settings.levels) >= 6
    frames = moving_frames(6)
    sizes = [sum(map(len, _code(settings, q, frames))) for q in settings.levels]
    assert all(more > 0.85 * fewer for fewer, more in pairwise(sizes))
    assert sizes[-1] > 3 * sizes[0]


def test_encoder_that_keeps_frames_back_is_caught() -> None:
    patient = replace(PEERS["x264-veryfast"], name="x264-lookahead", options=(("preset", "veryfast"), ("threads", "1")))
    with pytest.raises(NotZeroDelay, match="frame 0 gave 0 packets"):
        _code(patient, 30, moving_frames(3))


def test_decoder_that_is_given_half_a_packet_is_caught() -> None:
    settings = find_peer("vp8")
    packets = _code(settings, 40, moving_frames(2))
    decoder = VideoDecoder(settings)
    decoder.decode(packets[0])
    with pytest.raises((NotZeroDelay, OSError, ValueError)):
        decoder.decode(b"")


def test_lossless_444_round_trip_returns_the_very_planes() -> None:
    frames = moving_frames(5)
    packets = _code(LOSSLESS_444, 0, frames)
    decoder = VideoDecoder(LOSSLESS_444)
    for frame, packet in zip(frames, packets, strict=True):
        picture = decoder.decode(packet)
        assert np.array_equal(picture, colour.yuv444_to_rgb(colour.rgb_to_yuv444(frame)))
        assert psnr_db(mse(frame, picture)) > 50


def test_version_string_of_x264_can_be_taken_off() -> None:
    settings = find_peer("x264-veryfast")
    frame = moving_frames(1)[0]
    first = _code(settings, 30, [frame])[0]
    stripped = strip_sei(first)
    assert b"x264 - core" in first and b"x264 - core" not in stripped
    assert 500 < len(first) - len(stripped) < 800
    assert np.array_equal(VideoDecoder(settings).decode(stripped), VideoDecoder(settings).decode(first))


def test_strip_sei_removes_only_sei_units() -> None:
    sps, sei, idr = b"\0\0\0\1\x67abc", b"\0\0\1\x06version", b"\0\0\1\x65picture"
    assert strip_sei(sps + sei + idr) == sps + idr
    assert strip_sei(b"no start code") == b"no start code"


def test_bitrate_is_followed() -> None:
    settings = find_peer("vp8")
    frames = moving_frames(20) * 4
    with VideoEncoder(settings, settings.with_bitrate(120_000), 192, 192) as encoder:
        total = sum(len(encoder.encode(frame)) for frame in frames)
    assert 60 < total * 8 / 1000 / (len(frames) / 30) < 180


def test_picture_too_small_for_a_codec_is_a_usage_error() -> None:
    settings = find_peer("svtav1")
    with pytest.raises(UsageError, match="at least 16"):
        VideoEncoder(settings, settings.with_quality(40), 8, 8)
    with pytest.raises(UsageError, match="unknown"):
        find_peer("h266")


def test_options_that_do_not_exist_are_a_usage_error() -> None:
    with pytest.raises(UsageError, match="cannot start"):
        VideoEncoder(find_peer("x264-veryfast"), (("preset", "no-such-preset"),), 192, 192)


def test_bicubic_scales_by_averages_and_back() -> None:
    frame = moving_frames(1)[0]
    assert scale_down(frame, 4).shape == (48, 48, 3)
    assert scale_up(scale_down(frame, 4), 192, 192).shape == frame.shape
    flat = np.full((192, 192, 3), 77, np.uint8)
    assert np.array_equal(bicubic(flat, 8), flat)
    errors = [mse(frame, bicubic(frame, scale)) for scale in (1, 2, 4, 8)]
    assert errors[0] == 0 and errors == sorted(errors)
    with pytest.raises(UsageError, match="scale 3"):
        scale_down(frame, 3)
