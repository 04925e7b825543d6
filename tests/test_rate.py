"""Rate control without a codec: sizes follow a model that the control does not know."""

import math
import random

import pytest

from vidcodec.rate import RateControl


def run(
    control: RateControl, frames: int, spread: float, noise: float, *, base: float, seed: int = 0
) -> list[tuple[int, int]]:
    """`(quality, bytes)` of frames whose size grows `spread`-fold over the qualities, with log-normal noise."""
    rng = random.Random(seed)
    out = []
    for _ in range(frames):
        share = control.quality / max(1, control.qualities - 1)
        size = round(base * spread**share * math.exp(rng.gauss(0, noise)))
        out.append((control.quality, size))
        control = control.after(control.quality, size)
    return out


@pytest.mark.parametrize("kbps", [15.0, 40.0, 65.0])
@pytest.mark.parametrize("spread", [12.0, 30.0, 60.0])
def test_mean_rate_settles_at_the_target_on_a_fine_scale(kbps: float, spread: float) -> None:
    sizes = run(RateControl.start(kbps, 30, 64), 600, spread, 0.25, base=25)
    tail = [size for _, size in sizes[60:]]
    assert sum(tail) * 8 / 1000 / (len(tail) / 30) == pytest.approx(kbps, rel=0.06)


def test_quality_is_steady_where_the_scene_is() -> None:
    qualities = [quality for quality, _ in run(RateControl.start(40, 30, 64), 600, 30.0, 0.1, base=25)][90:]
    assert max(qualities) - min(qualities) <= 8


def test_coarse_scale_alternates_and_still_holds_the_rate() -> None:
    sizes = run(RateControl.start(200, 30, 6), 900, 25.0, 0.05, base=150)
    tail = [size for _, size in sizes[90:]]
    assert sum(tail) * 8 / 1000 / (len(tail) / 30) == pytest.approx(200, rel=0.1)


def test_impossible_targets_end_at_the_ends_of_the_scale() -> None:
    assert run(RateControl.start(1, 30, 64), 200, 30.0, 0.0, base=100)[-1][0] == 0
    assert run(RateControl.start(9000, 30, 64), 200, 30.0, 0.0, base=100)[-1][0] == 63


def test_large_first_frame_is_paid_back_within_two_seconds() -> None:
    control = RateControl.start(40, 30, 64).after(31, 4000)
    sizes = run(control, 60, 30.0, 0.1, base=25)
    assert (4000 + sum(size for _, size in sizes)) * 8 / 1000 / 2 < 40 * 1.3


def test_new_rate_is_followed() -> None:
    control = RateControl.start(80, 30, 64)
    for quality, size in run(control, 120, 30.0, 0.0, base=25):
        control = control.after(quality, size)
    lower = control.with_rate(30, 30)
    sizes = [size for _, size in run(lower, 300, 30.0, 0.1, base=25)][60:]
    assert sum(sizes) * 8 / 1000 / (len(sizes) / 30) == pytest.approx(30, rel=0.08)


def test_control_is_a_value() -> None:
    control = RateControl.start(40, 30, 64)
    assert control.after(31, 300) == control.after(31, 300)
    assert control == RateControl.start(40, 30, 64)
