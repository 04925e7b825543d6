"""The baseline beside ours in a call."""

import numpy as np
import pytest
from test_baselines_video import moving_frames

from vidcodec.baselines.live import CHOICES, CODECS, Baseline, best_scale
from vidcodec.baselines.scaling import bicubic
from vidcodec.baselines.settings import PEERS
from vidcodec.errors import UsageError
from vidcodec.metrics import mse


def _rate_kbps(results: list[int], fps: float = 30.0) -> float:
    return sum(results) * 8 / 1000 / (len(results) / fps)


@pytest.mark.parametrize("codec", CODECS)
def test_wire_rate_follows_the_target(codec: str) -> None:
    frames = moving_frames(20)
    frames = (frames + frames[::-1]) * 4
    with Baseline(codec) as baseline:
        results = [baseline.push(frame, 60.0) for frame in frames]
    assert 40 < _rate_kbps([r.wire_bytes for r in results]) < 70
    assert all(r.picture is not None and r.picture.shape == (192, 192, 3) for r in results)
    assert all(r.wire_bytes >= r.payload_bytes + 50 for r in results if r.sent)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("kbps", [1e-3, 1e6])
def test_any_rate_that_a_call_takes_opens_the_encoder(codec: str, kbps: float) -> None:
    with Baseline(codec) as baseline:
        assert baseline.push(moving_frames(1)[0], kbps).picture is not None or kbps < 1


def test_target_that_moves_away_for_long_reopens_the_encoder_once() -> None:
    frames = moving_frames(20) * 9
    with Baseline("vp8") as baseline:
        first = [baseline.push(frame, 40.0) for frame in frames[:90]]
        second = [baseline.push(frame, 90.0) for frame in frames[90:]]
        assert baseline.reopened == 1
    assert _rate_kbps([r.wire_bytes for r in second[45:]]) > 1.5 * _rate_kbps([r.wire_bytes for r in first[45:]])


def test_target_that_jitters_does_not_reopen() -> None:
    frames = moving_frames(20) * 6
    with Baseline("vp8") as baseline:
        for number, frame in enumerate(frames):
            baseline.push(frame, 40.0 * (1.1 if number % 2 else 0.9))
        assert baseline.reopened == 0


def test_frames_are_dropped_rather_than_the_rate_exceeded() -> None:
    rng = np.random.default_rng(3)
    frames = [rng.integers(0, 256, (192, 192, 3), dtype=np.uint8) for _ in range(60)]
    with Baseline("vp8", scale=1) as baseline:
        results = [baseline.push(frame, 20.0) for frame in frames]
        assert baseline.dropped > 10
        assert baseline.dropped == sum(not r.sent for r in results)
    held = [i for i, r in enumerate(results) if not r.sent]
    assert all(results[i].picture is results[i - 1].picture and results[i].wire_bytes == 0 for i in held)


def test_default_scale_grows_as_the_rate_falls() -> None:
    for settings in (PEERS[name] for name in CODECS.values()):
        scales = [best_scale(kbps, settings, 192) for kbps in (3, 8, 15, 30, 100)]
        assert scales == sorted(scales, reverse=True)
        assert scales[-1] == 1
        assert 192 // scales[0] >= settings.smallest


def test_name_says_codec_and_scale() -> None:
    frame = moving_frames(1)[0]
    with Baseline("vp8", scale=2) as baseline:
        baseline.push(frame, 40.0)
        assert baseline.name == "vp8 1/2"
    assert Baseline("bicubic4x").name == "bicubic4x"


def test_plain_bicubic_is_the_scaled_picture_at_its_raw_size() -> None:
    frame = moving_frames(1)[0]
    result = Baseline("bicubic4x").push(frame, 40.0)
    assert result.picture is not None
    assert mse(result.picture, bicubic(frame, 4)) == 0
    assert result.payload_bytes == 48 * 48 * 3


def test_none_shows_nothing_and_costs_nothing() -> None:
    result = Baseline("none").push(moving_frames(1)[0], 40.0)
    assert result.picture is None and result.wire_bytes == 0 and not result.sent


def test_unknown_codec_and_scale_are_usage_errors() -> None:
    with pytest.raises(UsageError, match="choose from"):
        Baseline("mjpeg")
    with pytest.raises(UsageError, match="scale 3"):
        Baseline("vp8", scale=3)
    assert "vp8" in CHOICES
