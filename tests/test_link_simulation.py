"""Whole calls over simulated networks: what a viewer sees of losses and narrow paths, the same at each run."""

from dataclasses import replace
from itertools import pairwise

import link_simulation
import pytest
from link_simulation import SimulatedCall

from vidcodec.bench.callfigures import Course, ShownFrame, step_figures
from vidcodec.link.impair import parse_impairment


def test_call_without_losses_shows_every_frame_at_once() -> None:
    seen = SimulatedCall("delay=20").run(20.0)
    assert len(seen.shown) >= 0.99 * seen.captured and seen.freezes == 0
    assert seen.total_ms(0.99) < 60.0


@pytest.mark.parametrize(("network", "least", "most_freezes"), [("loss=2", 0.99, 1), ("loss=10", 0.95, 4)])
def test_random_losses_are_repaired_before_a_viewer_sees_them(network: str, least: float, most_freezes: int) -> None:
    call = SimulatedCall(f"delay=20,{network}", seed=2)
    seen = call.run(40.0)
    assert len(seen.shown) >= least * seen.captured
    assert seen.freezes <= most_freezes and seen.total_ms(0.95) <= 150.0


def test_bursts_of_losses_are_noticed_before_a_viewer_sees_them_as_freezes() -> None:
    gaps = []
    for seed in range(1, 5):
        seen = SimulatedCall("delay=20,loss=5,burst=3", seed=seed).run(40.0)
        times = [shown for _, _, shown in seen.shown]
        gaps += [later - shown for shown, later in pairwise(times)]
        assert len(seen.shown) >= 0.97 * seen.captured and seen.freezes <= 1
    assert sum(gap > 150.0 for gap in gaps) <= 8


def test_sending_again_costs_less_and_repairs_more_than_carrying_each_packet_twice() -> None:
    resent = SimulatedCall("delay=20,loss=5,burst=3", repair="resend").run(40.0)
    repeated = SimulatedCall("delay=20,loss=5,burst=3", repair="repeat").run(40.0)
    assert resent.wire < 0.95 * repeated.wire
    assert resent.freezes < repeated.freezes and len(resent.shown) > len(repeated.shown)


@pytest.mark.parametrize(("rate", "fps", "one_way_ms"), [(100, 24.0, 130.0), (60, 20.0, 140.0), (40, 18.0, 150.0)])
def test_narrow_path_carries_a_moving_picture_without_building_up_delay(
    rate: int, fps: float, one_way_ms: float
) -> None:
    call = SimulatedCall(f"delay=20,rate={rate}", 150.0)
    seen = call.run(40.0)
    assert seen.fps(40.0) >= fps and seen.one_way_ms(0.95) <= one_way_ms
    early, late = seen.delays[: len(seen.delays) // 2], seen.delays[len(seen.delays) // 2 :]
    assert sum(late) / len(late) < sum(early) / len(early) + 20.0


@pytest.mark.parametrize(
    ("rate", "loss", "fps", "most_freezes", "one_way_ms"),
    [(200, 5, 26.0, 5, 110.0), (100, 10, 26.0, 5, 110.0), (60, 5, 26.0, 4, 120.0), (40, 2, 20.0, 7, 150.0)],
)
def test_path_that_is_narrow_and_loses_keeps_moving(
    rate: int, loss: int, fps: float, most_freezes: int, one_way_ms: float
) -> None:
    seen = SimulatedCall(f"delay=20,rate={rate},loss={loss}", 150.0).run(40.0)
    assert seen.fps(40.0) >= fps and seen.freezes <= most_freezes and seen.one_way_ms(0.95) <= one_way_ms


def test_frames_in_the_queue_of_a_path_that_loses_are_not_sent_again() -> None:
    call = SimulatedCall("delay=20,rate=100,loss=2", 150.0, repair="resend")
    call.run(40.0)
    repeated = call.flow._counters.frames_repeated
    assert call.forth.lost <= repeated <= 5 * call.forth.lost


@pytest.mark.parametrize("rate", [40, 60])
def test_call_begins_without_filling_the_queue_of_a_narrow_path(rate: int) -> None:
    call = SimulatedCall(f"delay=20,rate={rate}", 150.0)
    seen = call.run(4.0)
    assert max(seen.delays[1:]) < 350.0, "all but the first frame, which is the largest"
    assert seen.fps(4.0) > 15.0


@pytest.mark.parametrize(("rate", "fps", "one_way_ms"), [(30, 22.0, 165.0), (20, 19.0, 200.0)])
def test_path_of_the_least_rates_is_not_taken_for_wider_than_it_is(rate: int, fps: float, one_way_ms: float) -> None:
    call = SimulatedCall(f"delay=20,rate={rate}", 150.0)
    rates: list[float] = []
    for second in range(10, 40):
        call.at(1000.0 * second, lambda now: rates.append(call.flow.window.rate_kbps))
    seen = call.run(40.0)
    assert 0.8 * rate <= min(rates) and max(rates) <= 1.25 * rate
    assert seen.fps(40.0) >= fps and seen.one_way_ms(0.95) <= one_way_ms


def test_call_whose_first_frame_is_lost_begins_anew_with_a_smaller_one() -> None:
    path = parse_impairment("delay=20,rate=30")
    call = SimulatedCall(path, 150.0)
    call.forth.impairment = replace(path, trace=((0.0, replace(path, loss_percent=100.0)), (0.5, path)))
    seen = call.run(4.0)
    captured, _, shown = seen.shown[0]
    assert 800.0 <= captured <= 900.0 and shown - captured < 400.0
    assert seen.fps(4.0) > 6.0 and max(shown - captured for captured, _, shown in seen.shown[1:]) < 350.0


def test_first_frame_of_two_datagrams_passes_a_queue_that_does_not_hold_both(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_simulation, "INTRA_SIZES", tuple(2 * size for size in link_simulation.INTRA_SIZES))
    for seed in range(1, 4):
        call = SimulatedCall("delay=20,rate=20", 150.0, seed)
        seen = call.run(10.0)
        assert call.forth.overflowed <= 1, "of what left before the path was known"
        assert seen.shown[0][2] < 2000.0 and seen.fps(10.0) > 7.0


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_path_that_changes_its_width_is_used_to_four_fifths_and_delays_little(seed: int) -> None:
    wide = parse_impairment("delay=20,rate=150")
    narrow = replace(wide, rate_kbps=50.0)
    call = SimulatedCall(replace(wide, trace=((0.0, wide), (20.0, narrow), (40.0, wide))), 150.0, seed)
    seen = call.run(60.0)
    shown = tuple(
        ShownFrame(captured, at, received - delay, received)
        for (captured, received, at), delay in zip(seen.shown, seen.delays, strict=False)
    )
    steps = step_figures(
        Course(0.0, 60.0, seen.captured, None, shown, tuple(seen.wire_at)), (20.0, 40.0), (150, 50, 150)
    )
    assert min(steps["use_percent"]) >= 82
    assert steps["settles_down_s"] <= 2.0 and steps["settles_up_s"] <= 1.3
    assert seen.one_way_ms(0.99) <= 400.0 and seen.fps(60.0) >= 25.0
