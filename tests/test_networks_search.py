"""Motion search: finds motion that is there, sends nothing where nothing is saved."""

import cv2
import numpy as np
import pytest

from tests.tiny import moving_face
from vidcodec.networks.refine import refined, warp
from vidcodec.networks.search import LIMIT, luma, motion_price, search
from vidcodec.networks.vectors import motion_passes, predicted_vectors


def test_still_picture_has_no_vectors() -> None:
    frame = luma(moving_face(1)[0])
    assert not search(frame, frame).any()


@pytest.mark.parametrize("shift", [(4, 0), (-3, 5)])
def test_moved_picture_is_found_in_half_pixels(shift: tuple[int, int]) -> None:
    frame = luma(moving_face(1)[0])
    moved = np.roll(frame, shift[::-1], (0, 1))
    vectors = search(moved, frame)
    inner = vectors[2:-2, 2:-2].reshape(-1, 2)
    assert np.median(inner, axis=0).tolist() == [-2 * shift[0], -2 * shift[1]]
    assert np.abs(vectors).max() <= LIMIT


def test_dear_vectors_are_not_sent() -> None:
    a, b = (luma(f) for f in moving_face(2))
    cheap, dear = search(b, a, 0.0), search(b, a, 1e6)
    assert cheap.any() and not dear.any()
    assert motion_price(10.0) > motion_price(1000.0)


def left_over(now: np.ndarray, before: np.ndarray, vectors: np.ndarray) -> float:
    return float(((now - warp(before, vectors)) ** 2).sum())


@pytest.fixture(scope="module")
def moved() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A frame, its reference, and a field that is off by up to a pixel."""
    before = cv2.GaussianBlur(luma(moving_face(1)[0]), (0, 0), 1.5).astype(np.float32) / 255
    y, x = np.mgrid[0:12, 0:12]
    true = np.rint(np.stack([3 * np.sin(y / 4), 2 * np.cos(x / 5)], -1)).astype(np.int64)
    off = np.random.default_rng(0).integers(-1, 2, true.shape)
    return warp(before, true), before, true + off


def test_refined_vectors_leave_less_error(moved: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    now, before, rough = moved
    better = refined(rough, now, before, 0.0)
    assert left_over(now, before, better) < 0.5 * left_over(now, before, rough)


def test_the_dearer_a_bit_the_more_vectors_are_as_expected(moved: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    now, before, rough = moved
    fields = [refined(rough, now, before, price) for price in (0.0, 0.01, 10.0)]
    off = []
    for field in fields:
        where, near = motion_passes(12)[-1]
        expected, _ = predicted_vectors(field.reshape(-1, 2)[near], 0)
        off.append(int((field.reshape(-1, 2)[where] != expected).any(-1).sum()))
    assert off[0] > off[1] > off[2] == 0


def test_what_is_right_stays(moved: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    _, before, field = moved
    assert np.array_equal(refined(field, warp(before, field), before, 0.0), field)


def test_vectors_stay_within_what_can_be_coded() -> None:
    frame = luma(moving_face(1)[0]).astype(np.float32) / 255
    field = np.full((12, 12, 2), LIMIT)
    assert np.abs(refined(field, frame, np.roll(frame, 40, 1), 0.0)).max() <= LIMIT
