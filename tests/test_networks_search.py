"""Motion search: finds motion that is there, sends nothing where nothing is saved."""

import numpy as np
import pytest

from tests.tiny import moving_face
from vidcodec.networks.search import LIMIT, SearchCosts, luma, motion_costs, search


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
    cheap, dear = search(b, a, SearchCosts(0.0, 0.0)), search(b, a, SearchCosts(1e6, 1e6))
    assert cheap.any() and not dear.any()
    assert motion_costs(10.0).zero_gain > motion_costs(1000.0).zero_gain
