"""Training of the still-picture autoencoders: what stops it is said before it starts."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from vidcodec.train import main
from vidcodec.train.autoencoder import Portraits, resize
from vidcodec.train.cache import open_cache


@pytest.mark.parametrize("words", [["--minutes", "0"], ["--minutes", "nan"], ["--batch", "0"]])
def test_number_that_trains_nothing_is_a_usage_error(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["--model", "seed", "--data", str(tmp_path), "--out", str(tmp_path / "x.safetensors"), *words]
    assert main(argv) == 2 and words[0] in capsys.readouterr().err


def test_place_that_cannot_be_written_is_said_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    argv = ["--model", "seed", "--data", str(tmp_path), "--out", str(tmp_path / "file/x.safetensors")]
    assert main(argv) == 3 and "--out" in capsys.readouterr().err


def test_portraits_of_any_size_and_shape_fill_a_batch(tmp_path: Path) -> None:
    for number, (height, width) in enumerate([(40, 50), (192, 256), (128, 128), (300, 200)]):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((height, width, 3), 90, np.uint8))
    portraits = Portraits(open_cache(tmp_path, tmp_path / "cache", ordered=False), seed=1)
    assert portraits.batch(40, 128).shape == (40, 3, 128, 128)
    assert portraits.whole(4, 192).shape == (4, 3, 192, 192)
    assert resize(np.zeros((192, 256, 3), np.uint8), 192).shape == (192, 192, 3)
