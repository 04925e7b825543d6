"""Measuring beside the frame path: right figures when there is time, no delay when there is none."""

import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from delta_codec import pictures

from sender.frames import Coded
from sender.measuring import QUEUED, Measurer, RateMeter
from vidcodec.baselines.live import Baseline
from vidcodec.calllog import MS_SSIM_EVERY, VALUES_PER_FRAME
from vidcodec.metrics import mse
from vidcodec.records import SentFrame
from vidcodec.sidechannel import ENVIRONMENT, SideReceiver, SideSender

PICTURES = pictures(30)
RECORD = SentFrame(0, 0, 0, 0, 0, 200, 3)


def coded(number: int) -> Coded:
    """A frame whose shown picture is another one than the original."""
    return Coded(replace(RECORD, number=number), PICTURES[number % 30], PICTURES[(number + 1) % 30])


def measure(count: int, baseline: str, side: SideSender | None = None) -> list[SentFrame]:
    records: list[SentFrame] = []
    measurer = Measurer(Baseline(baseline, 2, 30.0), RateMeter(30, 60), lambda size: size + 94, side, records.append)
    for number in range(count):
        measurer.put(coded(number))
    measurer.finish(20.0)
    assert measurer.error is None
    return records


@pytest.mark.parametrize("fps", [0.05, 0.4, 30.0])
def test_rate_of_a_slow_source_stays_among_those_of_its_frames(fps: float) -> None:
    meter = RateMeter(fps, None)
    sizes = [500, 700, 300, 800, 200, 900]
    for size in sizes:
        assert min(sizes) <= meter.add(size) / fps * 1000 / 8 <= max(sizes)


def test_errors_are_those_of_the_pictures() -> None:
    records = measure(12, "vp8")
    assert [record.number for record in records] == list(range(12))
    for record in records:
        expected = mse(PICTURES[record.number], PICTURES[record.number + 1])
        assert record.squared_error == round(expected * VALUES_PER_FRAME * 255**2)
        assert record.baseline_squared_error is not None and record.baseline_squared_error > 0
        assert record.baseline_bytes is not None and record.baseline_bytes > 0
        assert (record.ms_ssim_ppm is not None) == (record.number % MS_SSIM_EVERY == 0)


def test_without_a_baseline_there_are_no_figures_of_one() -> None:
    for record in measure(3, "none"):
        assert record.squared_error is not None
        assert (record.baseline_squared_error, record.baseline_bytes) == (None, None)


def test_in_loopback_the_pictures_go_to_the_receiver_instead() -> None:
    side = SideSender()
    receiver = SideReceiver(side.environment[ENVIRONMENT])
    side._thread.join(5)
    records = measure(5, "bicubic4x", side)
    for record in records:
        assert record.squared_error is None
        got = receiver.take(record.number, 5.0)
        assert got.complete
        assert got.original is not None and np.array_equal(got.original, PICTURES[record.number])
        assert got.baseline is not None
        assert got.label == "bicubic4x"
    receiver.close()
    side.close()


def test_frames_that_there_is_no_time_for_go_unmeasured_and_nobody_waits() -> None:
    records: list[SentFrame] = []
    gate = threading.Event()

    def slow(size: int) -> int:
        gate.wait(20)
        return size

    measurer = Measurer(Baseline("none"), RateMeter(30, None), slow, None, records.append)
    began_s = time.monotonic()
    for number in range(QUEUED + 20):
        measurer.put(coded(number))
    assert time.monotonic() - began_s < 5.0
    assert measurer.unmeasured >= 19
    assert len(records) == measurer.unmeasured
    gate.set()
    measurer.finish(20.0)
    assert sorted(record.number for record in records) == list(range(QUEUED + 20))


def test_failure_of_a_baseline_is_kept_and_frames_go_on() -> None:
    records: list[SentFrame] = []
    measurer = Measurer(Baseline("vp8", 2), RateMeter(30, 60), lambda size: size, None, records.append)
    broken = replace(coded(0), original=np.zeros((191, 191, 3), np.uint8))
    for frame in (coded(0), broken, coded(2)):
        measurer.put(frame)
    measurer.finish(20.0)
    assert measurer.error is not None
    assert len(records) == 3


@pytest.mark.parametrize("expected", [None, 500.0])
def test_rate_meter_settles_at_the_rate_of_the_stream(expected: float | None) -> None:
    meter = RateMeter(30, expected)
    rates = [meter.add(200) for _ in range(300)]
    assert rates[-1] == pytest.approx(200 * 8 * 30 / 1000, rel=0.1)
    assert rates[0] == pytest.approx(expected or 48.0, rel=0.02)
