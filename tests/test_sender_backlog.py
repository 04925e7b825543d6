"""A receiver that decodes more slowly than frames come."""

import itertools
import json
from pathlib import Path

import pytest
from link_simulation import BLANK, PICTURE, SimulatedCall

from sender.backlog import FULL_FRAMES, FULL_S, LOST_S, Backlog, DecoderPace
from sender.cadence import Cadence
from sender.references import References
from vidcodec.codec import State
from vidcodec.link.framing import FrameStatus


def test_backlog_is_full_when_several_frames_wait_behind_each_other_and_the_first_for_long() -> None:
    backlog = Backlog()
    for number in range(FULL_FRAMES):
        backlog.ready(number, 0.03 * number)
    assert not backlog.full(9.0), "the verdict of the newest rides along with what comes next, whenever that is"
    backlog.ready(FULL_FRAMES, 0.1)
    assert not backlog.full(0.5 * FULL_S) and backlog.full(FULL_S + 0.01)
    backlog.judged(0, FULL_S + 0.02)
    assert not backlog.full(FULL_S + 0.02)


def test_frames_that_arrive_at_once_are_no_backlog() -> None:
    backlog = Backlog()
    for number in range(9):
        backlog.ready(number, 0.001 * number)
    assert not backlog.full(9.0) and not backlog.slow(9.0)


def test_verdict_counts_for_all_older_frames_and_late_news_of_them_for_nothing() -> None:
    backlog = Backlog()
    for number in range(5):
        backlog.ready(number, 0.0)
    backlog.judged(4, 1.0)
    backlog.ready(2, 1.0)
    assert not backlog.slow(9.0)


def test_speed_of_the_decoder_is_that_of_its_verdicts() -> None:
    backlog = Backlog()
    assert backlog.decoded_fps() == 0.0
    for number in range(40):
        backlog.judged(number, 0.2 * number if number < 20 else 4.0 + 0.05 * (number - 20))
    assert backlog.decoded_fps() == pytest.approx(20.0)


def test_frames_that_wait_for_a_lost_one_are_no_backlog() -> None:
    references = References(BLANK)
    for number in range(12):
        references.sent(number, State(number, PICTURE), min(number, 1))
        if number != 2:
            references.acknowledged(number, FrameStatus.RECEIVED, 0.01 * number)
    for number in (0, 1):
        references.acknowledged(number, FrameStatus.OK, 0.1)
    assert not references.decoder_is_full(5.0) and not references.decoder_pace(5.0)[0]
    references.acknowledged(2, FrameStatus.RECEIVED, 5.0)
    assert not references.decoder_is_full(6.0), "they all can be decoded now, and will be"
    for number in (12, 13):
        references.sent(number, State(number, PICTURE), 1)
        references.acknowledged(number, FrameStatus.RECEIVED, 6.0 + 0.1 * (number - 12))
    assert references.decoder_is_full(6.2) and references.decoder_pace(6.2)[0]
    references.restart()
    assert not references.decoder_is_full(9.0)


def test_pace_falls_below_what_was_decoded_and_comes_back() -> None:
    pace = DecoderPace(30.0)
    assert pace.limit(Cadence(30.0, 2)) == Cadence(30.0, 2)
    for step in range(15):
        pace.observe(True, 20.0, 1.0 + 0.033 * step)
    assert pace.fps == pytest.approx(18.0)
    pace.observe(True, 10.0, 1.5)
    assert pace.fps == pytest.approx(18.0), "the effect of the last time has to be seen first"
    assert pace.limit(Cadence(30.0, 2)) == Cadence(pace.fps, 2) and pace.limit(Cadence(10.0)) == Cadence(10.0)
    for step in range(1, 60):
        pace.observe(False, 17.0, 1.5 + 0.1 * step)
    assert pace.fps == 30.0


def test_short_stall_changes_no_pace_and_a_lasting_one_leaves_a_few_frames() -> None:
    pace = DecoderPace(30.0)
    for step in range(10):
        pace.observe(True, 3.0, 0.033 * step)
    assert pace.fps == 30.0
    for step in range(10, 90):
        pace.observe(True, 3.0, 0.033 * step)
    assert pace.fps == 5.0


@pytest.mark.parametrize("decode_ms", [45.0, 80.0])
def test_slow_decoder_gets_fewer_frames_and_adds_no_delay(decode_ms: float) -> None:
    call = SimulatedCall("delay=20", decode_ms=lambda now: decode_ms)
    seen = call.run(30.0)
    settled = [shown - captured for captured, _, shown in seen.shown if captured > 2000.0]
    assert max(settled) < 20.0 + 20.0 + 6.0 * decode_ms, "20 ms to code and 20 on the way"
    assert sorted(settled)[len(settled) // 2] < 40.0 + 3.0 * decode_ms
    assert len(seen.shown) == len(call.sent_ms), "what was sent is decoded and shown"
    assert seen.fps(30.0) > 0.75 * 1000.0 / decode_ms


def test_decoder_that_is_slow_for_a_while_is_fed_again_when_it_is_quick() -> None:
    call = SimulatedCall("delay=20", decode_ms=lambda now: 70.0 if 5000.0 < now < 10_000.0 else 11.0)
    seen = call.run(40.0)
    slow = [captured for captured, _, _ in seen.shown if 6000.0 < captured < 10_000.0]
    late = [captured for captured, _, _ in seen.shown if captured > 35_000.0]
    assert len(slow) < 4.0 * 16.0 and len(late) > 0.95 * 150.0
    assert max(b - a for a, b in itertools.pairwise(late)) < 100.0


def test_backlog_whose_verdicts_were_lost_lets_the_next_frame_pass() -> None:
    backlog = Backlog()
    for number in range(FULL_FRAMES + 1):
        backlog.ready(number, 0.1 * number)
    last_s = 0.1 * FULL_FRAMES
    assert backlog.full(last_s + LOST_S - 0.01) and not backlog.full(last_s + LOST_S + 0.01)
    backlog.ready(FULL_FRAMES + 1, last_s + LOST_S + 0.1)
    assert backlog.full(last_s + LOST_S + 0.2), "one is enough: its verdict counts for all"
    backlog.judged(FULL_FRAMES + 1, last_s + LOST_S + 0.3)
    assert not backlog.full(last_s + LOST_S + 0.3)


@pytest.mark.parametrize("begins_s", [5.0, 5.2, 5.3])
def test_call_goes_on_after_a_pause_of_the_path_in_which_verdicts_were_lost(tmp_path: Path, begins_s: float) -> None:
    trace = tmp_path / "pause.json"
    trace.write_text(json.dumps([{"delay": 20}, {"at": begins_s, "loss": 100}, {"at": begins_s + 2.0, "loss": 0}]))
    seen = SimulatedCall(str(trace), decode_ms=lambda now: 300.0 if 4800.0 < now < 5400.0 else 30.0).run(15.0)
    assert sum(captured > 9000.0 for captured, _, _ in seen.shown) > 15.0 * 6.0


def test_decoder_that_keeps_up_is_given_every_frame() -> None:
    seen = SimulatedCall("delay=20", decode_ms=lambda now: 28.0).run(20.0)
    assert len(seen.shown) >= 0.99 * seen.captured


def test_decoder_that_keeps_up_for_hours_is_given_every_frame() -> None:
    pace = DecoderPace(30.0)
    for step in range(5 * 3 * 3600):
        pace.observe(False, 30.0, step / 5)
    assert pace.fps == 30.0
