"""Bjontegaard deltas against a published worked example and against curves with a known answer."""

import sys

import numpy as np
import pytest

from vidcodec.bdrate import Curve, bjontegaard
from vidcodec.errors import UsageError

# Joint submission JCTVC-E137, as used by the tests of Netflix's VMAF tools, whose pchip result is the expected value.
E137_ANCHOR = ([108048.8736, 61279.976, 33905.6656, 18883.6928], [43.6471, 40.3953, 37.247, 34.2911])
E137_OTHER = ([108061.2784, 61299.9936, 33928.7472, 18910.912], [43.6768, 40.4232, 37.2761, 34.3147])
E137_BD_RATE_PERCENT = -0.465215420752807


def _law(rates: np.ndarray, offset: float = 0.0, factor: float = 1.0) -> Curve:
    """PSNR that is a smooth concave function of log rate; `factor` times the bits, `offset` decibels on top."""
    log_rate = np.log(rates)
    return Curve.of(list(rates * factor), list(10 + 8 * log_rate - 0.45 * log_rate**2 + offset))


def test_published_worked_example() -> None:
    delta = bjontegaard(Curve.of(*E137_ANCHOR), Curve.of(*E137_OTHER))
    assert delta.rate_percent == pytest.approx(E137_BD_RATE_PERCENT, abs=1e-9)
    assert delta.overlap_db == (34.3147, 43.6471)


def test_curve_with_a_fifth_more_bits_has_a_bd_rate_of_20_percent() -> None:
    rates = np.geomspace(10, 150, 7)
    delta = bjontegaard(_law(rates), _law(rates, factor=1.2))
    assert delta.rate_percent == pytest.approx(20.0, abs=1e-9)
    assert delta.overlap_share == pytest.approx(1.0)


def test_curve_a_decibel_above_has_a_bd_psnr_of_one() -> None:
    rates = np.geomspace(10, 150, 7)
    delta = bjontegaard(_law(rates), _law(rates, offset=1.0))
    assert delta.psnr_db == pytest.approx(1.0, abs=1e-9)
    assert delta.rate_percent is not None and delta.rate_percent < 0


def test_known_answer_survives_other_sample_points() -> None:
    delta = bjontegaard(_law(np.geomspace(10, 150, 7)), _law(np.geomspace(13, 190, 9), factor=0.5))
    assert delta.rate_percent == pytest.approx(-50.0, abs=0.2)


def test_swapping_curves_inverts_the_ratio() -> None:
    a, b = Curve.of(*E137_ANCHOR), Curve.of([20000, 40000, 60000, 90000], [35, 38.2, 40.1, 42])
    there, back = bjontegaard(a, b).rate_percent, bjontegaard(b, a).rate_percent
    assert there is not None and back is not None
    assert (1 + there / 100) * (1 + back / 100) == pytest.approx(1.0)


def test_curves_that_do_not_meet_have_no_delta() -> None:
    rates = np.geomspace(10, 150, 7)
    delta = bjontegaard(_law(rates), _law(rates, offset=60.0))
    assert delta.rate_percent is None and delta.overlap_db is None and delta.overlap_share == 0


def test_points_that_a_cheaper_point_beats_are_left_out() -> None:
    curve = Curve.of([30, 10, 20, 25, 20], [33.0, 30.0, 32.0, 31.5, 31.0])
    assert curve.rates_kbps == (10.0, 20.0, 30.0)
    assert curve.psnr_db == (30.0, 32.0, 33.0)


def test_rate_at_psnr_goes_through_the_points_and_stops_at_the_ends() -> None:
    curve = Curve.of([10, 20, 40, 80], [30, 32, 34, 35])
    assert curve.rate_at(32) == pytest.approx(20)
    assert curve.psnr_at(40) == pytest.approx(34)
    assert 20 < (curve.rate_at(33) or 0) < 40
    assert curve.rate_at(29.9) is None and curve.rate_at(35.1) is None and curve.psnr_at(81) is None


def test_bad_curves_are_usage_errors() -> None:
    good = Curve.of([10, 20, 40, 80], [30, 32, 34, 35])
    with pytest.raises(UsageError, match="at least 4"):
        bjontegaard(good, Curve.of([10, 20, 40], [30, 32, 34]))
    with pytest.raises(UsageError, match="as many"):
        Curve.of([1, 2], [3])
    with pytest.raises(UsageError, match="above zero"):
        Curve.of([0, 2], [3, 4])
    with pytest.raises(UsageError, match="finite"):
        Curve.of([1, 2], [3, float("nan")])


def test_without_scipy_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.interpolate", None)
    with pytest.raises(UsageError, match=r"pip install -e '\.\[bench\]'"):
        bjontegaard(Curve.of(*E137_ANCHOR), Curve.of(*E137_OTHER))
