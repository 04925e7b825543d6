"""Window, heartbeat, clock and acknowledgement queue: told the time, no socket."""

import itertools

import pytest

from vidcodec.link.acks import AckQueue
from vidcodec.link.framing import FrameStatus
from vidcodec.link.pacing import ClockOffset, Flight, Heartbeat, Spacing, Window, WindowedMinimum, WireCap


def test_window_refuses_above_a_tenth_of_a_second_of_the_rate() -> None:
    window = Window(rate_kbps=80.0)  # 1,000 bytes in 100 ms
    sent = 0
    while window.is_open:
        window.sent(Flight(sent, 150, 0.0))
        sent += 1
    assert sent == 7
    window.acknowledged(0, 1.0)
    assert window.is_open


def test_window_always_lets_two_frames_of_recent_size_out() -> None:
    window = Window(rate_kbps=1.0)
    for number in range(20):
        window.sent(Flight(number, 6000, 40.0 * number))
        window.acknowledged(number, 40.0 * number + 20.0)
    window.sent(Flight(20, 6000, 800.0))
    assert window.is_open
    window.sent(Flight(21, 6000, 833.0))
    assert not window.is_open


def test_window_counts_the_round_trip_on_top_so_that_a_long_path_is_used() -> None:
    window = Window(rate_kbps=80.0)
    for number in range(10):
        window.sent(Flight(number, 100, 33.0 * number))
        window.acknowledged(number, 33.0 * number + 400.0)
    assert window.limit_bytes == pytest.approx(10.0 * 490.0)  # the message itself takes 10 ms


def test_shortest_round_trip_is_forgotten_after_ten_seconds() -> None:
    smallest = WindowedMinimum(10_000.0)
    assert smallest.value is None
    for now, value in ((0.0, 40.0), (5_000.0, 90.0), (8_000.0, 60.0), (9_000.0, 70.0)):
        smallest.add(now, value)
        assert smallest.value == 40.0
    smallest.add(10_500.0, 80.0)
    assert smallest.value == 60.0


def test_round_trip_leaves_out_what_the_receiver_held_back() -> None:
    window = Window(rate_kbps=80.0)
    window.sent(Flight(0, 100, 0.0))
    window.acknowledged(0, 70.0, delay_ms=50.0)
    assert window.smoothed_rtt_ms == window.min_rtt_ms == 20.0


def test_frame_is_lost_after_three_later_ones_and_its_bytes_are_released() -> None:
    window = Window(rate_kbps=8000.0)
    for number in range(5):
        window.sent(Flight(number, 100, float(number)))
    for number in (1, 2):
        window.acknowledged(number, 10.0)
        assert window.lost(10.0) == []
    window.acknowledged(3, 11.0)
    assert window.lost(11.0) == [0]
    assert window.in_flight_bytes == 100
    assert window.acknowledged(0, 12.0) == Flight(0, 100, 0.0)  # late, but a round trip
    assert window.acknowledged(0, 13.0) is None and window.in_flight_bytes == 100


def test_silence_releases_everything_by_time_out() -> None:
    window = Window(rate_kbps=8.0)
    window.sent(Flight(9, 100, 0.0))
    assert window.lost(999.0) == []  # the round trip is not known yet
    window.acknowledged(9, 20.0)
    for number in range(4):
        window.sent(Flight(number, 100, 10.0 * number))
    assert window.lost(200.0) == [] and not window.is_open
    assert window.lost(275.0) == [0, 1, 2]
    assert window.lost(1000.0) == [3]
    assert window.in_flight_bytes == 0 and window.is_open


def test_acknowledging_what_was_never_sent_changes_nothing() -> None:
    window = Window(rate_kbps=80.0)
    window.sent(Flight(3, 100, 0.0))
    assert window.acknowledged(9, 1.0) is None
    assert window.in_flight_bytes == 100 and window.smoothed_rtt_ms == 0.0


def test_number_sent_twice_is_counted_once() -> None:
    window = Window(rate_kbps=80.0)
    window.sent(Flight(3, 100, 0.0))
    window.sent(Flight(3, 120, 5.0))
    assert window.in_flight_bytes == 120


def test_heartbeat_beats_each_second_and_dies_after_three_of_silence() -> None:
    beat = Heartbeat(0.0)
    beats = [now for now in range(0, 3000, 50) if beat.due(float(now))]
    assert beats == [0, 1000, 2000]
    assert not beat.dead(3000.0) and beat.dead(3001.0)
    beat.heard(2500.0)
    assert not beat.dead(5400.0) and beat.dead(5501.0)


def test_an_end_that_speaks_beats_each_second_at_first_and_then_every_four() -> None:
    beat = Heartbeat(0.0)
    beats = []
    for now in range(0, 16_000, 50):
        if now < 12_000:
            beat.spoke(float(now))
        if beat.due(float(now)):
            beats.append(now)
    assert beats == [0, 1000, 2000, 6000, 10_000, 12_950, 13_950, 14_950, 15_950]


def test_clock_offset_comes_from_the_quickest_ping() -> None:
    clock = ClockOffset()
    assert clock.offset_ms is None
    clock.add(1000.0, 61_100.0, 61_101.0, 1101.0)  # 100 ms there, nothing back
    clock.add(2000.0, 62_010.0, 62_011.0, 2021.0)  # 10 ms each way
    clock.add(3000.0, 63_000.0, 63_001.0, 3201.0)
    assert clock.offset_ms == pytest.approx(60_000.0)
    assert clock.rtt_ms == pytest.approx(20.0)


def test_clock_offset_ignores_impossible_times() -> None:
    clock = ClockOffset()
    clock.add(1000.0, 5.0, 1.0, 1001.0)
    clock.add(1000.0, 5.0, 500.0, 1001.0)
    clock.add(1000.0, 5.0, 5.0, 900.0)
    assert clock.offset_ms is None


def test_arrival_is_acknowledged_at_once_and_repeated_in_three_messages() -> None:
    queue = AckQueue()
    rounds = []
    for number in range(1022, 1028):
        queue.arrived(number, float(number))
        assert queue.due_in_ms(float(number)) == 0.0
        rounds.append([entry.number for entry in queue.take(float(number))])
    assert rounds == [[1022], [1022, 1023], [1022, 1023, 0], [1023, 0, 1], [0, 1, 2], [1, 2, 3]]
    assert queue.due_in_ms(1027.0) == 150.0, "the last message may be lost: it is repeated, and no more than that"
    for now_ms in (1177.0, 1327.0):
        assert queue.due_in_ms(now_ms) == 0.0 and queue.take(now_ms)
    assert queue.due_in_ms(1400.0) == float("inf")


def test_answers_to_the_first_frames_are_repeated_soon_because_the_sender_waits_for_them() -> None:
    queue = AckQueue()
    queue.arrived(0, 0.0)
    for now_ms in (0.0, 30.0, 60.0):
        assert queue.due_in_ms(now_ms) == 0.0 and [entry.number for entry in queue.take(now_ms)] == [0]
    assert queue.due_in_ms(60.0) == float("inf")


LAST_MS = 40.0 * 61


def _queue_of_a_path_that_loses() -> AckQueue:
    """Frames 40 ms apart up to number 61, of which 60 is missing."""
    queue = AckQueue()
    for number in range(60):  # far enough apart for no repeat of the last one to be due otherwise
        queue.arrived(number, 40.0 * number)
        queue.take(40.0 * number)
    assert queue.due_in_ms(40.0 * 59) == 150.0
    queue.arrived(61, LAST_MS)
    queue.take(LAST_MS)
    return queue


def _words(queue: AckQueue) -> list[tuple[int, int]]:
    """When (ms after the last frame) something is said, and of which frame, until there is nothing more to say."""
    now_ms, words = LAST_MS, []
    while (wait_ms := queue.due_in_ms(now_ms)) != float("inf"):
        now_ms += wait_ms
        words.append((round(now_ms - LAST_MS), queue.take(now_ms)[-1].number))
        assert len(words) < 50
    return words


def test_late_frame_is_told_on_a_path_that_loses_and_on_no_other() -> None:
    queue = _queue_of_a_path_that_loses()
    queue.arrived(60, LAST_MS)
    queue.take(LAST_MS)
    words = _words(queue)
    assert [at for at, _ in words] == [55, 63, 71, 79], "when the next frame is late, and three times more"
    now_ms = LAST_MS + 100.0
    queue.arrived(62, now_ms)
    assert [entry.number for entry in queue.take(now_ms)][-1] == 62
    queue.arrived(1000, now_ms + 20_000.0)
    queue.arrived(1001, now_ms + 40_000.0)
    queue.take(now_ms + 40_000.0)
    assert queue.due_in_ms(now_ms + 40_000.0) == 150.0, "nothing was lost for a while"


def test_while_a_frame_is_missing_the_sender_hears_every_20_ms_that_it_is() -> None:
    words = _words(_queue_of_a_path_that_loses())
    assert words[:4] == [(20, 61), (40, 61), (55, 61), (63, 61)] and {number for _, number in words} == {61}
    times = [0, *(at for at, _ in words)]
    assert max(b - a for a, b in itertools.pairwise(times)) == 20, "a word may be lost, too"
    assert 250 <= times[-1] <= 290, "then nothing waits for it any more"
    mended = _queue_of_a_path_that_loses()
    mended.arrived(60, LAST_MS + 5.0)
    mended.take(LAST_MS + 5.0)
    assert mended.due_in_ms(LAST_MS + 5.0) == pytest.approx(50.0, abs=0.1), "until the next frame is late"


def test_a_leap_of_numbers_leaves_few_holes() -> None:
    queue = AckQueue()
    for number in (0, 10_000, 10_005, 1_000_000):
        queue.arrived(number, 0.0)
    assert list(queue._holes) == list(range(999_984, 1_000_000))


def test_bad_news_leaves_at_once_and_good_news_may_wait() -> None:
    queue = AckQueue()
    for number in range(4, 8):
        queue.arrived(number, 0.0)
    queue.take(0.0)
    queue.judged(7, FrameStatus.OK, 10.0)
    assert queue.due_in_ms(10.0) == 100.0
    queue.judged(7, FrameStatus.MISSING_REFERENCE, 11.0)
    assert queue.due_in_ms(11.0) == 0.0
    taken = queue.take(11.0)
    assert [(taken[-1].number, taken[-1].status)] == [(7, FrameStatus.MISSING_REFERENCE)]


def test_batched_acknowledgements_keep_their_interval() -> None:
    queue = AckQueue(interval_ms=60.0)
    queue.arrived(0, 0.0)
    assert queue.due_in_ms(0.0) == 0.0
    queue.take(0.0)
    queue.arrived(1, 33.0)
    assert queue.due_in_ms(33.0) == 27.0


def test_verdict_on_a_frame_that_never_came_is_ignored() -> None:
    queue = AckQueue()
    queue.judged(5, FrameStatus.DAMAGED, 0.0)
    assert queue.take(0.0) == []


def test_ack_queue_stays_bounded() -> None:
    queue = AckQueue(interval_ms=1e9)
    for number in range(10_000):
        queue.arrived(number, 0.0)
    assert len(queue.take(1.0)) == 32 and len(queue._entries) <= 128


def test_cap_holds_frames_back_until_what_was_sent_has_drained() -> None:
    cap = WireCap(80.0)  # 10 bytes a millisecond
    assert not cap.full(0.0)
    cap.frame(2000, 0.0)
    assert cap.full(139.0) and not cap.full(141.0)


def test_cap_counts_what_else_is_sent_but_not_how_the_two_connected() -> None:
    cap = WireCap(80.0)
    cap.settle(5000, 0.0)
    assert not cap.full(0.0)
    cap.frame(300, 0.0)
    cap.settle(5300, 0.0)
    assert not cap.full(0.0), "frames are not counted twice"
    cap.settle(6300, 0.0)
    assert cap.full(0.0) and not cap.full(71.0)


def test_datagrams_of_a_message_leave_half_as_far_apart_as_the_path_needs() -> None:
    spacing = Spacing()
    assert spacing.times([1000, 1000, 500], 40.0, 100.0) == [100.0, 200.0, 300.0]
    assert spacing.times([100], 40.0, 150.0) == [300.0], "not before what left earlier"
    assert spacing.times([100], 40.0, 310.0) == spacing.times([100], 40.0, 310.0) == [310.0], "one does not wait"
    assert spacing.times([1000, 1000], 900.0, 400.0) == [400.0, 400.0], "a wide path needs nothing between them"
