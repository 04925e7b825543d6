"""A session over real WebRTC on loopback: frames, acknowledgements, statistics, goodbye, and nothing left behind."""

import asyncio
import shutil
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from link_pair import HELLO, Seen, eventually, packet, pair

from vidcodec.errors import PeerError
from vidcodec.link import (
    FrameStatus,
    Hello,
    LinkOptions,
    ReceiverHandlers,
    ReceiverLink,
    ReceiverServer,
    connect,
)
from vidcodec.link.loop import LoopThread

ROOT = Path(__file__).parent.parent


def test_connects_in_under_a_second_and_both_ends_show_the_same_code() -> None:
    seen = Seen()
    with ReceiverServer("127.0.0.1:0", HELLO, seen.receiver_handlers()) as server:
        started = time.monotonic()
        with connect(server.url, HELLO) as link:
            assert time.monotonic() - started < 1.0
            assert link.peer == HELLO == seen.hellos[0]
            assert link.code == seen.links[0].code
            assert len(link.code) == 14


def test_every_frame_arrives_once_and_is_acknowledged_and_judged() -> None:
    with pair() as (link, _, seen, _server):
        for number in range(1000, 1060):  # past the end of the ten bits
            assert link.send_frame(number, packet(number, 300))
            time.sleep(0.005)
        assert eventually(lambda: sum(ack.status is FrameStatus.OK for ack in seen.acks) == 60)
        assert sorted((frame.number, frame.packet) for frame in seen.frames) == [
            (number, packet(number, 300)) for number in range(1000, 1060)
        ]
        first = [ack for ack in seen.acks if ack.rtt_ms is not None]
        assert {ack.number for ack in seen.acks} == set(range(1000, 1060))
        assert all(0.0 <= ack.rtt_ms < 500.0 for ack in first if ack.rtt_ms is not None)
        delays = sorted(ack.network_ms for ack in first if ack.network_ms is not None)
        assert -5.0 < delays[len(delays) // 2] < 50.0
        assert link.offset_ms is not None and abs(link.offset_ms) < 20.0  # one machine, one clock
        assert link.stats["framesAcknowledged"] == 60 and link.stats["bytesInFlight"] == 0
        assert seen.lost == [] and seen.threads == {"vidcodec-receiver-link"}


def test_first_frame_number_may_be_anything_the_ten_bits_can_follow() -> None:
    with pair() as (link, _, seen, _server):
        for number in range(5, 2600, 400):
            link.send_frame(number, packet(number))
            assert eventually(lambda: seen.frames and seen.frames[-1].number == number)  # noqa: B023


def test_frame_of_sixty_kilobytes_travels_in_fragments() -> None:
    with pair() as (link, _, seen, _server):
        for number, size in enumerate((60_000, 1159, 1160, 5_000)):
            assert link.send_frame(number, packet(number, size))
            assert eventually(lambda: len(seen.frames) == number + 1)  # noqa: B023
        assert [len(frame.packet) for frame in seen.frames] == [60_000, 1159, 1160, 5_000]
        assert eventually(lambda: link.stats["bytesInFlight"] == 0)


def test_repeated_packet_rides_along_and_closes_a_gap() -> None:
    with pair() as (link, _, seen, _server):
        session = link._session
        send = session.send_frames_message
        session.send_frames_message = lambda datagrams: None  # type: ignore[method-assign]
        assert link.send_frame(0, packet(0))  # lost on the way
        eventually(lambda: False, 0.05)
        session.send_frames_message = send  # type: ignore[method-assign]
        assert link.send_frame(1, packet(1), repeats=[packet(0)])
        assert link.send_frame(2, packet(2), repeats=[packet(1)])
        assert link.send_frame(3, packet(3, 1100), repeats=[packet(2)])  # does not fit: left out
        assert eventually(lambda: len(seen.frames) == 4)
        assert [frame.number for frame in seen.frames] == [0, 1, 2, 3]
        counts = seen.links[0].stats
        assert (counts["framesDuplicated"], link.stats["framesRepeated"]) == (1, 2)


def test_two_frames_in_one_message_are_one_datagram() -> None:
    with pair() as (link, _, seen, _server):
        before = link.stats["messagesSent"] - link.stats["controlMessagesSent"]
        assert link.send_frames([(0, packet(0)), (1, packet(1))])
        assert eventually(lambda: len({ack.number for ack in seen.acks}) == 2)
        assert link.stats["messagesSent"] - link.stats["controlMessagesSent"] == before + 1


def test_lost_fragment_costs_one_frame_which_is_reported_lost() -> None:
    with pair(LinkOptions(repair="none", bye_timeout_s=1.0)) as (link, _, seen, _server):
        send = link._session.send_frames_message

        def drop(datagrams: list[bytes]) -> None:
            dropping = len(datagrams) > 1 and datagrams[0][2:4] == b"\x00\x04"  # fragments of message 4
            send(datagrams[:1] + datagrams[2:] if dropping else datagrams)

        link._session.send_frames_message = drop  # type: ignore[method-assign]
        for number in range(12):
            assert eventually(lambda: link.can_send)
            assert link.send_frame(number, packet(number, 4000))
            time.sleep(0.01)
        assert eventually(lambda: len(seen.frames) == 11)
        assert sorted(frame.number for frame in seen.frames) == [n for n in range(12) if n != 4]
        assert eventually(lambda: seen.lost == [4])


def test_lost_message_is_sent_again_as_soon_as_the_next_one_is_acknowledged() -> None:
    with pair() as (link, _, seen, _server):
        session = link._session
        send = session.send_frames_message
        assert link.send_frame(0, packet(0))
        assert eventually(lambda: seen.acks)
        session.send_frames_message = lambda datagrams: None  # type: ignore[method-assign]
        assert link.send_frame(1, packet(1, 3000))
        eventually(lambda: False, 0.03)
        session.send_frames_message = send  # type: ignore[method-assign]
        assert link.send_frame(2, packet(2))
        assert eventually(lambda: len(seen.frames) == 3)
        assert [frame.number for frame in seen.frames] == [0, 2, 1]
        assert link.stats["framesRescued"] == 1 or eventually(lambda: link.stats["framesRescued"] == 1)
        assert not link.doubtful


def test_missing_frame_is_told_again_and_again_though_nothing_is_judged() -> None:
    with pair(receiver={"on_frame": lambda link, frame: None}) as (link, _, seen, _server):
        flow, heard = link._session.flow, []
        acknowledge = flow.acknowledge

        def count(*args: Any, **named: Any) -> Any:
            heard.append(time.monotonic())
            return acknowledge(*args, **named)

        flow.acknowledge = count  # type: ignore[method-assign]
        link.send_frame(0, packet(0))
        assert eventually(lambda: len(seen.acks) == 1)
        link.send_frame(2, packet(2))
        assert eventually(lambda: len(seen.acks) == 2)
        before = len(heard)
        assert eventually(lambda: len(heard) >= before + 6)
        time.sleep(0.5)
        after = len(heard)
        time.sleep(0.3)
        assert len(heard) == after <= before + 25, "only for as long as a frame waits for it"


def test_window_refuses_frames_when_the_rate_is_low_and_opens_again() -> None:
    with pair(LinkOptions(rate_kbps=40.0)) as (link, _, seen, _server):
        taken = [link.send_frame(number, packet(number, 200)) for number in range(30)]
        assert taken[:2] == [True, True] and not all(taken)
        assert link.stats["framesRefused"] == taken.count(False)
        assert eventually(lambda: link.can_send)
        link.set_rate_kbps(8_000.0)
        assert all(link.send_frame(number, packet(number, 200)) for number in range(30, 60))
        assert eventually(lambda: len(seen.frames) == taken.count(True) + 30)


def test_frames_of_several_kilobytes_thirty_times_a_second_are_not_refused() -> None:
    with pair() as (link, _, seen, _server):
        taken = 0
        for number in range(45):
            taken += link.send_frame(number, packet(number, 8_000))  # 1.9 Mbit/s
            time.sleep(1 / 30)
        assert taken == 45
        assert eventually(lambda: len(seen.frames) == 45)


def test_statistics_and_refresh_travel_and_goodbye_carries_final_ones_both_ways() -> None:
    said = threading.Event()
    with pair(receiver={"on_bye": lambda link, stats: said.set()}) as (link, receiver, seen, _server):
        link.send_stats({"frames": [[0, 1e-4]]})
        receiver.send_stats({"shown": 1})
        receiver.request_refresh(17, "lost 18")
        receiver.request_refresh()
        assert eventually(lambda: len(seen.stats) == 2 and len(seen.refreshes) == 2)
        assert sorted(map(str, seen.stats)) == ["{'frames': [[0, 0.0001]]}", "{'shown': 1}"]
        assert [(refresh.have, refresh.reason) for refresh in seen.refreshes] == [(17, "lost 18"), (None, "")]
        answers: list[object] = []
        thread = threading.Thread(target=lambda: said.wait(5) and answers.append(receiver.close({"shown": 99})))
        thread.start()
        assert link.close({"sent": 100}) == {"shown": 99}
        thread.join(5.0)
        assert answers == [{"sent": 100}]
        assert eventually(lambda: len(seen.receiver_closed) == 1)
        assert seen.sender_closed[0].reason == seen.receiver_closed[0].reason == "bye"
        assert seen.receiver_closed[0].peer_stats == {"sent": 100}
        assert link.close() == {"shown": 99}  # again: the same answer


def test_receiver_may_say_goodbye_first() -> None:
    with pair() as (link, receiver, seen, _server):
        thread = threading.Thread(target=receiver.close, args=({"shown": 5},))
        thread.start()
        assert eventually(lambda: seen.byes == [{"shown": 5}])
        assert link.close({"sent": 6}) == {"shown": 5}
        thread.join(5.0)
        assert eventually(lambda: seen.receiver_closed and seen.receiver_closed[0].peer_stats == {"sent": 6})


def test_counts_of_both_ends_agree() -> None:
    with pair() as (link, receiver, seen, _server):
        for number in range(50):
            link.send_frame(number, packet(number, 250))
        assert eventually(lambda: len(seen.frames) == 50)
        assert eventually(lambda: link.stats["bytesInFlight"] == 0)
        sent, received = link.stats, receiver.stats
        assert sent["payloadBytesSent"] == received["payloadBytesReceived"] == 50 * 250
        assert sent["framesSent"] == received["framesReceived"] == 50
        assert abs(sent["wireBytesSent"] - received["wireBytesReceived"]) < 1500
        assert sent["wireBytesSent"] > 50 * (251 + 85)


def test_statistics_that_do_not_fit_are_refused_in_the_callers_thread() -> None:
    with pair() as (link, receiver, _seen, _server):
        for send in (link.send_stats, receiver.send_stats, link.close, receiver.close):
            with pytest.raises(ValueError, match="at most"):
                send({"x": "y" * 70_000})


def test_handler_that_fails_or_blocks_forever_in_close_does_not_end_the_session(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with pair(sender={"on_ack": lambda ack: 1 / 0}) as (link, _, seen, _server):
        link.send_frame(0, packet(0))
        assert eventually(lambda: "ZeroDivisionError" in caplog.text)
        link.send_frame(1, packet(1))
        assert eventually(lambda: len(seen.frames) == 2)


@pytest.mark.parametrize("method", ["lost", "acknowledge", "resend"])
def test_link_that_fails_ends_the_session_and_says_so(
    method: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with pair() as (link, _, seen, _server):
        monkeypatch.setattr(link._session.flow, method, lambda *_: 2.0**10_000)
        link.send_frame(0, packet(0))
        assert eventually(lambda: seen.sender_closed, 3.0)
        assert "OverflowError" in str(seen.sender_closed[0].error) and "OverflowError" in caplog.text


def test_session_that_is_lost_as_soon_as_it_is_open_is_told_like_any_other() -> None:
    seen = Seen()

    def lose(link: ReceiverLink, _hello: Hello) -> None:
        link._session.end(PeerError("gone at once"))

    with (
        ReceiverServer("127.0.0.1:0", HELLO, ReceiverHandlers(on_open=lose)) as server,
        connect(server.url, HELLO, handlers=seen.sender_handlers()) as link,
    ):
        assert eventually(lambda: seen.sender_closed), "the program would go on for ever"
        assert seen.sender_closed == [link.closed]


def test_no_task_and_no_thread_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    before = set(threading.enumerate())
    left: list[list[str]] = []
    stop = LoopThread.stop

    async def tasks() -> list[str]:
        await asyncio.sleep(0.05)
        return [repr(task) for task in asyncio.all_tasks() if task is not asyncio.current_task()]

    def check(self: LoopThread) -> None:
        if self.running:
            left.append(self.run(tasks(), 2.0))
        stop(self)

    monkeypatch.setattr(LoopThread, "stop", check)
    for _ in range(3):
        with pair() as (link, _, seen, _server):
            for number in range(10):
                link.send_frame(number, packet(number, 2000))
            assert eventually(lambda: len(seen.frames) == 10)
    assert left == [[]] * 6
    assert eventually(lambda: set(threading.enumerate()) <= before)


def test_call_from_the_links_own_thread_that_would_wait_for_itself_is_refused() -> None:
    loop = LoopThread()
    caught: list[str] = []

    async def inner() -> None:
        try:
            loop.run(asyncio.sleep(0))
        except RuntimeError as error:
            caught.append(str(error))

    loop.run(inner(), 2.0)
    loop.stop()
    loop.stop()
    assert "must not block" in caught[0] and not loop.running


@pytest.mark.skipif(
    not shutil.which("unshare")
    or not shutil.which("ip")
    or subprocess.run(["unshare", "-rn", "true"], capture_output=True, check=False).returncode != 0,
    reason="this machine does not let us make a network namespace",
)
def test_connects_in_under_a_second_with_only_lo_up() -> None:
    program = textwrap.dedent(
        """
        import time
        from link_pair import pair, packet, eventually
        import vidcodec.link.sender, vidcodec.link.server
        started = time.monotonic()
        with pair() as (link, receiver, seen, server):
            took = time.monotonic() - started
            link.send_frame(0, packet(0))
            assert eventually(lambda: seen.frames)
            print(took)
        """
    )
    result = subprocess.run(
        ["unshare", "-rn", "sh", "-c", 'ip link set lo up && exec "$0" -c "$1"', sys.executable, program],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
        cwd=ROOT,
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "PATH": "/usr/bin:/bin:/usr/sbin:/sbin"},
    )
    assert result.returncode == 0, result.stderr
    assert float(result.stdout) < 1.0


def test_everything_on_the_wire_stays_below_the_cap() -> None:
    with pair(LinkOptions(bye_timeout_s=1.0, max_wire_kbps=60.0)) as (link, _, seen, _):
        before, began_s = link.stats["wireBytesSent"], time.monotonic()
        number = 0
        while time.monotonic() - began_s < 4.0:
            if link.can_send and link.send_frame(number, packet(number, 300)):
                number += 1
            time.sleep(0.01)
        kbps = (link.stats["wireBytesSent"] - before) * 8 / 1000 / (time.monotonic() - began_s)
        assert 45.0 < kbps < 63.0
        assert eventually(lambda: len(seen.frames) == number)
        assert link.budget_bytes(30.0) * 30 * 8 / 1000 < 40.0, "quality is planned for it, too"
