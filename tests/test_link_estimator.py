"""The bandwidth estimator in a closed loop with a simulated path: no clock, no socket, the same result every time."""

import heapq
import random
from dataclasses import dataclass, field, replace

import pytest

from vidcodec.link.estimator import FALL, PING_BYTES, BandwidthEstimator, DelayDetector, Usage
from vidcodec.link.impair import Direction, Impairment, parse_impairment
from vidcodec.link.pacing import Flight, Window

FPS = 30.0


@dataclass
class Run:
    """What a simulated call saw: one-way delays and rates by time of sending, in ms, kbit/s."""

    delays: list[tuple[float, float]] = field(default_factory=list)
    rates: list[tuple[float, float]] = field(default_factory=list)
    delivered: list[tuple[float, int]] = field(default_factory=list)
    refused: int = 0

    def delay_ms(self, share: float, after_ms: float = 1500.0) -> float:
        kept = sorted(delay for at, delay in self.delays if at > after_ms)
        return kept[int(share * (len(kept) - 1))]

    def goodput_kbps(self, start_ms: float, end_ms: float) -> float:
        return sum(size for at, size in self.delivered if start_ms <= at < end_ms) * 8.0 / (end_ms - start_ms)


def call(
    path: Impairment | str,
    seconds: float = 60.0,
    initial_kbps: float = 300.0,
    *,
    most_kbps: float = 5000.0,
    seed: int = 1,
    stall_ms: float = 0.0,
) -> Run:
    """An encoder that follows the estimate, through the window and the path; the receiver's clock is far off."""
    path = parse_impairment(path) if isinstance(path, str) else path
    forth = Direction(path, random.Random(seed))
    generator = random.Random(seed + 1)
    estimator, window, run = BandwidthEstimator(initial_kbps), Window(initial_kbps), Run()
    acks: list[tuple[float, int, float, float, int]] = []
    for frame in range(int(seconds * FPS)):
        now = frame * 1000.0 / FPS
        while acks and acks[0][0] <= now:
            at, number, sent, received, size = heapq.heappop(acks)
            window.acknowledged(number, at)
            estimator.acknowledged(sent, received + 1e9, size, at)
        for _ in window.lost(now):
            estimator.lost(now)
        window.rate_kbps = estimator.rate_kbps
        run.rates.append((now, estimator.rate_kbps))
        target_kbps = 0.95 * min(estimator.rate_kbps, most_kbps)
        size = max(110, int(target_kbps * 125.0 / FPS * generator.uniform(0.7, 1.3)))
        if not window.is_open:
            run.refused += 1
            continue
        window.sent(Flight(frame, size, now))
        arrival = forth.deliver_ms(size - 28, now)
        if arrival is None:
            continue
        stall = random.Random(int(arrival / 1000.0)).uniform(0.0, 700.0)
        if stall_ms and 0.0 <= arrival % 1000.0 - stall < stall_ms:
            arrival += stall_ms - (arrival % 1000.0 - stall)
        run.delays.append((now, arrival - now))
        run.delivered.append((arrival, size))
        heapq.heappush(acks, (arrival + path.delay_ms, frame, now, arrival, size))
    return run


@pytest.mark.parametrize("rate_kbps", [40, 60, 100, 300, 1000])
def test_narrow_path_is_used_to_four_fifths_and_delays_no_frame_by_more_than_150_ms(rate_kbps: int) -> None:
    run = call(f"rate={rate_kbps},delay=20")
    assert run.goodput_kbps(2_000.0, 60_000.0) > 0.8 * rate_kbps
    assert run.delay_ms(0.95) < 150.0
    early, late = run.goodput_kbps(10_000.0, 30_000.0), run.goodput_kbps(40_000.0, 60_000.0)
    assert late == pytest.approx(early, rel=0.15)


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("losses", ["loss=10", "loss=5,burst=3", "loss=2"])
def test_random_losses_are_not_taken_for_congestion(losses: str, seed: int) -> None:
    run = call(f"rate=100,delay=20,{losses}", seed=seed)
    assert run.goodput_kbps(2_000.0, 60_000.0) > 58.0
    assert run.delay_ms(0.95) < 150.0


def test_step_down_and_up_again_settles() -> None:
    wide, narrow = parse_impairment("delay=20,rate=150"), parse_impairment("delay=20,rate=50")
    run = call(replace(wide, trace=((0.0, wide), (20.0, narrow), (40.0, wide))))
    rates = dict(run.rates)
    assert min(rates[at] for at in rates if 20_000.0 <= at < 22_000.0) < 50.0
    assert max(rates[at] for at in rates if 40_000.0 <= at < 43_000.0) > 0.8 * 150.0
    assert run.goodput_kbps(22_000.0, 40_000.0) > 40.0 and run.goodput_kbps(43_000.0, 60_000.0) > 120.0
    assert run.delay_ms(0.99) < 400.0


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_path_that_became_wider_is_seen_by_how_little_time_large_frames_take(seed: int) -> None:
    estimator = BandwidthEstimator(150.0)
    generator, free_ms = random.Random(seed), 0.0
    for number in range(400):
        sent_ms = 33.0 * number
        kbps = 50.0 if sent_ms < 10_000.0 else 150.0
        size = 360 if number % 4 == 0 else int(110 * generator.uniform(0.95, 1.05))
        free_ms = max(free_ms, sent_ms) + size * 8.0 / kbps
        estimator.acknowledged(sent_ms, free_ms + 20.0 + generator.uniform(0.0, 2.0), size, free_ms + 40.0)
        if sent_ms < 10_000.0:
            assert estimator.proven_kbps < 55.0, "no frame proves more than the path carries"
    assert 100.0 < estimator.proven_kbps < 155.0


def test_start_far_above_the_path_recovers_within_seconds() -> None:
    run = call("rate=40,delay=20", initial_kbps=1000.0)
    assert dict(run.rates)[10_000.0] < 70.0
    assert run.delay_ms(0.95, after_ms=10_000.0) < 160.0


def test_short_queue_that_overflows_is_noticed_by_its_losses() -> None:
    run = call("rate=100,delay=20,queue=60")
    assert run.goodput_kbps(2_000.0, 60_000.0) > 75.0
    assert len(run.delivered) > 0.93 * (60 * FPS - run.refused)


def test_open_path_is_explored_and_a_rate_that_is_not_used_is_not_raised_for_ever() -> None:
    assert dict(call("delay=20", 20.0).rates)[19_000.0] > 3000.0
    assert max(rate for _, rate in call("delay=20", 60.0, most_kbps=40.0).rates) < 320.0


@pytest.mark.parametrize("stall_ms", [100.0, 250.0])
def test_stalls_of_a_busy_machine_refuse_no_frame_of_a_call_that_uses_little(stall_ms: float) -> None:
    run = call("delay=1", 60.0, initial_kbps=500.0, most_kbps=50.0, stall_ms=stall_ms)
    assert run.refused == 0
    assert min(rate for _, rate in run.rates) > 200.0


def test_stalls_do_not_hide_a_narrow_path() -> None:
    run = call("rate=100,delay=20", stall_ms=150.0)
    assert run.goodput_kbps(2_000.0, 60_000.0) > 75.0 and run.delay_ms(0.95) < 200.0


def test_long_path_is_used() -> None:
    assert call("rate=200,delay=200").goodput_kbps(3_000.0, 60_000.0) > 140.0


def test_blackout_is_survived_and_the_rate_comes_back() -> None:
    good, dead = parse_impairment("delay=20,rate=100"), parse_impairment("loss=100")
    run = call(replace(good, trace=((0.0, good), (20.0, dead), (22.0, good))))
    assert run.goodput_kbps(28_000.0, 60_000.0) > 75.0


def test_rate_stays_in_its_limits() -> None:
    estimator = BandwidthEstimator(100.0, min_kbps=20.0, max_kbps=120.0)
    for number in range(2000):
        now = 33.0 * number
        estimator.acknowledged(now, now + 20.0, 1000, now + 40.0)
    assert estimator.rate_kbps == 120.0
    for number in range(2000, 4000):
        estimator.lost(33.0 * number)
    assert estimator.rate_kbps == 20.0 and estimator.loss == 1.0


def test_one_late_frame_is_no_queue_and_a_growing_delay_is() -> None:
    detector = DelayDetector()
    for number in range(30):
        detector.add(33.0 * number, 33.0 * number + 5020.0 + (100.0 if number == 20 else 0.0))
        assert detector.usage(40.0) is Usage.FREE
    for number in range(30, 45):
        detector.add(33.0 * number, 33.0 * number + 5020.0 + 12.0 * (number - 30))
    assert detector.usage(40.0) is Usage.OVERUSED
    for number in range(45, 52):
        detector.add(33.0 * number, 33.0 * number + 5020.0 + 168.0 - 20.0 * (number - 44))
    assert detector.usage(40.0) in (Usage.DRAINING, Usage.FREE)


def arrivals(estimator: BandwidthEstimator, kbps: float, sizes: list[int], every_ms: float) -> None:
    """Frames of these sizes, one each `every_ms`, over a path of `kbps` and 20 ms; told when they arrive."""
    free_ms = 0.0
    for number, size in enumerate(sizes):
        sent_ms = every_ms * number
        free_ms = max(free_ms, sent_ms) + size * 8.0 / kbps
        estimator.acknowledged(sent_ms, free_ms + 20.0, size, free_ms + 40.0)


def test_frames_that_queue_tell_what_the_path_carries_though_less_is_sent_on_average() -> None:
    estimator = BandwidthEstimator(150.0)
    arrivals(estimator, 50.0, [700, *[120] * 9, 700, *[120] * 9], 33.0)
    assert estimator.carried_kbps == pytest.approx(50.0, rel=0.01)
    received = estimator.received_kbps
    assert received is not None and received < 45.0


def test_frames_that_never_queue_tell_nothing_of_the_capacity() -> None:
    estimator = BandwidthEstimator(150.0)
    arrivals(estimator, 50.0, [150] * 40, 33.0)
    assert estimator.carried_kbps is None


@pytest.mark.parametrize("kbps", [40.0, 100.0])
def test_first_two_frames_tell_a_narrow_path(kbps: float) -> None:
    estimator = BandwidthEstimator(150.0)
    arrivals(estimator, kbps, [2200, 150], 600.0)
    assert 0.85 * kbps < estimator.rate_kbps < kbps


@pytest.mark.parametrize("kbps", [20.0, 60.0])
def test_first_frame_alone_tells_a_narrow_path_where_a_ping_was_quicker(kbps: float) -> None:
    estimator = BandwidthEstimator(150.0)
    took_ms = 1200 * 8.0 / kbps
    ping_ms = PING_BYTES * 8.0 / kbps
    estimator.acknowledged(0.0, took_ms + 20.0, 1200, took_ms + 40.0, queue_ms=took_ms - ping_ms)
    assert estimator.rate_kbps == pytest.approx(FALL * kbps)


def test_first_frame_that_a_stall_held_up_for_a_moment_changes_nothing() -> None:
    estimator = BandwidthEstimator(150.0)
    estimator.acknowledged(0.0, 75.0, 1200, 95.0, queue_ms=50.0)
    assert estimator.rate_kbps == 150.0


def test_a_path_of_ten_kbps_is_estimated_below_what_it_carries() -> None:
    estimator = BandwidthEstimator(150.0)
    arrivals(estimator, 10.0, [120] * 60, 60.0)
    assert 8.0 <= estimator.rate_kbps < 10.0


def test_first_two_frames_of_a_wide_path_change_nothing() -> None:
    estimator = BandwidthEstimator(150.0)
    arrivals(estimator, 2000.0, [2200, 150], 600.0)
    assert estimator.rate_kbps == 150.0


def test_queue_that_stood_before_the_first_frame_is_seen_where_clocks_were_compared() -> None:
    blind, told = BandwidthEstimator(150.0), BandwidthEstimator(150.0)
    for number in range(30):
        sent_ms = 33.0 * number
        received_ms = sent_ms + 440.0
        blind.acknowledged(sent_ms, received_ms, 160, received_ms + 20.0)
        told.acknowledged(sent_ms, received_ms, 160, received_ms + 20.0, queue_ms=400.0)
    assert blind.rate_kbps >= 150.0 and told.rate_kbps < 80.0
    assert told.detector.queue_ms > 300.0


def test_path_that_is_free_for_long_keeps_its_call() -> None:
    run = call("delay=20", seconds=400.0, most_kbps=1e9)  # so it is used up to the highest rate, and never queues
    assert run.rates[-1][1] > 1000.0 and run.delay_ms(0.95) < 100.0


@pytest.mark.parametrize("step_ms", [0.0, -33.0])
def test_peer_whose_clock_stands_still_or_goes_back_is_held_in_bounded_memory(step_ms: float) -> None:
    estimator = BandwidthEstimator(150.0)
    for number in range(2000):
        sent_ms = 33.0 * number
        estimator.acknowledged(sent_ms, 1e6 + step_ms * number, 200, sent_ms + 50.0)
    assert len(estimator._samples) <= 256 and len(estimator._fates) <= 256
    assert len(estimator.detector._samples) <= 256
    assert 20.0 <= estimator.rate_kbps <= 50_000.0
