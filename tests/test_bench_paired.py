"""Medians of differences, and how sure they are."""

import random

import pytest

from vidcodec.bench.paired import LEAST_PAIRS, Rise, rise


def test_rise_is_the_median_of_differences_not_the_difference_of_medians() -> None:
    found = rise([(10, 13), (100, 101), (50, 52)])
    assert (found.middle, found.low, found.high, found.pairs) == (2, None, None, 3)
    assert rise([]) == Rise(None, None, None, 0)


@pytest.mark.parametrize(("count", "outside"), [(6, 0), (8, 0), (9, 1), (12, 2), (17, 4), (20, 5), (25, 7)])
def test_interval_is_the_sign_tests(count: int, outside: int) -> None:
    """Ranks as in the usual tables for a median at 95 %."""
    found = rise([(0.0, float(value)) for value in range(count)])
    assert (found.low, found.high) == (outside, count - 1 - outside)


def test_interval_holds_the_true_median_as_often_as_it_says() -> None:
    draw = random.Random(3)
    held = 0
    for _ in range(2000):
        pairs = [(0.0, 5.0 + draw.choice((-1, 1)) * draw.paretovariate(1.2)) for _ in range(15)]
        found = rise(pairs)
        assert found.low is not None and found.high is not None
        held += found.low <= 5.0 <= found.high
    assert held >= 0.94 * 2000


def test_a_bound_is_held_missed_or_not_known() -> None:
    sure = [(0.0, 4.0 + 0.1 * (number % 5)) for number in range(LEAST_PAIRS)]
    assert rise(sure).within(5.0) is True
    assert rise(sure).within(3.0) is False
    assert rise(sure).within(4.2) is None
    assert rise(sure[: LEAST_PAIRS - 1]).within(5.0) is None
