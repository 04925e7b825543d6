"""`bench looks`: a picture of codecs side by side, each at the rate asked for."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from test_baselines_video import moving_frames

from vidcodec.bench import main
from vidcodec.bench.coders import find_spec
from vidcodec.bench.looks import BAND_PX, ZOOM, at_rate


def test_level_is_the_best_whose_rate_stays_below_the_one_asked_for() -> None:
    frames = np.stack(moving_frames(8))
    chosen = at_rate(find_spec("svtav1"), frames, 30.0, 60.0, [7])
    finer = at_rate(find_spec("svtav1"), frames, 30.0, 600.0, [7])
    assert chosen.kbps <= 60.0 < finer.kbps <= 600.0
    assert finer.level < chosen.level and finer.psnr_db > chosen.psnr_db
    assert chosen.pictures.shape == frames.shape


def test_rate_below_every_level_shows_the_lowest() -> None:
    spec = find_spec("svtav1")
    assert at_rate(spec, np.stack(moving_frames(4)), 30.0, 0.1, [0]).level == spec.settings.ladder[0]  # type: ignore[attr-defined]


def test_command_writes_the_picture_and_what_is_in_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["looks", "--codecs", "svtav1", "vp8", "--bitrate", "80", "--frames", "6", "--rows", "2"]
    assert main([*words, "--out", str(tmp_path)]) == 0
    result = json.loads((tmp_path / "looks.json").read_text())
    assert [row["codec"] for row in result["rows"]] == ["svtav1", "vp8"] and result["frames"] == 6
    picture = cv2.imread(str(tmp_path / "looks.png"))
    assert picture is not None and picture.shape == (BAND_PX + 2 * 192 * ZOOM, 3 * 192 * ZOOM, 3)
    columns = np.split(picture[BAND_PX:].astype(int), 3, axis=1)
    errors = [float(np.mean((column - columns[0]) ** 2)) for column in columns[1:]]
    assert all(0 < error < 500 for error in errors), "the same frames, coded"
    assert "| svtav1 |" in capsys.readouterr().out


def test_codec_without_a_rate_is_a_usage_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["looks", "--codecs", "bicubic2x", "--frames", "2", "--out", str(tmp_path)]) == 2
    assert "has no rate to choose" in capsys.readouterr().err
