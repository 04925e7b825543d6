"""The ruler on real faces: peers stand where they are known to stand. Skipped where there are no development clips."""

import os
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from vidcodec.baselines.scaling import bicubic
from vidcodec.bench.cache import Cache
from vidcodec.bench.clips import Clip, find_clips, read_clip
from vidcodec.bench.coders import find_spec
from vidcodec.bench.rd import run
from vidcodec.bench.summary import CodecSummary, clip_deltas, summarise
from vidcodec.metrics import mse

DATA = Path(os.environ.get("VIDCODEC_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))

pytestmark = pytest.mark.skipif(not (DATA / "dev").is_dir(), reason="no development clips: set VIDCODEC_DATA")


@cache
def _clips() -> list[tuple[Path, Clip]]:
    """The first 45 frames of three clips."""
    return [(path, read_clip(path, 45)) for path in find_clips([DATA / "dev"])[2:10:3]]


@cache
def _summaries() -> dict[str, CodecSummary]:
    specs = [find_spec(name) for name in ("x264-veryfast", "svtav1", "vp8")]
    points, refused = run(_clips(), specs, Cache(None), jobs=2, frames=45)
    assert not refused
    return {row.codec: row for row in summarise(points, clip_deltas(points, "x264-veryfast"))}


@pytest.mark.parametrize(("scale", "expected"), [(2, 2.6e-4), (4, 1.0e-3), (8, 3.0e-3)])
def test_bicubic_error_is_the_known_one(scale: int, expected: float) -> None:
    clips = [read_clip(path, 3).frames[::2] for path in find_clips([DATA / "dev"])]
    found = np.mean([mse(frame, bicubic(frame, scale)) for clip in clips for frame in clip])
    assert found == pytest.approx(expected, rel=0.1)


def test_svt_av1_needs_about_half_the_bits_of_x264_veryfast() -> None:
    row = _summaries()["svtav1"]
    assert row.clips == 3 and row.bd_rate_percent is not None
    assert -62 < row.bd_rate_percent < -30


def test_vp8_needs_some_more_bits_than_x264_veryfast() -> None:
    row = _summaries()["vp8"]
    assert row.clips == 3 and row.bd_rate_percent is not None
    assert -15 < row.bd_rate_percent < 45
