"""The joined log: both ends get the same figures from the same records, in any order, in bounded memory."""

import random
from dataclasses import replace

import pytest

from vidcodec.calllog import VALUES_PER_FRAME, CallLog, SenderTotals
from vidcodec.records import MAX_ROWS, SentFrame, ShownFrame, pack_sent, pack_shown, unpack_sent, unpack_shown
from vidcodec.report import STAGES, CodecFigures

CODEC = CodecFigures("seed", "0" * 64, "cpu", "fp32")
MS = 1_000_000


def sent(number: int, **changes: int) -> SentFrame:
    start = 10**12 + number * 33 * MS
    return replace(
        SentFrame(number, start, start + 2 * MS, start + 3 * MS, start + 8 * MS, 100 + number, number % 5),
        **changes,  # type: ignore[arg-type]
    )


def shown(number: int, offset_ns: int = 0, **changes: int) -> ShownFrame:
    start = 10**12 + number * 33 * MS + offset_ns
    return replace(ShownFrame(number, start + 10 * MS, start + 16 * MS, start + 17 * MS), **changes)  # type: ignore[arg-type]


def test_both_ends_agree_to_the_last_digit_whatever_order_records_come_in() -> None:
    rng = random.Random(1)
    jitter = [rng.randrange(0, 3 * MS) for _ in range(200)]
    sent_frames = [sent(n, squared_error=1000 * n, baseline_bytes=50) for n in range(200)]
    sent_frames = [replace(f, encoded_ns=f.encoded_ns + j) for f, j in zip(sent_frames, jitter, strict=True)]
    shown_frames = [shown(n) for n in range(200) if n % 7]
    totals = SenderTotals(210, 200, sum(f.payload_bytes for f in sent_frames), 40_000, 7_000_000_000, "vp8", 2)
    sender, receiver = CallLog(CODEC), CallLog(CODEC)
    for log in (sender, receiver):
        log.set_totals(totals)
        log.set_decoded(len(shown_frames))
    sender.add_sent(sent_frames)
    sender.add_shown(unpack_shown(pack_shown(shown_frames)))
    rng.shuffle(shown_frames)
    receiver.add_shown(shown_frames)
    receiver.add_sent(reversed(unpack_sent(pack_sent(sent_frames))))
    assert sender.report() == receiver.report()
    report = sender.report()
    assert (report.frames_captured, report.frames_sent, report.frames_shown) == (210, 200, len(shown_frames))
    assert report.frames_lost == 200 - len(shown_frames)
    assert report.duration_s == 7.0
    assert report.payload_kbps == pytest.approx(totals.payload_bytes * 8 / 7000, abs=1e-3)


def test_stages_of_a_frame_add_up_to_its_total() -> None:
    log = CallLog(CODEC)
    log.add_sent([sent(0)])
    log.add_shown([shown(0)])
    latency = log.report().latency_ms
    stages = {name: getattr(latency, name).p50 for name in STAGES}
    assert stages == {
        "capture": 2.0,
        "crop": 1.0,
        "encode": 5.0,
        "network": 2.0,
        "decode": 6.0,
        "display": 1.0,
        "total": 17.0,
    }


def test_clock_of_the_other_machine_is_brought_to_ours() -> None:
    far = 123_456 * MS
    log = CallLog(CODEC)
    log.add_sent([sent(0, offset_ns=far)])
    log.add_shown([shown(0, offset_ns=far)])
    assert log.report().latency_ms.network.p50 == 2.0


def test_mse_is_the_mean_over_shown_frames_and_pixels_shown_go_before_pixels_expected() -> None:
    log = CallLog(CODEC)
    log.add_sent([sent(0, squared_error=65025), sent(1, squared_error=2 * 65025), sent(2, squared_error=10**9)])
    log.add_shown([shown(0), shown(1, squared_error=4 * 65025)])
    assert log.report().mse == pytest.approx(2.5 / VALUES_PER_FRAME, rel=1e-12)


def test_second_copy_of_a_record_counts_nothing() -> None:
    log = CallLog(CODEC)
    for _ in range(3):
        log.add_sent([sent(0), sent(1)])
        log.add_shown([shown(0)])
    report = log.report()
    assert (report.frames_shown, report.quality.mean) == (1, 0.5)


def test_baseline_that_skipped_frames_is_charged_for_all_of_them() -> None:
    log = CallLog(CODEC)
    log.set_totals(SenderTotals(4, 4, 400, 800, 1_000_000_000, "vp8", 1))
    log.add_sent([sent(0, baseline_bytes=125), sent(1, baseline_bytes=125), sent(2), sent(3)])
    assert log.report().baseline.kbps == 4.0


def test_report_of_a_call_that_never_began_has_nothing_but_zeros_and_nulls() -> None:
    report = CallLog(CODEC).report()
    assert (report.frames_captured, report.frames_shown, report.fps, report.mse) == (0, 0, 0.0, None)
    assert report.latency_ms.total.p50 is None
    assert report.quality.mean is None


def test_records_nobody_answers_are_dropped_after_a_while() -> None:
    log = CallLog(CODEC)
    for number in range(3 * MAX_ROWS):
        log.add_sent([sent(number)])
        log.add_shown([shown(number + 10 * MAX_ROWS)])
    assert len(log._sent) == len(log._shown) == MAX_ROWS
    assert log.report().frames_shown == 3 * MAX_ROWS


def test_live_figures_are_those_of_the_last_two_seconds() -> None:
    log = CallLog(CODEC)
    log.set_totals(SenderTotals(300, 300, 300 * 100, 300 * 200, 10_000_000_000))
    log.add_sent([sent(n, payload_bytes=1000 if n < 200 else 100, squared_error=65025) for n in range(300)])
    log.add_shown([shown(n) for n in range(300)])
    live = log.live()
    assert live.fps == pytest.approx(1000 / 33, rel=0.01)
    assert live.payload_kbps == pytest.approx(100 * 8 / 33, rel=0.02)
    assert live.wire_kbps == pytest.approx(200 * 8 / 33, rel=0.02)
    assert live.latency_p50_ms == 17.0


@pytest.mark.parametrize(("captured", "sent_count"), [(300, 290), (300, 200)], ids=["sender", "receiver"])
def test_frames_on_their_way_are_not_counted_as_lost_while_the_call_runs(captured: int, sent_count: int) -> None:
    """The sender hears late what was decoded, the receiver what was sent."""
    log = CallLog(CODEC)
    log.set_totals(SenderTotals(captured, sent_count))
    log.set_decoded(246)
    log.add_shown([shown(n) for n in range(250) if n % 50 != 7])
    assert log.live().frames_lost == 4  # of five that were not shown up to frame 249 one was decoded
    log.set_totals(SenderTotals(captured, 290))
    assert log.report().frames_lost == 290 - 246


def test_report_of_a_sender_that_vanished_counts_what_was_shown_after_its_last_words() -> None:
    log = CallLog(CODEC)
    log.add_shown([shown(n) for n in range(50)])
    log.set_totals(SenderTotals(61, 53, 53 * 125, 53 * 250, 2_000_000_000, "vp8", 1))
    log.add_sent([sent(n, baseline_bytes=125) for n in range(53)])
    log.add_shown([shown(n) for n in range(50, 80)])
    log.set_decoded(80)
    report = log.report()
    assert (report.frames_captured, report.frames_sent, report.frames_shown, report.frames_lost) == (80, 80, 80, 0)
    assert report.duration_s == 2.0 + 30 * 0.033
    assert report.fps == pytest.approx(80 / 2.99, abs=1e-3)
    rates = (report.payload_kbps, report.wire_kbps, report.baseline.kbps)
    assert rates == (26.5, 53.0, 26.5), "bytes and time of the same moment"


def test_receiver_whose_sender_vanished_before_its_first_words_has_a_report() -> None:
    log = CallLog(CODEC)
    log.add_shown([shown(n) for n in range(11)])
    report = log.report()
    assert (report.frames_sent, report.frames_shown, report.frames_lost) == (11, 11, 0)
    assert (report.duration_s, report.payload_kbps) == (0.33, 0.0)
