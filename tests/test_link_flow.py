"""The sender's book of frames: windows, acknowledgements, repeats after losses. No socket, no clock."""

import sys
import threading
import time
from collections.abc import Iterable

import pytest
from link_pair import packet

from vidcodec.link.counters import Counters
from vidcodec.link.estimator import BandwidthEstimator
from vidcodec.link.flow import Flow
from vidcodec.link.framing import CLOCK_WRAP_MS, AckEntry, Acks, Fragment, FrameStatus, Reassembler, parse_message
from vidcodec.link.options import Acknowledgement
from vidcodec.link.pacing import Window
from vidcodec.packet import NUMBERS, Packet


def make(rate_kbps: float = 5000.0, repair: str = "repeat", adaptive: bool = False) -> tuple[Flow, Counters]:
    counters = Counters()
    estimator = BandwidthEstimator(rate_kbps) if adaptive else None
    return Flow(Window(rate_kbps), estimator, counters, repair), counters


def send(flow: Flow, number: int, now_ms: float, size: int = 100) -> list[int] | None:
    """Send one frame; the numbers of the packets in its message, None if refused."""
    datagrams = flow.take([(number, packet(number, size))], [], now_ms)
    if datagrams is None:
        return None
    content = parse_message(datagrams[0])
    assert isinstance(content, list)
    return [Packet.from_bytes(data).header.number for data in content]


def ack(
    flow: Flow,
    numbers: Iterable[int],
    now_ms: float,
    arrived_ms: float = 0.0,
    status: FrameStatus = FrameStatus.RECEIVED,
) -> list[Acknowledgement]:
    entries = tuple(AckEntry(number % NUMBERS, status, arrived_ms) for number in numbers)
    return flow.acknowledge(Acks(arrived_ms, entries), now_ms, 0.0)


def test_news_comes_once_and_a_better_known_status_is_news_again() -> None:
    flow, counters = make()
    send(flow, 2000, 0.0)
    assert [(news.number, news.status) for news in ack(flow, [2000], 40.0, 20.0)] == [(2000, FrameStatus.RECEIVED)]
    assert ack(flow, [2000], 50.0, 20.0) == []
    assert [news.status for news in ack(flow, [2000], 60.0, 20.0, FrameStatus.OK)] == [FrameStatus.OK]
    assert counters.frames_acknowledged == 1


def test_times_of_an_acknowledgement_survive_the_wrap_of_the_receivers_clock() -> None:
    flow, _ = make()
    base_ms = CLOCK_WRAP_MS - 10.0
    send(flow, 0, base_ms)
    entries = (AckEntry(0, FrameStatus.RECEIVED, 15.0),)  # 25 ms after sending, past the wrap
    news = flow.acknowledge(Acks(35.0, entries), base_ms + 65.0, 0.0)[0]
    assert news.network_ms == pytest.approx(25.0)
    assert news.rtt_ms == pytest.approx(45.0)


def test_unknown_numbers_are_counted_and_forgotten() -> None:
    flow, counters = make()
    send(flow, 5, 0.0)
    assert ack(flow, [6, 900], 10.0) == [] and ack(flow, [6, 900], 20.0) == []
    assert counters.acks_unknown == 4 and flow.window.in_flight_bytes > 0


def test_previous_packet_rides_along_after_a_loss_and_stops_eight_seconds_later() -> None:
    flow, counters = make()
    for number in range(5):
        assert send(flow, number, 10.0 * number) == [number]
    ack(flow, [1, 2, 3], 60.0, 55.0)
    assert flow.lost(60.0) == [0]
    assert send(flow, 5, 61.0) == [4, 5]
    ack(flow, [4, 5], 80.0, 70.0)
    assert send(flow, 6, 90.0) == [6]  # 5 is known to be there
    assert send(flow, 7, 100.0) == [6, 7]
    ack(flow, [6], 110.0, 100.0)
    ack(flow, [7], 120.0, 110.0)
    assert flow.lost(130.0) == []
    send(flow, 8, 8150.0)
    assert send(flow, 9, 8200.0) == [9]
    assert counters.frames_repeated == 2


def test_all_frames_of_the_message_before_ride_along() -> None:
    flow, _ = make()
    flow._loss_ms = 0.0
    for first in (0, 2):
        datagrams = flow.take([(number, packet(number)) for number in (first, first + 1)], [], 60.0 * first)
        assert datagrams is not None
    content = parse_message(datagrams[0])
    assert isinstance(content, list)
    assert [Packet.from_bytes(data).header.number for data in content] == [0, 1, 2, 3]


def test_path_is_late_while_its_round_trip_has_a_long_queue() -> None:
    flow, _ = make(repair="auto")
    late = []
    for number, rtt_ms in enumerate([50.0] * 3 + [120.0] * 20 + [65.0] * 30 + [50.0] * 30):
        now_ms = 200.0 * number
        send(flow, number, now_ms)
        ack(flow, [number], now_ms + rtt_ms, now_ms + rtt_ms)
        late.append(flow._slow)
    assert not any(late[:3]) and late[22] and late[52], "not short again at 65 ms"
    assert not late[-1]


def test_repeat_that_saves_a_frame_counts_as_a_loss_of_its_message_and_not_as_delay() -> None:
    flow, counters = make(adaptive=True)
    assert flow.estimator is not None
    flow._loss_ms = 0.0
    for number in range(3):
        send(flow, number, 100.0 * number)
    ack(flow, [0], 130.0, 120.0)
    ack(flow, [1, 2], 230.0, 220.0)  # both at once: 1 came with 2
    assert counters.frames_rescued == 1 and counters.frames_lost == 0
    assert flow.estimator.loss == pytest.approx(1 / 3)
    assert flow._loss_ms == 230.0


def test_burst_that_the_repeat_does_not_save_deepens_it() -> None:
    flow, _ = make()
    flow._loss_ms = 0.0
    for number in range(6):
        send(flow, number, float(number))
    ack(flow, [3, 4, 5], 20.0, 15.0)
    assert flow.lost(20.0) == [0, 1, 2]
    for number in range(6, 9):
        send(flow, number, float(number) + 20.0)
    assert send(flow, 9, 40.0) == [6, 7, 8, 9]


@pytest.mark.parametrize(("size", "carried"), [(500, [0, 1]), (600, [1])])
def test_repeat_never_adds_a_datagram(size: int, carried: list[int]) -> None:
    flow, _ = make()
    flow._loss_ms = 0.0
    send(flow, 0, 0.0, size)
    assert send(flow, 1, 1.0, size) == carried


def test_repeats_may_be_turned_off_or_chosen_by_the_caller() -> None:
    flow, counters = make(repair="none")
    flow._loss_ms = 0.0
    send(flow, 0, 0.0)
    assert send(flow, 1, 1.0) == [1]
    datagrams = flow.take([(2, packet(2))], [packet(0), packet(1)], 2.0)
    assert datagrams is not None and len(parse_message(datagrams[0])) == 3  # type: ignore[arg-type]
    assert counters.frames_repeated == 2 and counters.payload_bytes_sent == 500


def resent(flow: Flow, now_ms: float) -> list[list[int]]:
    """Numbers of the packets in each message that is sent again now."""
    messages = []
    for datagrams in flow.resend(now_ms):
        content = parse_message(datagrams[0])
        assert isinstance(content, list)
        messages.append([Packet.from_bytes(data).header.number for data in content])
    return messages


def test_frame_is_sent_again_as_soon_as_a_later_one_is_acknowledged() -> None:
    flow, counters = make(repair="auto")
    for number in range(3):
        send(flow, number, 33.0 * number)
    ack(flow, [0], 40.0, 20.0)
    assert resent(flow, 40.0) == [] and not flow.doubtful(40.0)
    ack(flow, [2], 106.0, 86.0)
    assert resent(flow, 106.0) == [[1]]
    assert resent(flow, 107.0) == []
    news = ack(flow, [1], 146.0, 126.0)
    assert [(each.number, each.rtt_ms) for each in news] == [(1, None)], "what was sent twice tells no round trip"
    assert counters.frames_rescued == 1 and counters.frames_repeated == 1 and counters.messages_repeated == 1
    assert flow.window.smoothed_rtt_ms == pytest.approx(40.0, abs=1.0)


def test_what_is_sent_again_in_vain_rides_along_with_the_next_frame_and_makes_the_chain_doubtful() -> None:
    flow, _ = make(repair="auto")
    for number in range(3):
        send(flow, number, 33.0 * number)
    ack(flow, [0], 40.0, 20.0)
    ack(flow, [2], 106.0, 86.0)
    assert resent(flow, 106.0) == [[1]]
    ack(flow, [2], 130.0, 86.0)
    assert resent(flow, 140.0) == [] and not flow.doubtful(140.0)
    assert flow.doubtful(150.0), "its answer is late"
    assert send(flow, 3, 152.0) == [1, 3], "it rides along with the next frame"
    assert resent(flow, 158.0) == [] and resent(flow, 240.0) == [[1, 3]]
    ack(flow, [3], 250.0, 86.0, FrameStatus.OK)
    assert resent(flow, 300.0) == [] and not flow.doubtful(300.0), "a later frame was decoded: it is of no use any more"


def test_silence_amid_bursts_has_everything_under_way_sent_again_in_one_message_three_times_a_frame() -> None:
    flow, _ = make(repair="auto")
    for number in range(20):
        send(flow, number, 33.0 * number)
        ack(flow, [number], 33.0 * number + 10.0, 33.0 * number + 5.0)
    for number in range(20, 23):
        send(flow, number, 33.0 * number)
    for _ in range(6):
        flow._repairs.lost(after_another=True)
    assert resent(flow, 33.0 * 22 + 2.0) == [], "a path that has lost nothing yet is narrow, or the machine is busy"
    flow._loss_ms = 0.0
    assert resent(flow, 33.0 * 19 + 50.0) == []
    assert resent(flow, 33.0 * 22 + 2.0) == [[20, 21]], "22 has only just left"
    assert resent(flow, 33.0 * 22 + 7.0) == []
    assert resent(flow, 33.0 * 22 + 13.0) == [[20, 21]]
    assert not flow.doubtful(33.0 * 22 + 21.0)
    assert resent(flow, 33.0 * 22 + 40.0) == [[20, 21, 22]]
    assert flow.doubtful(33.0 * 22 + 41.0), "three in vain"


def test_acknowledgement_that_was_written_after_a_frame_was_due_proves_its_loss() -> None:
    flow, counters = make(repair="auto")
    for number in range(20):
        send(flow, number, 40.0 * number)
        ack(flow, [number], 40.0 * number + 40.0, 40.0 * number + 20.0)
    send(flow, 20, 800.0)
    flow._loss_ms = 0.0  # the path loses
    for _ in range(6):
        flow._repairs.lost(after_another=False)
    assert resent(flow, 840.0) == []
    ack(flow, [19], 847.0, 780.0)
    assert resent(flow, 847.0) == [], "that one could have been written before the frame arrived"
    ack(flow, [19], 849.0, 780.0)
    assert resent(flow, 849.0) == [[20]] and counters.messages_repeated == 1
    assert resent(flow, 850.0) == []
    ack(flow, [19], 890.0, 780.0)
    assert resent(flow, 890.0) == [], "what was sent again was not due"
    ack(flow, [19], 898.0, 780.0)
    assert resent(flow, 898.0) == [[20]], "and now it was"


def test_lost_acknowledgement_has_nothing_sent_again_where_losses_stand_alone() -> None:
    flow, counters = make(repair="auto")
    flow._loss_ms = 0.0
    for number in range(40):
        send(flow, number, 40.0 * number)
        if number % 10 != 7:
            ack(flow, [number - 1, number], 40.0 * number + 40.0, 40.0 * number + 20.0)
        for part in range(4):
            assert resent(flow, 40.0 * number + 10.0 * part) == []
    assert counters.frames_repeated == 0


def test_sending_again_stays_within_its_share_of_a_narrow_path() -> None:
    flow, counters = make(rate_kbps=40.0, repair="resend")
    now_ms = 0.0
    for number in range(60):
        now_ms += 66.0
        send(flow, number, now_ms, 150)
        if number % 2:
            ack(flow, [number], now_ms + 60.0, now_ms + 40.0)
        flow.resend(now_ms + 60.0)
    spent = counters.messages_repeated * (85 + 152)
    assert 0 < spent <= 0.4 * 40.0 * 125.0 * (now_ms / 1000.0) + 600.0
    assert flow.budget_bytes(15.0, now_ms) < 40.0 * 125.0 / 15.0 - 85


def test_long_round_trip_repeats_instead_of_sending_again() -> None:
    flow, _ = make(repair="auto")
    for number in range(12):
        send(flow, number, 33.0 * number)
        ack(flow, [number], 33.0 * number + 200.0, 100.0)
    send(flow, 12, 400.0)
    send(flow, 13, 433.0)
    ack(flow, [13], 640.0, 540.0)
    assert resent(flow, 640.0) == [] and flow.doubtful(800.0)


def test_large_frame_goes_in_fragments_and_counts_all_its_headers() -> None:
    flow, _ = make()
    datagrams = flow.take([(0, packet(0, 3000))], [], 0.0)
    assert datagrams is not None and len(datagrams) == 3
    assert all(isinstance(parse_message(datagram), Fragment) for datagram in datagrams)
    assert flow.window.in_flight_bytes == pytest.approx(3000 + 3 * (85 + 4), abs=8)


def test_fragments_that_come_again_join_those_that_arrived_and_the_chain_is_in_doubt_at_once() -> None:
    flow, _ = make(repair="auto")
    large = packet(1, 2000)
    send(flow, 0, 0.0)
    first = flow.take([(1, large)], [], 33.0)
    assert first is not None and len(first) == 2
    send(flow, 2, 66.0)
    ack(flow, [0], 40.0, 20.0)
    assert not flow.doubtful(66.0)
    ack(flow, [2], 106.0, 86.0)
    (again,) = flow.resend(106.0)
    assert flow.doubtful(107.0), "one of two datagrams is lost again more often than one alone"
    reassembler = Reassembler()
    one, other = parse_message(first[1]), parse_message(again[0])
    assert isinstance(one, Fragment) and isinstance(other, Fragment)
    assert reassembler.add(one, 60.0) is None
    whole = reassembler.add(other, 130.0)
    assert whole is not None and parse_message(whole) == [large]


def test_budget_leaves_room_for_headers_and_repeats() -> None:
    flow, _ = make(rate_kbps=40.0)
    assert flow.budget_bytes(20.0, 0.0) == pytest.approx(250 - 85, abs=5)
    flow._loss_ms = 0.0
    assert flow.budget_bytes(20.0, 10.0) == pytest.approx((250 - 85) / 2, abs=5)
    assert flow.budget_bytes(240.0, 10.0) == 0


def test_book_keeping_stays_bounded_when_nobody_acknowledges() -> None:
    flow, counters = make(rate_kbps=1e6)
    for number in range(6_000):
        send(flow, number, 5.0 * number)
        flow.lost(5.0 * number)
    assert len(flow._sent) <= 512 and len(flow.window._flights) <= 512
    assert counters.frames_lost > 5_000


def test_figures_may_be_asked_for_while_acknowledgements_come() -> None:
    flow, _ = make(adaptive=True)
    over = threading.Event()

    def send_and_acknowledge() -> None:
        number = 0
        while not over.is_set():
            now_ms = 33.0 * number
            send(flow, number, now_ms)
            ack(flow, [number], now_ms + 20.0, now_ms + 20.0)
            number += 1

    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    thread = threading.Thread(target=send_and_acknowledge)
    thread.start()
    try:
        until_s = time.monotonic() + 2.0
        while time.monotonic() < until_s:
            assert flow.figures()["fractionLost"] == 0.0
    finally:
        over.set()
        thread.join()
        sys.setswitchinterval(interval_s)


def test_set_rate_reaches_window_and_estimator() -> None:
    flow, _ = make(adaptive=True)
    flow.set_rate_kbps(123.0)
    flow.lost(0.0)
    assert flow.window.rate_kbps == 123.0
