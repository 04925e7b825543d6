"""Rate control without a codec: sizes follow a model that the control does not know."""

import math
import random
from dataclasses import dataclass
from itertools import pairwise

import pytest

from vidcodec.errors import UsageError
from vidcodec.rate import DEFAULT_KBPS, RateControl, quality_or_rate

FLAT = (1.0,)
PATTERN = (3.2, 0.15, 0.4, 0.25)  # as the learned codec spends its bits


@dataclass(frozen=True)
class Source:
    """A codec's sizes: `base` bytes at quality 0, `spread` times as many at the highest, noise and pattern on top."""

    base: float = 25.0
    spread: float = 30.0
    noise: float = 0.25
    pattern: tuple[float, ...] = FLAT
    intra: float = 0.0

    def sizes(self, control: RateControl, frames: int, seed: int = 0) -> list[tuple[int, int]]:
        """`(quality, bytes)` of frames under a control; the first is `intra` times as large, if that is above 0."""
        rng = random.Random(seed)
        out = []
        for number in range(frames):
            share = (control.quality if control.quality > 0 else 0.4 * control.quality) / max(1, control.qualities - 1)
            intra = number == 0 and self.intra > 0
            size = self.base * self.spread**share * math.exp(rng.gauss(0, self.noise) - self.noise**2 / 2)
            size *= self.intra if intra else self.pattern[number % len(self.pattern)]
            out.append((control.quality, max(5, round(size))))
            control = control.after(control.quality, out[-1][1], intra)
        return out


def rate_kbps(frames: list[tuple[int, int]], fps: float = 30.0) -> float:
    return sum(size for _, size in frames) * 8 / 1000 / (len(frames) / fps)


@pytest.mark.parametrize("kbps", [15.0, 40.0, 65.0])
@pytest.mark.parametrize("spread", [12.0, 30.0, 60.0])
@pytest.mark.parametrize("pattern", [FLAT, PATTERN])
def test_mean_rate_settles_at_the_target_on_a_fine_scale(
    kbps: float, spread: float, pattern: tuple[float, ...]
) -> None:
    source = Source(spread=spread, pattern=pattern)
    assert rate_kbps(source.sizes(RateControl.start(kbps, 30, 64), 660)[60:]) == pytest.approx(kbps, rel=0.06)


def test_where_quality_zero_is_too_much_one_below_it_holds_the_rate() -> None:
    lowest = -24
    sizes = Source(base=100).sizes(RateControl.start(20, 30, 64, lowest), 660)[60:]
    assert rate_kbps(sizes) == pytest.approx(20, rel=0.06)
    asked = [quality for quality, _ in sizes]
    assert lowest < min(asked) and sum(asked) / len(asked) < -4
    assert rate_kbps(Source(base=100).sizes(RateControl.start(20, 30, 64), 660)[60:]) > 22


@pytest.mark.parametrize("pattern", [FLAT, PATTERN, (2.0, 0.5), (5.0, 0.2, 0.6, 0.3, 1.1, 0.2, 0.4, 0.2)])
def test_quality_is_steady_where_the_scene_is_whatever_the_pattern(pattern: tuple[float, ...]) -> None:
    source = Source(noise=0.1, pattern=pattern)
    qualities = [quality for quality, _ in source.sizes(RateControl.start(40, 30, 64), 600)][150:]
    assert max(qualities) - min(qualities) <= 12
    jumps = [abs(b - a) for a, b in pairwise(qualities)]
    assert max(jumps) <= 6 and sum(jumps) / len(jumps) < 1.6


def windows(frames: list[tuple[int, int]], fps: int = 30) -> list[float]:
    """kbit/s of the one-second window that begins at each frame."""
    return [rate_kbps(frames[at : at + fps]) for at in range(len(frames) - fps + 1)]


@pytest.mark.parametrize("kbps", [20.0, 40.0])
def test_most_seconds_are_within_ten_percent_and_all_near_where_the_scene_changes_slowly(kbps: float) -> None:
    control, frames, rng = RateControl.start(kbps, 30, 64), [], random.Random(3)
    for number in range(900):
        base = 30 * math.exp(0.5 * math.sin(2 * math.pi * number / 300) + rng.gauss(0, 0.1))
        size = round(base * 30 ** (control.quality / 63) * PATTERN[number % 4] * (8.0 if number == 0 else 1.0))
        frames.append((control.quality, size))
        control = control.after(control.quality, size, number == 0)
    errors = [abs(rate / kbps - 1) for rate in windows(frames[90:])]
    assert max(errors) < 0.25 and sum(error <= 0.1 for error in errors) >= 0.75 * len(errors)
    assert rate_kbps(frames[90:]) == pytest.approx(kbps, rel=0.02)


@dataclass(frozen=True)
class Learning:
    """Sizes as the learned codec's: a frame better than those before it costs more at first, motion comes and goes."""

    noise: float = 0.2
    rise: float = 0.05

    def sizes(self, control: RateControl, frames: int, again: bool) -> list[tuple[int, int]]:
        """`(quality, bytes)` of frames under a control, coded again where it asks for that."""
        rng, shown, out = random.Random(7), float(control.quality), []
        for number in range(frames):
            motion = 0.4 * math.sin(2 * math.pi * number / 170) + 0.4 * math.sin(2 * math.pi * number / 47)
            unit = 30 * math.exp(motion + rng.gauss(0, self.noise)) * PATTERN[number % 4]
            size = self._size(unit * (8.0 if number == 0 else 1.0), control.quality, shown)
            quality = control.quality
            if again and number and (other := control.again(quality, size)) is not None:
                quality, size = other, self._size(unit, other, shown)
            shown += 0.1 * (quality - shown)
            out.append((quality, size))
            control = control.after(quality, size, number == 0)
        return out

    def _size(self, unit: float, quality: int, shown: float) -> int:
        return max(4, round(unit * 30 ** (quality / 63) * math.exp(self.rise * (quality - shown))))


@pytest.mark.parametrize("kbps", [20.0, 40.0])
def test_frames_coded_again_hold_more_seconds_where_the_scene_moves(kbps: float) -> None:
    shares = []
    for again in (False, True):
        frames = Learning().sizes(RateControl.start(kbps, 30, 64), 900, again)[90:]
        shares.append(sum(abs(rate / kbps - 1) <= 0.1 for rate in windows(frames)) / (len(frames) - 29))
        assert rate_kbps(frames) == pytest.approx(kbps, rel=0.03)
    assert shares[1] >= 0.8 and shares[1] > shares[0]


def test_frame_as_foreseen_is_not_coded_again_and_one_far_larger_is_with_less() -> None:
    control = RateControl.start(36, 30, 64)
    for number in range(120):
        control = control.after(24, 500 if number % 8 == 0 else 100)
    assert control.again(24, 500) is None, "large at its place, as always"
    better = control.again(24, 1500)
    assert better is not None and better <= 24 - 3
    assert RateControl.start(40, 30, 64).again(24, 1500) is None, "nothing is foreseen before the first frame"


def test_better_frame_of_every_64th_is_foreseen() -> None:
    control = RateControl.start(40, 30, 64)
    for number in range(192):
        size = 1500 if number % 64 == 0 else 400 if number % 8 == 0 else 80
        control = control.after(24, size)
    assert control.again(24, 1500) is None, "the next one is due"
    assert control.after(24, 1500).again(24, 80) is None


def test_frame_without_reference_leaves_the_next_ones_half_of_the_second() -> None:
    control = RateControl.start(20, 30, 64).after(20, 6000, intra=True)
    assert sum(control.shares) == pytest.approx(15.0)


def test_burst_is_paid_back_within_the_next_seconds_without_ringing() -> None:
    control, frames = RateControl.start(40, 30, 64), []
    for number in range(420):
        size = round(25 * 30 ** (control.quality / 63) * (3.0 if 120 <= number < 135 else 1.0))
        frames.append((control.quality, size))
        control = control.after(control.quality, size)
    rates = windows(frames[90:])
    assert max(rates) < 1.5 * 40, "half a second at three times the cost is over before it is all spent"
    assert all(abs(rate / 40 - 1) < 0.1 for rate in rates[180:]), "four seconds on nothing is left of it"


@pytest.mark.parametrize("kbps", [10.0, 20.0, 40.0, 100.0])
def test_begins_where_a_face_at_the_rate_usually_stands(kbps: float) -> None:
    first = Source(base=45, noise=0.0).sizes(RateControl.start(kbps, 30, 64), 1)[0][1]
    assert first * 8 * 30 / 1000 == pytest.approx(kbps, rel=0.1)
    assert RateControl.start(kbps, 30, 8).quality == 3, "a codec of stills has another scale"


def test_large_first_frame_is_paid_back_and_does_not_upset_what_follows() -> None:
    frames = Source(pattern=PATTERN, intra=12.0).sizes(RateControl.start(40, 30, 64), 300)
    assert frames[0][1] > 1200
    assert rate_kbps(frames) == pytest.approx(40, rel=0.04)
    assert min(quality for quality, _ in frames[:60]) > 15


def test_coarse_scale_of_a_codec_without_references_alternates_and_holds_the_rate() -> None:
    control = RateControl.start(200, 30, 6)
    total = 0
    rng = random.Random(4)
    for number in range(900):
        size = round(150 * 25 ** (control.quality / 5) * math.exp(rng.gauss(0, 0.05)))
        total += size if number >= 90 else 0
        control = control.after(control.quality, size, intra=True)
    assert total * 8 / 1000 / (810 / 30) == pytest.approx(200, rel=0.1)


def test_impossible_targets_end_at_the_ends_of_the_scale() -> None:
    source = Source(base=100, noise=0.0)
    assert source.sizes(RateControl.start(1, 30, 64), 200)[-1][0] == 0
    assert source.sizes(RateControl.start(9000, 30, 64), 200)[-1][0] == 63


def test_scene_that_becomes_three_times_as_hard_is_followed_within_two_seconds() -> None:
    control = RateControl.start(40, 30, 64)
    for quality, size in Source(noise=0.1).sizes(control, 150):
        control = control.after(quality, size)
    frames = Source(base=75, noise=0.1).sizes(control, 150)
    assert rate_kbps(frames[60:]) < 44
    assert rate_kbps(frames) < 52


def test_new_rate_is_followed() -> None:
    control = RateControl.start(80, 30, 64)
    for quality, size in Source(noise=0.0).sizes(control, 120):
        control = control.after(quality, size)
    frames = Source(noise=0.1).sizes(control.with_rate(30, 30), 360)
    assert rate_kbps(frames[60:]) == pytest.approx(30, rel=0.08)


def test_balance_of_a_source_of_three_frames_a_minute_stays_bounded() -> None:
    control = RateControl.start(40, 0.05, 64)
    for number in range(200):
        control = control.after(control.quality, 100 + number % 7 * 30, number == 0)
    assert abs(control.balance) < 10


def test_control_is_a_value() -> None:
    control = RateControl.start(40, 30, 64)
    assert control.after(31, 300) == control.after(31, 300)
    assert control == RateControl.start(40, 30, 64)


def test_one_of_quality_and_rate_is_held_and_unasked_what_suits_the_codec() -> None:
    assert quality_or_rate(7, None, 64, "s") == (7, None)
    assert quality_or_rate(None, 55.0, 64, "s") == (None, 55.0)
    assert quality_or_rate(None, None, 64, "s") == (None, DEFAULT_KBPS)
    assert quality_or_rate(None, None, 8, "seed") == (4, None), "a codec of stills meets no bitrate of a call"


@pytest.mark.parametrize("quality", [-1, 8])
def test_quality_that_the_codec_has_not_is_said_with_those_it_has(quality: int) -> None:
    with pytest.raises(UsageError, match=f"--quality {quality}: model 'seed' has 0 to 7"):
        quality_or_rate(quality, None, 8, "seed")
