"""Calls between `python -m receiver` and `python -m sender --connect`, as two people would make them."""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from call_commands import ROOT, Command, only_error_line, read_report
from link_pair import eventually
from safetensors.numpy import load_file

from sender.__main__ import main
from vidcodec.container import read_info, read_packets
from vidcodec.weights import load_weights, save_weights

MODEL = ("--model", "seed")


@dataclass
class Listening:
    """A receiver that waits for calls."""

    command: Command
    url: str
    report: Path
    record: Path

    def reported(self, earlier: str) -> dict[str, object]:
        """The report of the call that ended after `earlier` was in the file."""
        for _ in range(200):
            if self.report.exists() and self.report.read_text() != earlier:
                return read_report(self.report)
            time.sleep(0.05)
        raise AssertionError("no new report")


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listening]:
    folder = tmp_path_factory.mktemp("receiver")
    report, record = folder / "a.json", folder / "a.vdc"
    words = ["receiver", "--listen", "127.0.0.1:0", "--display", "none", *MODEL]
    with Command(*words, "--report", str(report), "--record", str(record)) as command:
        url = command.wait_for("listening at ").split()[-1]
        printed = command.wait_for("  python -m sender --connect ")
        assert printed == f"  python -m sender --connect '{url}'"
        yield Listening(command, url, report, record)
        command.send_signal(signal.SIGTERM)
        assert command.wait() == 0


def call(url: str, *options: str) -> int:
    """Call from this process."""
    return main(["--connect", url, "--input", "sample", *MODEL, *options])


def test_two_reports_agree_on_frames_bytes_and_everything_else(
    receiver: Listening, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(receiver.url, "--frames", "40", "--report", str(tmp_path / "b.json")) == 0
    theirs, ours = receiver.reported(""), read_report(tmp_path / "b.json")
    assert ours == theirs
    assert ours["frames_sent"] == 40
    assert 0 < ours["frames_shown"] <= 40
    assert ours["psnr_db"] > 25
    assert ours["baseline"]["kbps"] > 0
    assert "40 sent" in capsys.readouterr().out
    with receiver.record.open("rb") as file:
        assert read_info(file).model_id == "seed"
        packets = list(read_packets(file))
    received = [len(packet) for packet in packets if packet is not None]
    assert len(received) <= 40
    if len(received) == 40:
        sent_bytes = ours["payload_kbps"] * 125 * ours["duration_s"]
        assert sum(received) == pytest.approx(sent_bytes, rel=1e-3)


def test_receiver_takes_the_next_call_and_wrong_tokens_in_between(
    receiver: Listening, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = receiver.url.split("=")[0] + "=wrong"
    assert call(wrong, "--report", str(tmp_path / "w.json")) == 4
    assert "token refused" in only_error_line(capsys.readouterr().err.splitlines())
    assert read_report(tmp_path / "w.json")["frames_captured"] == 0
    before = receiver.report.read_text() if receiver.report.exists() else ""
    assert call(receiver.url, "--frames", "10", "--bitrate", "900", "--baseline", "bicubic4x") == 0
    assert receiver.reported(before)["frames_sent"] == 10
    assert receiver.command.running
    if before:  # the recording of the call before is still there, beside that of this one
        sizes = [file.stat().st_size for file in receiver.record.parent.glob("a*.vdc")]
        assert len(sizes) == 2 and min(sizes) > 0


def test_token_may_come_from_the_environment_or_a_file(
    receiver: Listening, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, _, token = receiver.url.partition("#token=")
    (tmp_path / "token").write_text(token + "\n")
    assert call(address, "--frames", "3", "--token-file", str(tmp_path / "token")) == 0
    monkeypatch.setenv("VIDCODEC_TOKEN", token)
    assert call(address, "--frames", "3", "--baseline", "none") == 0
    monkeypatch.delenv("VIDCODEC_TOKEN")
    assert call(address, "--frames", "3") == 4


def test_sender_with_other_weights_is_refused_with_a_reason(
    receiver: Listening, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = load_weights("seed")
    arrays = {name: np.array(array) for name, array in load_file(str(weights.path)).items()}
    arrays["steps"] = arrays["steps"] * np.float32(1.001)
    save_weights(tmp_path / "seed.safetensors", arrays, dict(weights.card))
    assert call(receiver.url, "--weights", str(tmp_path / "seed.safetensors")) == 4
    assert "weights" in only_error_line(capsys.readouterr().err.splitlines())


def test_nobody_listening_ends_with_status_4_and_a_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("http://127.0.0.1:9/whip#token=x", "--report", str(tmp_path / "n.json")) == 4
    assert "nobody listens" in only_error_line(capsys.readouterr().err.splitlines())
    assert read_report(tmp_path / "n.json")["codec"]["model_id"] == "seed"


def test_killed_sender_is_noticed_and_reported(tmp_path: Path) -> None:
    report = tmp_path / "k.json"
    words = ["receiver", "--listen", "127.0.0.1:0", "--once", "--display", "none", *MODEL, "--report", str(report)]
    with Command(*words) as listening:
        url = listening.wait_for("listening at ").split()[-1]
        with Command("sender", "--connect", url, "--input", "sample", *MODEL) as sending:
            sending.wait_for("connected")
            time.sleep(2.5)
            sending.send_signal(signal.SIGKILL)
            killed_s = time.monotonic()
            assert listening.wait() == 4
            assert time.monotonic() - killed_s < 4.0 + listening.exit_s
        assert "silent" in only_error_line(listening.err)
    assert read_report(report)["frames_shown"] > 0


def test_receiver_that_is_stopped_while_it_waits_ends_in_order_whatever_became_of_the_last_call() -> None:
    with Command("receiver", "--listen", "127.0.0.1:0", "--display", "none", *MODEL) as listening:
        url = listening.wait_for("listening at ").split()[-1]
        with Command("sender", "--connect", url, "--input", "sample", *MODEL) as sending:
            sending.wait_for("connected")
            sending.send_signal(signal.SIGKILL)
        listening.wait_for("waiting for the next call")
        listening.send_signal(signal.SIGINT)
        assert listening.wait() == 0
        assert "silent" in only_error_line(listening.err)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_receiver_that_comes_back_gets_the_rest_of_the_call(tmp_path: Path) -> None:
    first, second, ours = (tmp_path / name for name in ("1.json", "2.json", "s.json"))
    words = ["receiver", "--listen", f"127.0.0.1:{free_port()}", "--display", "none", *MODEL]
    token = {"VIDCODEC_TOKEN": "the-same"}
    with Command(*words, "--report", str(first), env=token) as listening:
        url = listening.wait_for("listening at ").split()[-1]
        calling = ("sender", "--connect", url, "--input", "sample", *MODEL, "--reconnect-timeout", "60")
        sending = Command(*calling, "--report", str(ours))
        sending.wait_for("connected")
        time.sleep(2)
        listening.send_signal(signal.SIGKILL)
    with sending, Command(*words, "--report", str(second), env=token) as listening:
        listening.wait_for("call at ")
        time.sleep(3)
        assert sending.running
        sending.send_signal(signal.SIGINT)
        assert sending.wait() == 0
        assert all("trying again" in line for line in sending.err), sending.err
        listening.wait_for("waiting for the next call")
    assert read_report(ours)["frames_sent"] == read_report(second)["frames_sent"]
    assert 0 < read_report(second)["frames_shown"] <= read_report(ours)["frames_shown"]


def test_two_ends_that_lost_each_other_agree_on_the_whole_call(tmp_path: Path) -> None:
    theirs, ours = tmp_path / "r.json", tmp_path / "s.json"
    words = ["receiver", "--listen", "127.0.0.1:0", "--display", "none", *MODEL, "--report", str(theirs)]
    with Command(*words) as listening:
        url = listening.wait_for("listening at ").split()[-1]
        calling = ("sender", "--connect", url, "--input", "sample", *MODEL, "--reconnect-timeout", "60")
        with Command(*calling, "--report", str(ours)) as sending:
            sending.wait_for("connected")
            time.sleep(2)
            listening.send_signal(signal.SIGSTOP)
            time.sleep(4.5)
            listening.send_signal(signal.SIGCONT)
            assert eventually(lambda: sum(line.startswith("call at ") for line in listening.out) == 2, 20.0)
            time.sleep(2)
            sending.send_signal(signal.SIGINT)
            assert sending.wait() == 0
        eventually(lambda: sum(line.startswith("waiting for the next call") for line in listening.out) == 2, 5.0)
    assert read_report(theirs) == read_report(ours)
    assert read_report(ours)["frames_shown"] > 0


def test_ctrl_c_while_the_receiver_is_gone_ends_the_call_in_order(tmp_path: Path) -> None:
    report = tmp_path / "s.json"
    with Command("receiver", "--listen", "127.0.0.1:0", "--display", "none", *MODEL) as listening:
        url = listening.wait_for("listening at ").split()[-1]
        calling = ("sender", "--connect", url, "--input", "sample", *MODEL, "--reconnect-timeout", "60")
        with Command(*calling, "--report", str(report)) as sending:
            sending.wait_for("connected")
            time.sleep(1.5)
            listening.send_signal(signal.SIGKILL)
            eventually(lambda: sending.err, 10.0)
            sending.send_signal(signal.SIGINT)
            assert sending.wait() == 0
        assert ["trying again" in line for line in sending.err] == [True]
    assert read_report(report)["frames_sent"] > 0


def test_receiver_whose_reader_went_away_ends_its_call_in_order(tmp_path: Path) -> None:
    theirs, ours = tmp_path / "r.json", tmp_path / "s.json"
    words = ["receiver", "--listen", "127.0.0.1:0", "--display", "none", "--once", *MODEL, "--report", str(theirs)]
    listening = subprocess.Popen(
        [sys.executable, "-m", *words], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert listening.stdout is not None and listening.stderr is not None
    command = next(line for line in listening.stdout if line.startswith("  python -m sender --connect "))
    url = command.split("'")[1]
    listening.stdout.close()  # what `| head -4` does; the next line is that of the call
    assert call(url, "--report", str(ours)) == 0
    assert listening.wait(60) == 0
    assert listening.stderr.read() == ""
    assert read_report(theirs) == read_report(ours)


def test_ctrl_c_at_the_receiver_ends_the_call_on_both_sides(tmp_path: Path) -> None:
    first, second = tmp_path / "1.json", tmp_path / "2.json"
    words = ["receiver", "--listen", "127.0.0.1:0", "--display", "none", *MODEL, "--report", str(first)]
    with Command(*words) as listening:
        url = listening.wait_for("listening at ").split()[-1]
        with Command("sender", "--connect", url, "--input", "sample", *MODEL, "--report", str(second)) as sending:
            code = sending.wait_for("connected").split()[-1]
            assert listening.wait_for("call at ").split()[-1] == code, "nobody sits in between"
            time.sleep(1.5)
            listening.send_signal(signal.SIGINT)
            assert listening.wait() == 0
            assert sending.wait() == 0
            assert sending.err == []
        assert listening.err == []
    reports = read_report(first), read_report(second)
    assert reports[0] == reports[1]
    assert reports[0]["frames_shown"] > 0
