"""The one command of the README: both ends on this machine, over real WebRTC, with originals at hand."""

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from call_commands import ROOT, Command, children, only_error_line, read_report
from test_report import FIELDS

# PyAV after OpenCV, as everywhere.
# isort: split
import av

from sender.__main__ import main
from vidcodec.metrics import mse, psnr_db

COMMON = ("--loopback", "--display", "none", "--model", "seed")


def call(*options: str) -> int:
    """A loopback call from this process; its receiver is a process of its own."""
    return main([*COMMON, *options])


def test_mse_of_the_report_is_that_of_the_recorded_pixels(tmp_path: Path) -> None:
    report_file, recording = tmp_path / "r.json", tmp_path / "r.mkv"
    assert call("--input", "sample", "--duration", "4", "--report", str(report_file), "--record", str(recording)) == 0
    report = read_report(report_file)
    assert report.keys() == FIELDS.keys()
    assert None not in report["latency_ms"]["total"].values()
    assert report["codec"]["model_id"] == "seed"
    assert 0 < report["frames_shown"] <= report["frames_sent"] <= report["frames_captured"]
    assert report["wire_kbps"] > report["payload_kbps"] > 0
    assert 0.5 < report["ms_ssim"] < 1

    ours, theirs = [], []
    with av.open(str(recording)) as container:
        for frame in container.decode(video=0):
            original, shown, baseline = np.split(frame.to_ndarray(format="rgb24"), 3, axis=1)
            ours.append(mse(original, shown))
            theirs.append(mse(original, baseline))
    assert len(ours) == report["frames_shown"]
    assert report["mse"] == pytest.approx(np.mean(ours), rel=1e-9)
    assert report["psnr_db"] == pytest.approx(psnr_db(float(np.mean(ours))))
    assert report["baseline"]["mse"] == pytest.approx(np.mean(theirs), rel=1e-9)
    stages = [report["latency_ms"][stage]["p50"] for stage in ("encode", "network", "decode")]
    assert all(0 < stage < report["latency_ms"]["total"]["p99"] for stage in stages)


def test_demo_leaves_a_film_a_picture_and_a_report_and_ends_by_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("--input", "sample", "--demo", str(tmp_path / "demo"), "--frames", "60", "--baseline", "h264") == 0
    said = capsys.readouterr().out
    assert "baseline (h264" in said
    names = ("side_by_side.mp4", "side_by_side.png", "report.json")
    assert said.endswith("written: " + ", ".join(str(tmp_path / "demo" / name) for name in names) + "\n")
    assert {path.name for path in (tmp_path / "demo").iterdir()} == set(names)
    picture = cv2.imread(str(tmp_path / "demo" / "side_by_side.png"))
    with av.open(str(tmp_path / "demo" / "side_by_side.mp4")) as container:
        frames = [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]
    assert frames[-1].shape == picture.shape
    assert len(frames) >= read_report(tmp_path / "demo" / "report.json")["frames_shown"] > 0
    panels = [picture[46:430, left : left + 384] for left in (16, 416, 816)]
    differences = [float(np.abs(panels[0].astype(int) - panel).mean()) for panel in panels]
    assert differences[0] == 0
    assert all(0 < difference < 16 for difference in differences[1:]), "three versions of one face"


def test_quality_that_a_narrow_path_does_not_carry_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    assert call("--input", "sample", "--quality", "3", "--impair", "rate=40", "--duration", "3") == 0
    assert [record.message for record in caplog.records if "--bitrate in place of --quality" in record.message]
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 1


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the receiver's process through /proc")
def test_killed_receiver_is_noticed_within_four_seconds(tmp_path: Path) -> None:
    report = tmp_path / "k.json"
    with Command("sender", *COMMON, "--input", "sample", "--report", str(report)) as sending:
        sending.wait_for("connected")
        time.sleep(2.5)
        (receiver,) = children(sending.pid)
        subprocess.run(["kill", "-KILL", str(receiver)], check=True)
        killed_s = time.monotonic()
        assert sending.wait() == 4
        assert time.monotonic() - killed_s < 4.0 + sending.exit_s
    assert "silent" in only_error_line(sending.err)
    assert read_report(report)["frames_sent"] > 0


def test_interrupt_in_a_call_ends_it_in_order(tmp_path: Path) -> None:
    report, film = tmp_path / "c.json", tmp_path / "c.mp4"
    words = (*COMMON, "--input", "sample", "--report", str(report), "--record", str(film))
    with Command("sender", *words) as sending:
        sending.wait_for("connected")
        time.sleep(2)
        sending.send_signal(signal.SIGINT)
        assert sending.wait() == 0
    assert sending.err == []
    assert read_report(report)["frames_shown"] > 0
    with av.open(str(film)) as container:
        assert sum(1 for _ in container.decode(video=0)) > 0


def test_interrupt_after_the_figures_leaves_the_exit_status_alone() -> None:
    with Command("sender", *COMMON, "--input", "sample", "--frames", "3") as sending:
        sending.wait_for("first frame sent")
        sending.send_signal(signal.SIGINT)
        assert sending.wait() == 0
    assert sending.err == []


@pytest.mark.skipif(sys.platform != "linux", reason="sets a locale by the environment")
def test_call_in_a_locale_without_the_letters_of_its_files_says_them_in_ascii(tmp_path: Path) -> None:
    film = tmp_path / "ü.mkv"
    film.write_bytes(b"an older film")
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONWARNINGS": "error"}
    words = (*COMMON, "--input", "sample", "--frames", "3", "--record", str(film))
    with Command("sender", *words, env=ascii_only) as sending:
        assert sending.wait() == 0
    assert sending.err == []  # no pipe is left open, either
    assert any(line.startswith("recording to ") and r"\udcc3\udcbc-2.mkv" in line for line in sending.out)
    assert (tmp_path / "ü-2.mkv").stat().st_size


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_recording_that_the_receiver_cannot_write_is_status_3_of_the_sender_too(tmp_path: Path) -> None:
    stream, report = tmp_path / "r.vdc", tmp_path / "r.json"
    stream.symlink_to("/dev/full")
    words = (*COMMON, "--input", "sample", "--duration", "9", "--record", str(stream), "--report", str(report))
    with Command("sender", *words) as sending:
        assert sending.wait() == 3
    assert [line for line in sending.err if "No space left on device" in line] == sending.err != []
    assert read_report(report)["frames_sent"] > 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_report_that_a_full_disk_does_not_take_is_still_printed(tmp_path: Path) -> None:
    (tmp_path / "r.json.partial").symlink_to("/dev/full")
    words = (*COMMON, "--input", "sample", "--frames", "3", "--report", str(tmp_path / "r.json"))
    with Command("sender", *words) as sending:
        assert sending.wait() == 3
    assert [line for line in sending.err if "No space left on device" in line] == sending.err != []
    assert any("frames captured" in line for line in sending.out)


def test_reader_that_went_away_is_no_error_of_the_call() -> None:
    words = (*COMMON, "--display", "web", "--input", "sample", "--duration", "1")
    sending = subprocess.Popen(
        [sys.executable, "-m", "sender", *words], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert sending.stdout is not None and sending.stderr is not None
    sending.stdout.close()  # what `| head -0` does; the receiver's lines go there as well as the sender's
    assert sending.wait(90) == 0
    assert sending.stderr.read() == ""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the receiver's process through /proc")
def test_interrupt_before_the_call_leaves_a_report_and_no_process(tmp_path: Path) -> None:
    report = tmp_path / "e.json"
    with Command("sender", *COMMON, "--input", "sample", "--report", str(report)) as sending:
        while not (found := children(sending.pid)):
            assert sending.running
            time.sleep(0.02)
        sending.send_signal(signal.SIGINT)
        assert sending.wait() == 0
        assert not any("Traceback" in line for line in sending.err)
    until_s = time.monotonic() + 60
    while any(Path(f"/proc/{pid}").exists() for pid in found):
        assert time.monotonic() < until_s, "the receiver's process is still there"
        time.sleep(0.05)


def has_namespaces() -> bool:
    """Whether this user may make a network namespace."""
    unshare = shutil.which("unshare")
    return (
        unshare is not None
        and subprocess.run([unshare, "-rn", "true"], capture_output=True, check=False).returncode == 0
    )


LO_UP = """
import fcntl, os, socket, struct, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
    fcntl.ioctl(any_socket, 0x8914, struct.pack("16sH14s", b"lo", 0x1 | 0x40, b""))  # SIOCSIFFLAGS: up and running
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


@pytest.mark.skipif(not has_namespaces(), reason="needs `unshare -rn`")
def test_call_connects_at_once_on_a_machine_with_nothing_but_lo(tmp_path: Path) -> None:
    command = ["unshare", "-rn", sys.executable, "-c", LO_UP, "-m", "sender", *COMMON, "--input", "sample"]
    done = subprocess.run(
        [*command, "--frames", "20"], cwd=ROOT, capture_output=True, text=True, timeout=120, check=True
    )
    line = next(line for line in done.stdout.splitlines() if line.startswith("connected in "))
    assert float(line.split()[2]) < 1.0
    assert done.stderr == ""
