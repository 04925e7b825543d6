"""Scaling: areas are averaged, nothing shimmers, nothing shifts."""

import cv2
import numpy as np
import pytest

from sender.box import centre_box
from sender.capture import open_source
from sender.crop import SIDE, crop_to
from sender.scale import resize


@pytest.fixture(scope="module")
def sample() -> list[np.ndarray]:
    with open_source("sample", paced=False) as source:
        return [next(source.frames()).picture]


def test_shrinking_averages_areas() -> None:
    checks = np.indices((384, 384)).sum(0) % 2 * 255
    frame = np.repeat(checks[..., None], 3, 2).astype(np.uint8)
    assert np.abs(resize(frame, SIDE, SIDE).astype(int) - 127).max() <= 1


def test_enlarging_is_smooth_and_keeps_flat_areas_flat(sample: list[np.ndarray]) -> None:
    flat = np.full((60, 60, 3), 77, np.uint8)
    assert (resize(flat, SIDE, SIDE) == 77).all()
    small = cv2.resize(crop_to(sample[0], centre_box(640, 360)), (96, 96), interpolation=cv2.INTER_AREA)
    again = cv2.resize(resize(small, SIDE, SIDE), (96, 96), interpolation=cv2.INTER_AREA)
    assert np.mean((again.astype(float) - small) ** 2) < 4


@pytest.mark.parametrize("side", [768, 1080, 1317, 2160])
def test_large_picture_is_the_same_average_of_areas(sample: list[np.ndarray], side: int) -> None:
    large = cv2.resize(crop_to(sample[0], centre_box(640, 360)), (side, side), interpolation=cv2.INTER_CUBIC)
    plain = cv2.resize(large, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    error = resize(large, SIDE, SIDE).astype(float) - plain
    assert np.sqrt(np.mean(error**2)) < 2.0, "an odd row is left out at the far edge"
    assert abs(error.mean()) < 0.5


def test_picture_of_the_wanted_size_is_not_touched(sample: list[np.ndarray]) -> None:
    assert np.array_equal(resize(sample[0], 640, 360), sample[0])
    assert resize(sample[0][:, ::-1], 640, 360).flags.c_contiguous


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 1), (3, 2000)])
def test_extreme_shapes_are_taken(shape: tuple[int, int]) -> None:
    assert resize(np.full((*shape, 3), 50, np.uint8), 40, 30).shape == (30, 40, 3)
