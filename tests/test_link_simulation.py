"""Whole calls over simulated networks: what a viewer sees of losses and narrow paths, the same at each run."""

import pytest
from link_simulation import SimulatedCall


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


@pytest.mark.parametrize("rate", [40, 60])
def test_call_begins_without_filling_the_queue_of_a_narrow_path(rate: int) -> None:
    call = SimulatedCall(f"delay=20,rate={rate}", 150.0)
    seen = call.run(4.0)
    assert max(seen.delays[1:]) < 350.0, "all but the first frame, which is the largest"
    assert seen.fps(4.0) > 15.0
