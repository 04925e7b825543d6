"""The bad network: its model, told the time, and its relay under a real session."""

import json
import random
import time
from pathlib import Path

import pytest
from link_pair import HELLO, Seen, eventually, packet

from vidcodec.errors import InputError, UsageError
from vidcodec.link import LinkOptions, ReceiverServer, connect
from vidcodec.link.impair import Direction, Impairment, parse_impairment


def direction(text: str, seed: int = 1) -> Direction:
    return Direction(parse_impairment(text), random.Random(seed))


def test_description_is_read() -> None:
    assert parse_impairment("delay=20,jitter=5,loss=5,burst=3,rate=60,queue=400") == Impairment(
        20.0, 5.0, 5.0, 3.0, 60.0, 400.0
    )
    assert parse_impairment("") == Impairment()


@pytest.mark.parametrize("text", ["delay", "delay=x", "loss=101", "loss=nan", "burst=0", "speed=3", "rate=-1"])
def test_bad_description_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError):
        parse_impairment(text)


def test_trace_changes_conditions_over_time(tmp_path: Path) -> None:
    path = tmp_path / "trace.json"
    path.write_text(json.dumps([{"at": 0, "rate": 150, "delay": 20}, {"at": 20, "rate": 50}, {"at": 40, "loss": 100}]))
    trace = parse_impairment(str(path))
    assert [trace.at(at).rate_kbps for at in (0.0, 19_999.0, 20_000.0, 50_000.0)] == [150.0, 150.0, 50.0, 50.0]
    assert trace.at(30_000.0).delay_ms == 20.0 and trace.at(45_000.0).loss_percent == 100.0


@pytest.mark.parametrize("content", ["", "{}", "[]", "[1]"])
def test_bad_trace_is_an_input_error(tmp_path: Path, content: str) -> None:
    path = tmp_path / "trace.json"
    path.write_text(content)
    with pytest.raises(InputError):
        parse_impairment(str(path))


@pytest.mark.parametrize(
    "content",
    ['[{"at": 1}, {"at": 1}]', '[{"at": "x"}]', '[{"at": NaN}]', '[{"at": 0, "dealy": 5}]', '[{"at": 0, "loss": 101}]'],
)
def test_what_makes_no_sense_in_a_trace_is_a_usage_error_as_on_the_command_line(tmp_path: Path, content: str) -> None:
    path = tmp_path / "trace.json"
    path.write_text(content)
    with pytest.raises(UsageError):
        parse_impairment(str(path))


def test_trace_that_cannot_be_read_is_named_once(tmp_path: Path) -> None:
    missing = tmp_path / "none.json"
    with pytest.raises(InputError) as caught:
        parse_impairment(str(missing))
    assert (
        str(caught.value) == f"--impair {missing}: No such file or directory; give a trace in JSON, or delay=20,loss=5"
    )


def test_delay_and_jitter_stay_in_their_range() -> None:
    path = direction("delay=20,jitter=5")
    delays = [path.deliver_ms(100, 1000.0) for _ in range(500)]
    assert all(delay is not None and 1020.0 <= delay <= 1025.0 for delay in delays)
    assert len(set(delays)) > 100


def test_bottleneck_serves_at_its_rate_and_drops_what_the_queue_does_not_hold() -> None:
    path = direction("rate=80,queue=100")  # 10 bytes a millisecond
    arrivals = [path.deliver_ms(72, 0.0) for _ in range(20)]
    assert arrivals == [10.0 * n for n in range(1, 12)] + [None] * 9
    assert (path.forwarded, path.overflowed) == (11, 9)
    assert path.deliver_ms(72, 60.0) == 120.0


@pytest.mark.parametrize(("burst", "run"), [(1, 1.05), (3, 3.0)])
def test_losses_have_the_given_share_and_mean_run(burst: int, run: float) -> None:
    path = direction(f"loss=5,burst={burst}")
    lost = [path.deliver_ms(100, 0.0) is None for _ in range(100_000)]
    runs = sum(now and not before for before, now in zip([False, *lost], lost, strict=False))
    assert sum(lost) / len(lost) == pytest.approx(0.05, rel=0.1)
    assert sum(lost) / runs == pytest.approx(run, rel=0.08)


def test_same_seed_gives_the_same_network() -> None:
    one, two, three = (direction("loss=20,jitter=9", seed) for seed in (7, 7, 8))
    fates = [[path.deliver_ms(100, float(n)) for n in range(200)] for path in (one, two, three)]
    assert fates[0] == fates[1] != fates[2]


@pytest.mark.parametrize("side", ["sender", "receiver"])
def test_session_runs_through_the_relay_with_its_delay_and_losses(side: str) -> None:
    seen = Seen()
    network = parse_impairment("delay=20,loss=8")
    bad = LinkOptions(impair=network, seed=3, bye_timeout_s=2.0, rate_kbps=2000.0, adaptive=False)
    good = LinkOptions(bye_timeout_s=2.0)
    with (
        ReceiverServer(
            "127.0.0.1:0", HELLO, seen.receiver_handlers(), options=bad if side == "receiver" else good
        ) as server,
        connect(server.url, HELLO, bad if side == "sender" else good, seen.sender_handlers()) as link,
    ):
        assert link.code == seen.links[0].code
        sent: dict[int, float] = {}
        for number in range(70):
            sent[number] = time.monotonic() * 1000.0
            assert link.send_frame(number, packet(number, 300))
            time.sleep(0.02)
        delays = sorted(frame.received_ms - sent[frame.number] for frame in seen.frames)
        # A lost datagram holds no other one back: SCTP would repeat it after a second. The rest is for a busy machine.
        assert 20.0 <= delays[len(delays) // 2] < 150.0
        assert delays[int(0.95 * len(delays))] < 500.0
        assert 50 <= len(seen.frames) < 70
        assert eventually(lambda: len(seen.lost) + link.stats["framesAcknowledged"] >= 70)
        assert link.stats["currentRoundTripTime"] * 1000.0 > 40.0
        counts = (link if side == "sender" else seen.links[0]).stats
        assert counts["impairmentOutboundLost"] > 0 and counts["impairmentInboundLost"] > 0


def test_narrow_path_delays_no_frame_because_the_window_refuses_the_surplus() -> None:
    seen = Seen()
    bad = LinkOptions(impair=parse_impairment("rate=100,queue=2000,delay=20"), rate_kbps=90.0)
    with (
        ReceiverServer("127.0.0.1:0", HELLO, seen.receiver_handlers()) as server,
        connect(server.url, HELLO, bad, seen.sender_handlers()) as link,
    ):
        sent: dict[int, float] = {}
        for number in range(120):  # 600 B at 30 a second: 166 kbit/s with headers, on 100
            now_ms = time.monotonic() * 1000.0
            if link.send_frame(number, packet(number, 600)):
                sent[number] = now_ms
            time.sleep(1 / 30)
        assert eventually(lambda: len(seen.frames) == len(sent))
        delays = sorted(frame.received_ms - sent[frame.number] for frame in seen.frames)
        assert delays[int(0.9 * len(delays))] < 450.0  # without the window: seconds
        assert len(sent) * (600 + 85) * 8 / 1000 / 4.0 > 50.0  # and the path is used


def test_network_can_be_changed_while_the_session_runs() -> None:
    seen = Seen()
    options = LinkOptions(impair=parse_impairment("delay=1"), bye_timeout_s=0.3)
    with (
        ReceiverServer("127.0.0.1:0", HELLO, seen.receiver_handlers()) as server,
        connect(server.url, HELLO, options, seen.sender_handlers()) as link,
    ):
        link.send_frame(0, packet(0))
        assert eventually(lambda: len(seen.frames) == 1)
        link.set_impairment(parse_impairment("loss=100"))
        assert eventually(lambda: link.stats["impairmentOutboundLost"] >= 0)
        link.send_frame(1, packet(1))
        assert eventually(lambda: seen.lost == [1])
        link.set_impairment(parse_impairment("delay=1"))
        assert eventually(lambda: link.can_send)
        link.send_frame(2, packet(2))
        assert eventually(lambda: seen.frames[-1].number == 2)
        assert [frame.number for frame in seen.frames] in ([0, 1, 2], [0, 2])  # 1 may have come along with 2
