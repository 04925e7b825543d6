"""The receiver as a command: what it refuses, and what it leaves behind when nobody calls."""

import signal
import socket
import sys
from pathlib import Path

import pytest
from call_commands import Command, only_error_line, read_report

from receiver.__main__ import main


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("--listen", "nonsense:port"), 2, "listen"),
        (("--listen", "192.0.2.1:8443"), 2, "listen"),
        (("--listen", "127.0.0.1:0", "--record", "x.avi"), 2, "must end in"),
        (("--snapshot", "x.jpg"), 2, ".png"),
        (("--duration", "-1"), 2, "--duration"),
        (("--cert", "missing.pem"), 2, "--cert and --key"),
        (("--cert", "no.pem", "--key", "no.pem"), 3, "error: --cert no.pem: No such file or directory; give a"),
        (("--cert", __file__, "--key", __file__), 3, "no certificate and its key in PEM"),
        (("--impair", "no.json"), 3, "error: --impair no.json: No such file or directory; give a trace in JSON"),
        (("--token-file", "missing"), 3, "missing"),
        (("--weights", "missing.safetensors"), 3, "missing"),
    ],
)
def test_options_that_make_no_sense_end_with_one_line(
    words: tuple[str, ...], status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--display", "none", "--model", "seed", *words]) == status
    assert said in only_error_line(capsys.readouterr().err.splitlines())


def test_virtual_camera_without_its_package_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "pyvirtualcam", None)
    assert main(["--listen", "127.0.0.1:0", "--display", "none", "--model", "seed", "--virtual-camera"]) == 2
    assert "pip install -e '.[camera]'" in only_error_line(capsys.readouterr().err.splitlines())


def test_port_in_use_is_said_with_advice(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    report = tmp_path / "r.json"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        words = ["--listen", f"127.0.0.1:{taken.getsockname()[1]}", "--model", "seed", "--report", str(report)]
        assert main([*words, "--display", "none"]) == 2
    assert "--listen" in only_error_line(capsys.readouterr().err.splitlines())
    assert read_report(report)["frames_shown"] == 0


def test_interrupt_while_nobody_calls_ends_in_order_with_an_empty_report(tmp_path: Path) -> None:
    report = tmp_path / "r.json"
    words = ["receiver", "--listen", "127.0.0.1:0", "--model", "seed", "--display", "none", "--report", str(report)]
    with Command(*words, env={"VIDCODEC_TOKEN": "from-the-environment"}) as listening:
        url = listening.wait_for("listening at ").split()[-1]
        assert url.endswith("#token=from-the-environment")
        listening.send_signal(signal.SIGINT)
        assert listening.wait() == 0
        assert listening.err == []
    figures = read_report(report)
    assert (figures["frames_captured"], figures["mse"]) == (0, None)
    assert figures["codec"]["device"] == "cpu"
