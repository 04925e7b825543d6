"""Counts of a call, over the links that it had."""

from sender.frames import SendCounts
from sender.totals import Totals, packet_wire_bytes
from vidcodec.baselines.live import Baseline


def test_what_was_sent_again_counts_over_all_links_of_a_call() -> None:
    totals, baseline = Totals(), Baseline("none", None, 30.0)
    totals.begin()
    first = SendCounts(sent=100, payload_bytes=10_000, wire_bytes=19_400)
    link = {"messagesRepeated": 3, "framesRepeated": 5, "payloadBytesSent": 10_500}
    again_bytes = 3 * packet_wire_bytes(0) + 500
    assert totals.of(first, 100, baseline, link).wire_bytes == 19_400 + again_bytes
    totals.next_link(first, link)
    assert totals.of(first, 100, baseline, {}).wire_bytes == 19_400 + again_bytes
    both = SendCounts(sent=150, payload_bytes=15_000, wire_bytes=29_100)
    link = {"messagesRepeated": 1, "framesRepeated": 1, "payloadBytesSent": 5_100}
    again_bytes += packet_wire_bytes(0) + 100
    assert totals.of(both, 150, baseline, link).wire_bytes == 29_100 + again_bytes


def test_time_ends_once_and_never_before_it_began() -> None:
    totals, baseline = Totals(), Baseline("none", None, 30.0)
    totals.end()
    totals.begin()
    totals.end()
    ended_ns = totals.of(SendCounts(), 0, baseline, {}).elapsed_ns
    totals.end()
    assert totals.of(SendCounts(), 0, baseline, {}).elapsed_ns == ended_ns < 1_000_000_000
