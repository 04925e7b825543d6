"""`bench link`: what it says about a network that is known."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from test_baselines_video import moving_frames

from vidcodec.bench import main
from vidcodec.bench.callfigures import Course, ShownFrame, back_after_s, freezes, step_figures
from vidcodec.bench.callfigures import figures as call_figures
from vidcodec.bench.channelpeer import ChannelPeer
from vidcodec.bench.farend import CodecSpec, Remote, free_port
from vidcodec.bench.link import CONNECT_S, at_rate, minutes
from vidcodec.bench.linkpackets import figures
from vidcodec.bench.networks import choose, networks
from vidcodec.bench.soak import slope
from vidcodec.bench.videotrack import TrackPlan, send_track, to_and_fro
from vidcodec.errors import MissingReference, UsageError
from vidcodec.link.impair import parse_impairment
from vidcodec.metrics import psnr_db


def test_freezes_are_those_of_w3c() -> None:
    assert freezes([]) == 0
    assert freezes([33.0] * 100) == 0
    assert freezes([33.0] * 99 + [180.0]) == 0  # mean about 34.5: below mean + 150
    assert freezes([33.0] * 99 + [180.0, 400.0]) == 1
    assert freezes([1000.0] * 9 + [2900.0]) == 0  # slow is not frozen: below three means


def test_figures_count_what_was_sent_refused_and_lost() -> None:
    sent = {number: 100.0 * number for number in range(20)}
    arrived = [(number, 100.0 * number + 30) for number in range(20) if number != 7]
    row = figures("loss=5", sent, 4, arrived, 19_000)
    assert (row["frames"], row["sent"], row["refused"], row["arrived"]) == (24, 20, 4, 19)
    assert row["delay_ms"] == {"p50": 30.0, "p95": 30.0, "p99": 30.0}
    assert row["delay_growth_ms"] == 0.0
    assert row["longest_gap_ms"] == 200.0
    assert row["wire_kbps"] == 80.0


def test_command_measures_delay_and_loss_of_a_known_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["link", "--link-only", "--impair", "delay=30", "--seconds", "2", "--out", str(tmp_path)]
    assert main(command) == 0
    assert "| `delay=30` |" in capsys.readouterr().out
    row = json.loads((tmp_path / "link.json").read_text())["rows"][0]
    assert row["arrived"] >= 0.95 * row["sent"] > 0
    assert row["delay_ms"]["p50"] >= 30
    assert row["wire_kbps"] > 30 * (85 + 100) * 8 / 1000


def course(shown: list[ShownFrame], wire: tuple[tuple[float, int], ...] = (), seconds: float = 10.0) -> Course:
    return Course(0.0, seconds, 300, 290, tuple(shown), wire)


def test_figures_of_a_call_are_those_that_can_be_counted_by_hand() -> None:
    shown = [
        ShownFrame(100.0 * i, 100.0 * i + 60.0, 100.0 * i + 20.0, 100.0 * i + 50.0, 192 * 192 * 3 * 4)
        for i in range(50)
    ]
    row = call_figures(course(shown, ((0.0, 0), (5000.0, 25_000), (10_000.0, 50_000))))
    assert row["fps"] == 5.0 and row["shown_percent"] == pytest.approx(16.7)
    assert row["total_ms"] == {"p50": 60.0, "p95": 60.0, "p99": 60.0}
    assert row["network_ms"]["p95"] == 30.0 and row["growth_ms"] == 0.0
    assert row["wire_kbps"] == 40.0 and row["freezes"] == 0
    assert row["mse"] == pytest.approx(4 / 255**2)


def test_call_without_a_frame_has_figures_that_say_so() -> None:
    row = call_figures(course([]))
    assert row["shown"] == 0 and row["mse"] is None and row["total_ms"]["p50"] is None and row["wire_kbps"] is None


def test_step_settles_when_delays_are_short_again_and_the_path_is_used() -> None:
    shown = [
        ShownFrame(at, at + delay + 30, at, at + delay)
        for at in (50.0 * i for i in range(1200))
        for delay in [400.0 if 20_000 <= at < 21_500 else 60.0]
    ]
    sizes, wire, total = ((0, 20, 5), (20, 40, 5.5), (40, 61, 15)), [(0.0, 0)], 0.0
    for start, end, kilobytes in sizes:
        for second in range(start, end):
            total += 1000 * (kilobytes if second >= start + 3 or start < 40 else 5)
            wire.append((1000.0 * (second + 1), int(total)))
    row = step_figures(course(shown, tuple(wire), 60.0), (20.0, 40.0), (150.0, 50.0, 150.0))
    assert row["settles_down_s"] == pytest.approx(1.45, abs=0.1)
    assert row["settles_up_s"] == 3.0, "from the second on in which it is used"
    assert row["use_percent"][1] == 88


def test_back_after_is_the_next_frame_and_none_when_there_is_none() -> None:
    shown = [ShownFrame(0.0, 100.0), ShownFrame(0.0, 35_500.0)]
    assert back_after_s(course(shown), 35_000.0) == 0.5
    assert back_after_s(course(shown), 36_000.0) is None


def test_rate_between_two_points_of_a_curve_lies_between_their_errors() -> None:
    curve = [(40.0, 4e-4), (80.0, 2e-4), (160.0, 1e-4)]
    assert at_rate(curve, 80.0) == pytest.approx(2e-4)
    assert at_rate(curve, 56.57) == pytest.approx(2.83e-4, rel=0.01)
    assert at_rate(curve, 320.0) == pytest.approx(0.5e-4)


def test_rows_are_chosen_by_name_and_know_what_they_do() -> None:
    assert [row.name for row in choose(20.0, ["loss10", "steps"])] == ["loss10", "steps"]
    by_name = {row.name: row for row in networks(60.0)}
    assert by_name["burst3"].words == "delay=20, loss=5, burst=3"
    assert by_name["rate60loss5"].words == "delay=20, loss=5, rate=60"
    assert by_name["steps"].seconds == 60.0 and by_name["steps"].path.at(30_000.0).rate_kbps == 50.0
    assert by_name["blackout"].path.at(20_000.0).loss_percent == 100.0
    with pytest.raises(UsageError, match="rate40"):
        choose(20.0, ["wind"])


def test_video_codec_over_our_channel_starts_again_after_a_loss() -> None:
    encoder, decoder = ChannelPeer("svtav1", 30.0), ChannelPeer("svtav1", 30.0)
    ours, theirs = encoder.blank_state(), decoder.blank_state()
    states = []
    for number, frame in enumerate(moving_frames(12)):
        if number == 6:
            ours = states[3]  # the receiver said that it holds frame 3 and nothing after it
        packet, ours = encoder.encode(frame, ours, 0, number)
        states.append(ours)
        assert packet.header.distance == (0 if number in (0, 6) else 1)
        if number in (4, 5):
            continue
        picture, theirs = decoder.decode(packet, theirs)
        assert (picture == ours.picture).all()
        assert psnr_db(float(((picture / 255.0 - frame / 255.0) ** 2).mean())) > 24
    assert encoder.opened == 2
    with pytest.raises(MissingReference):
        decoder.decode(packet, theirs)


def test_slope_is_that_of_a_straight_line() -> None:
    assert slope([(0.0, 1.0), (1.0, 3.0), (2.0, 5.0)]) == pytest.approx(2.0)
    assert slope([(0.0, 1.0), (1.0, 3.0)]) is None


def test_clip_is_played_to_and_fro() -> None:
    assert [to_and_fro(number, 4) for number in range(9)] == [0, 1, 2, 3, 2, 1, 0, 1, 2]
    assert to_and_fro(5, 1) == 0


def test_video_track_through_a_bad_network_is_measured() -> None:
    plan = TrackPlan(20.0, parse_impairment("delay=30"), most_kbps=200.0)
    run = send_track(np.stack(moving_frames(20)), 40, plan)
    assert len(run.frames) > 20
    assert [frame.number for frame in run.frames] == sorted({frame.number for frame in run.frames})
    assert min(frame.shown_ms - run.sent_ms[frame.number] for frame in run.frames) >= 30.0
    errors = [frame.squared_error for frame in run.frames if frame.squared_error is not None]
    assert len(errors) == len(run.frames) and max(errors[len(errors) // 2 :]) / (176 * 192 * 3) < 60.0**2
    assert run.wire[-1][1] > 5000


def test_command_holds_a_real_call_over_a_lossy_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["link", "--seconds", "3", "--only", "20ms", "--codecs", "s", "--out", str(tmp_path)]
    assert main(command) == 0
    assert "| `delay=20` | s |" in capsys.readouterr().out
    result = json.loads((tmp_path / "calls.json").read_text())
    assert result["complete"] is True
    row = result["rows"][0]
    assert row["shown"] > 20 and row["total_ms"]["p50"] > row["network_ms"]["p50"] >= 20
    assert 20 < row["wire_kbps"] < 150 and 1e-5 < row["mse"] < 5e-3 and row["load"] >= 0

    command[command.index("s")] = "svtav1"
    assert main(command) == 0
    both = json.loads((tmp_path / "calls.json").read_text())["rows"]
    assert [row["codec"] for row in both] == ["s", "svtav1"] and both[0] == row, "another codec's call is kept"
    command[command.index("3")] = "2"
    assert main(command) == 0
    other = json.loads((tmp_path / "calls.json").read_text())["rows"]
    assert [row["codec"] for row in other] == ["svtav1"], "a shorter call is not compared with a longer one"


def test_interrupted_run_leaves_the_calls_that_it_has(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "vidcodec", "bench", "link", "--seconds", "3", "--only", "20ms", "loss2"]
    words = [*command, "--codecs", "s", "--out", str(tmp_path)]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, start_new_session=True)
    until_s = time.monotonic() + 120.0
    while not (tmp_path / "calls.json").exists() and process.poll() is None and time.monotonic() < until_s:
        time.sleep(0.1)
    time.sleep(4)  # the next call runs by now
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the far end gets it, too
    error = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    result = json.loads((tmp_path / "calls.json").read_text())
    assert result["complete"] is False and [row["network"] for row in result["rows"]] == ["20ms"]
    assert "of about 1 min] loss2" in error and "Traceback" not in error
    assert "terminate called" not in error


def test_far_end_is_said_to_listen_when_it_does_and_not_when_it_ends() -> None:
    remote = Remote(CodecSpec("seed", "cpu", "auto", 1), 30.0, "token-of-a-test", free_port())
    remote.start()
    listening_ms = remote.listening_ms
    assert listening_ms > 0
    remote.stop()
    assert "threads_left" in remote.facts and remote.listening_ms == listening_ms


def test_time_of_a_run_counts_the_lossless_calls_to_compare_with() -> None:
    plan = [(network, "s", "sample") for network in choose(60.0, ["loss2", "loss10"])]
    assert minutes(plan, 60.0, ["sample"]) == pytest.approx(6 * (60 + CONNECT_S) / 60)
    plan += [(network, "s", "sample") for network in choose(60.0, ["20ms"])]
    assert minutes(plan, 60.0, ["sample"]) == pytest.approx(6 * (60 + CONNECT_S) / 60)
    assert minutes([(choose(60.0, ["killed"])[0], "svtav1", "sample")], 60.0, ["sample"]) == pytest.approx(0.5)


def test_soak_command_reports_memory_and_what_is_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["link", "--soak", "0.1", "--out", str(tmp_path)]) == 0
    assert "Threads left at the end: none" in capsys.readouterr().out
    result = json.loads((tmp_path / "soak.json").read_text())
    assert result["sent"] > 20 and result["psnr_last_db"] > 25 and len(result["samples"]) >= 4


def test_bad_options_end_with_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["link", "--link-only", "--impair", "wind=3"]) == 2
    assert main(["link", "--link-only", "--packet-bytes", "3"]) == 2
    assert main(["link", "--only", "wind"]) == 2
    assert main(["link", "--seconds", "0"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4 and all(line.startswith("error: ") for line in lines)
