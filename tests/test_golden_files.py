"""What a release wrote, every later one reads: `tests/golden_files.py` says how the files were made."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from golden_files import GOLDEN, Golden, originals, played, weights_of

# PyAV after OpenCV, as everywhere.
# isort: split
import av

from vidcodec.__main__ import main
from vidcodec.codec import load_codec
from vidcodec.metrics import mse, psnr_db

FILES = sorted(GOLDEN.glob("*.vdc"))
SAME_DB = 45.0
"""Of a picture against the same one on another machine: pictures may differ by rounding, symbols never."""


def golden_of(path: Path) -> Golden:
    fields = json.loads(path.with_suffix(".json").read_text("utf-8"))
    return Golden(**{**fields, "symbols_sha256": tuple(fields["symbols_sha256"])})


def test_there_are_files_of_both_models() -> None:
    assert {golden_of(path).model for path in FILES} >= {"seed", "s"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_golden_file_has_the_symbols_and_the_quality_it_had(path: Path) -> None:
    golden = golden_of(path)
    codec = load_codec(golden.model, "cpu", "fp32", None, weights_of(golden.model))
    assert codec.info.weights_sha256 == golden.weights_sha256, "the weights of golden files are never replaced"
    frames = list(played(path, codec))
    assert tuple(sha for sha, _ in frames) == golden.symbols_sha256
    pairs = zip(originals(golden.frames), (picture for _, picture in frames), strict=True)
    assert psnr_db(float(np.mean([mse(a, b) for a, b in pairs]))) == pytest.approx(golden.psnr_db, abs=0.1)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_golden_file_decodes_by_the_command_to_the_picture_it_showed(path: Path, tmp_path: Path) -> None:
    golden, video = golden_of(path), tmp_path / "shown.mkv"
    weights = weights_of(golden.model)
    words = ["decode", str(path), str(video), "--device", "cpu"]
    assert main([*words, *(["--weights", str(weights)] if weights else [])]) == 0
    with av.open(str(video)) as container:
        shown = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    kept = cv2.cvtColor(cv2.imread(str(path.with_suffix(".png"))), cv2.COLOR_BGR2RGB)
    assert len(shown) == golden.frames
    assert psnr_db(mse(kept, shown[-1])) >= SAME_DB


@pytest.mark.parametrize("path", [path for path in FILES if golden_of(path).model == "s"], ids=lambda path: path.stem)
def test_golden_file_without_its_weights_says_what_is_missing(path: Path, tmp_path: Path, capsys) -> None:
    assert main(["decode", str(path), str(tmp_path / "x.mkv")]) == 3
    assert "made with other weights of model 's'; give --weights FILE" in capsys.readouterr().err
