"""How many frames and messages a second a path of some width gets."""

from itertools import pairwise

import pytest

from sender.cadence import (
    FRAME_S,
    HEADERS,
    LEAST_SHARE,
    Cadence,
    CadenceChooser,
    FrameCap,
    Headroom,
    TakenRate,
    Thinner,
    after_frame,
    ladder,
    needed_bytes,
)
from vidcodec.rate import PATTERN, RateControl
from vidcodec.wire import wire_bytes


def budget_of(rate_kbps: float):  # type: ignore[no-untyped-def]
    """What the link says: bytes of a message beside its headers."""
    return lambda messages_per_s: max(0.0, rate_kbps * 125.0 / messages_per_s - wire_bytes(1))


@pytest.mark.parametrize(
    ("rate_kbps", "cadence"),
    [
        (300.0, Cadence(30.0, 1)),
        (51.0, Cadence(30.0, 1)),
        (34.0, Cadence(30.0, 2)),
        (22.0, Cadence(15.0, 1)),
        (16.0, Cadence(10.0, 1)),
        (5.0, Cadence(10.0, 1)),
    ],
)
def test_narrower_paths_get_fewer_messages_then_fewer_frames(rate_kbps: float, cadence: Cadence) -> None:
    chosen = CadenceChooser(30.0).choose(70.0, budget_of(rate_kbps), 0.0)
    assert (round(chosen.fps, 3), chosen.per_message) == (cadence.fps, cadence.per_message)


def test_way_up_takes_more_than_enough_for_two_seconds() -> None:
    chooser = CadenceChooser(30.0)
    assert chooser.choose(70.0, budget_of(34.0), 0.0).per_message == 2
    assert chooser.choose(70.0, budget_of(41.0), 1.0).per_message == 2, "enough, and no more than that"
    assert chooser.choose(70.0, budget_of(60.0), 2.0).per_message == 2
    assert chooser.choose(70.0, budget_of(41.0), 3.0).per_message == 2
    assert chooser.choose(70.0, budget_of(60.0), 4.0).per_message == 2
    assert chooser.choose(70.0, budget_of(60.0), 6.1).per_message == 1


def test_frame_too_large_is_coded_again_and_the_next_at_its_place_starts_where_that_ended() -> None:
    cap = FrameCap()
    assert cap.quality(8, 40) == 40
    assert cap.again(8, 40, 1000, 500.0) == 26
    assert cap.quality(16, 40) == 26 and cap.quality(17, 40) == 40
    assert cap.again(16, 26, 490, 500.0) is None
    assert cap.quality(24, 40) == 26
    assert cap.again(24, 26, 300, 500.0) is None
    assert cap.quality(32, 40) == 27, "what fits easily gets a little more"
    assert cap.again(32, 27, 100, 500.0) is None
    assert cap.quality(40, 40) == 35, "and what fits many times over gets a good part of it at once"
    assert cap.again(9, 0, 1000, 500.0) is None


def test_rate_control_goes_on_from_what_it_wanted() -> None:
    control = RateControl.start(40.0, 30.0, 64)
    for _ in range(20):
        control = control.after(control.quality, 160)
    wanted = control.quality
    assert after_frame(control, wanted - 15, 160, False).quality >= wanted - 3
    assert after_frame(control, wanted, 160, False) == control.after(wanted, 160, False)


def test_slow_source_keeps_all_its_frames() -> None:
    assert ladder(10.0) == (Cadence(10.0),)
    assert min(step.fps for step in ladder(25.0)) >= 9.9


def test_need_follows_the_sizes_of_the_last_frames() -> None:
    control = RateControl.start(40.0, 30.0, 64)
    assert needed_bytes(control) == 60.0
    for _ in range(20):
        control = control.after(20, 200)
    small = needed_bytes(control)
    for _ in range(20):
        control = control.after(20, 400)
    assert needed_bytes(control) == pytest.approx(2 * small) and 100 < small < 200


@pytest.mark.parametrize(("fps", "kept"), [(30.0, 300), (20.0, 200), (15.0, 150), (10.0, 100)])
def test_frames_are_left_out_evenly(fps: float, kept: int) -> None:
    thinner = Thinner()
    times = [number / 30.0 + 0.004 * (number % 3) for number in range(300)]
    stay = [at for at in times if thinner.keeps(at, fps, 30.0)]
    assert len(stay) == pytest.approx(kept, abs=3)
    assert max(b - a for a, b in pairwise(stay)) < 1.0 / fps + 1.2 / 30.0


def test_pause_is_not_made_up_for() -> None:
    thinner = Thinner()
    stay = [
        at
        for at in [*(n / 30.0 for n in range(30)), *(20.0 + n / 30.0 for n in range(30))]
        if thinner.keeps(at, 15.0, 30.0)
    ]
    assert len(stay) == pytest.approx(30, abs=2)


def test_starved_encoder_gives_its_few_frames_the_bytes_of_all() -> None:
    taken = TakenRate()
    assert taken.of(30.0) == 30.0, "nothing is known yet"
    for frame in range(60):
        taken.took(frame / 30.0 + 0.006 * (frame % 3))
    assert taken.of(30.0) == 30.0 and taken.of(15.0) == 15.0
    for frame in range(60):
        taken.took(2.0 + frame / 6.0)
    assert taken.of(30.0) == pytest.approx(6.0, rel=0.1) and taken.of(5.0) == 5.0
    taken.took(60.0)
    assert taken.of(30.0) > 4.0, "a pause is no frame rate"


def test_frame_below_quality_zero_is_left_as_the_rate_control_wants_it() -> None:
    cap = FrameCap()
    assert cap.again(3, 20, 4000, 400.0) == 0
    assert cap.quality(3 + PATTERN, 10) == 0, "no frame gives up more than quality 0"
    assert cap.quality(3 + PATTERN, -6) == -6 and cap.again(4, -6, 4000, 400.0) is None


def test_plan_falls_only_where_many_frames_find_the_window_closed() -> None:
    budget = budget_of(40.0)
    some, many = Headroom(), Headroom()
    for number in range(300):
        some.refused() if number % 5 == 0 else some.taken()
        many.refused() if number % 2 == 0 else many.taken()
    assert some.of(budget(30.0)) > 0.9 * budget(30.0)
    assert many.of(budget(10.0)) + HEADERS == pytest.approx(LEAST_SHARE * (budget(10.0) + HEADERS), rel=0.05)
    for _ in range(30):
        many.taken()
    assert many.of(budget(30.0)) == budget(30.0)


def test_plan_has_no_less_than_nothing() -> None:
    headroom = Headroom()
    for _ in range(50):
        headroom.refused()
    assert headroom.of(budget_of(22.0)(30.0)) == 0.0


def test_frame_may_take_longer_where_messages_are_far_apart() -> None:
    assert Cadence(30.0).longest_s == FRAME_S
    assert Cadence(10.0).longest_s == pytest.approx(0.08)
