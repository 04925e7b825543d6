"""The sender as a command: what it refuses, how it says so, and that a report is there whatever happened."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from call_commands import ROOT, only_error_line, read_report
from videos import write_video

from sender.__main__ import main
from sender.capture import open_source
from vidcodec.report import Report
from vidcodec.terminal import print_report

NOWHERE = ("--connect", "http://127.0.0.1:9/whip#token=x")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "--loopback"),
        (("--loopback", "--quality", "3", "--bitrate", "40"), "--quality and --bitrate"),
        (("--loopback", "--bitrate", "-1"), "--bitrate"),
        (("--loopback", "--bitrate", "nan"), "--bitrate"),
        (("--loopback", "--duration", "0"), "--duration"),
        (("--loopback", "--fps", "0"), "--fps"),
        (("--loopback", "--width", "-5"), "--width"),
        ((*NOWHERE, "--ice-server", "http://x"), "http://x"),
        ((*NOWHERE, "--relay-only"), "TURN"),
        ((*NOWHERE, "--impair", "hail=3"), "hail"),
        ((*NOWHERE, "--reconnect-timeout", "-1"), "--reconnect-timeout"),
        ((*NOWHERE, "--max-wire-kbps", "5"), "--max-wire-kbps 5"),
        (("--connect", "ftp://x", "--input", "sample"), "URL"),
        ((*NOWHERE, "--record", "x.mkv"), "--record"),
        ((*NOWHERE, "--demo", "x"), "--demo"),
        (("--loopback", "--cert", "c.pem", "--key", "k.pem"), "--cert is for the page of --watch"),
        ((*NOWHERE, "--key", "k.pem"), "--key is for the page of --watch"),
        (("--loopback", "--watch-files", "x"), "--watch-files is for the page of --watch"),
        (("--loopback", "--record", "x.avi"), "must end in"),
        (("--loopback", "--snapshot", "x.jpg"), ".png"),
        (("--loopback", "--input", "sample", "--model", "seed", "--quality", "63"), "--quality 63"),
    ],
)
def test_options_that_make_no_sense_end_with_status_2_and_one_line(
    words: tuple[str, ...], said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert said in only_error_line(capfd.readouterr().err.splitlines())


def test_certificate_of_a_receiver_in_the_environment_stops_no_sender(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VIDCODEC_CERT", "c.pem")
    monkeypatch.setenv("VIDCODEC_KEY", "k.pem")
    assert main([*NOWHERE, "--input", str(tmp_path / "missing.mp4"), "--model", "seed"]) == 3
    assert "missing.mp4" in only_error_line(capsys.readouterr().err.splitlines())


@pytest.mark.parametrize("words", [("--bitrate", "many"), ("--model", "none"), ("--crop", "ear"), ("--display", "tv")])
def test_words_that_no_option_takes_end_with_status_2(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--loopback", *words]) == 2
    said = only_error_line(capsys.readouterr().err.splitlines())
    assert words[0] in said and words[1] in said


def test_inputs_that_cannot_be_read_end_with_status_3_and_a_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
    report = tmp_path / "r.json"
    for name in ("missing.mp4", "empty.mp4", "noise.mp4", ".", "97"):
        source = name if name.isdigit() else str(tmp_path / name)
        report.unlink(missing_ok=True)
        assert main([*NOWHERE, "--input", source, "--model", "seed", "--report", str(report)]) == 3
        assert source in only_error_line(capsys.readouterr().err.splitlines())
        assert read_report(report)["frames_captured"] == 0
    for option in ("--weights", "--token-file"):
        words = ["--connect", "http://127.0.0.1:9/whip", "--input", "sample", "--model", "seed"]
        assert main([*words, option, str(tmp_path / "missing")]) == 3
        assert "missing" in only_error_line(capsys.readouterr().err.splitlines())


@pytest.mark.parametrize(
    "words",
    [
        ("--loopback", "--display", "none", "--web", "nonsense:port"),
        ("--watch", "nonsense:port"),
        (*NOWHERE, "--web", "nonsense:port"),
    ],
)
def test_bad_address_is_all_that_is_said_where_there_is_no_camera(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        "sender.capture.open_source_or_sample", lambda _source, **_options: (open_source("sample"), "no camera found")
    )
    assert main([*words, "--frames", "1"]) == 2
    out, err = capfd.readouterr()
    assert out == "" and "nonsense:port" in only_error_line(err.splitlines())


def test_report_that_cannot_be_written_is_said_before_anything_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert main([*NOWHERE, "--input", "missing.mp4", "--report", str(tmp_path / "file" / "r.json")]) == 3
    assert "--report" in only_error_line(capsys.readouterr().err.splitlines())


def test_odd_videos_are_sent_all_the_same(tmp_path: Path) -> None:
    """One pixel, one frame, no face: each is a call like any other."""
    rng = np.random.default_rng(1)
    dot = write_video(tmp_path / "dot.mkv", [rng.integers(0, 256, (1, 1, 3), np.uint8) for _ in range(12)])
    faceless = write_video(tmp_path / "wall.mkv", [np.full((120, 160, 3), 90, np.uint8)] * 12)
    single = write_video(tmp_path / "one.mkv", [rng.integers(0, 256, (50, 400, 3), np.uint8)])
    for source, frames in ((dot, 12), (faceless, 12), (single, 1)):
        report = tmp_path / "r.json"
        words = ["--loopback", "--display", "none", "--model", "seed", "--input", str(source), "--report", str(report)]
        assert main(words) == 0
        figures = read_report(report)
        assert figures["frames_captured"] == frames
        assert 0 < figures["frames_shown"] <= frames


def test_source_slower_than_a_hello_can_say_is_sent_all_the_same(tmp_path: Path) -> None:
    report = tmp_path / "r.json"
    words = ["--loopback", "--display", "none", "--model", "seed", "--input", "sample", "--report", str(report)]
    assert main([*words, "--fps", "0.005", "--frames", "1"]) == 0
    assert read_report(report)["frames_sent"] == 1


def test_command_that_was_begun_without_stdout_ends_as_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)  # what Python makes of `>&-`
    assert main(["--loopback", "--display", "none", "--model", "seed", "--input", "sample", "--frames", "1"]) == 0


def test_interrupt_while_the_figures_are_printed_changes_no_exit_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(report: Report) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        print_report(report)

    monkeypatch.setattr("vidcodec.terminal.print_report", interrupted)
    report = tmp_path / "r.json"
    words = ["--loopback", "--display", "none", "--model", "seed", "--input", "sample", "--report", str(report)]
    assert main([*words, "--frames", "1"]) == 0
    assert "1 sent" in capsys.readouterr().out and read_report(report)["frames_sent"] == 1


def test_camera_list_says_when_there_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list-devices"]) == 0
    assert capsys.readouterr().out.strip()


@pytest.mark.parametrize("module", ["sender", "receiver"])
def test_help_is_quick_and_needs_no_heavy_module(module: str) -> None:
    program = (
        f"import sys, {module}.__main__ as command\n"
        "try: command.main(['--help'])\n"
        "except SystemExit as end: assert end.code == 0\n"
        "print(sorted({'torch', 'cv2', 'av', 'aiortc', 'rich'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
