"""What frames of running clips count in training."""

import numpy as np
import pytest

from vidcodec.train.evenness import LEAST, MOST, Evenness

NONE = np.zeros(2, bool)


def after(evenness: Evenness, losses: tuple[float, float], frames: int = 200) -> np.ndarray:
    for _ in range(frames):
        evenness.saw(np.array(losses), NONE)
    return evenness.shares(NONE)


def test_clips_count_the_same_when_the_exponent_is_one() -> None:
    shares = after(Evenness(2, 1.0), (0.2, 0.4))
    assert shares * (0.2, 0.4) == pytest.approx(np.full(2, np.sqrt(0.2 * 0.4)))


def test_clips_count_by_their_loss_when_the_exponent_is_zero() -> None:
    assert after(Evenness(2, 0.0), (0.1, 0.9)) == pytest.approx(1.0)


def test_no_clip_counts_for_next_to_nothing_or_for_all() -> None:
    shares = after(Evenness(2, 1.0), (1e-3, 10.0))
    assert shares.tolist() == [MOST, LEAST]


def test_clip_that_begins_anew_counts_one_and_its_first_loss_says_nothing() -> None:
    evenness = Evenness(2, 1.0)
    after(evenness, (0.2, 0.4))
    begun = np.array([False, True])
    assert evenness.shares(begun)[1] == 1.0
    evenness.saw(np.array([0.2, 100.0]), begun)
    assert evenness.shares(NONE)[1] == 1.0
    evenness.saw(np.array([0.2, 0.2]), NONE)
    assert np.ptp(evenness.shares(NONE)) == pytest.approx(0, abs=1e-6)


@pytest.mark.filterwarnings("error")
def test_loss_that_is_no_number_changes_nothing() -> None:
    evenness = Evenness(2, 0.7)
    evenness.saw(np.array([np.nan, np.inf]), NONE)
    assert evenness.shares(NONE).tolist() == [1.0, 1.0]
