"""The file commands: what is encoded here decodes elsewhere to the same pictures, whatever the machine's threads."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from call_commands import ROOT

# PyAV after OpenCV, as everywhere.
# isort: split
import av

from sender.capture import SAMPLE, open_source
from sender.crop import crop_frames
from vidcodec.__main__ import main
from vidcodec.cli import default_model
from vidcodec.codec import load_codec
from vidcodec.container import StreamInfo, StreamWriter, read_info, read_packets
from vidcodec.metrics import mse

FRAMES = 24


def originals(count: int) -> list[np.ndarray]:
    with open_source("sample", paced=False) as source:
        cropped = crop_frames((frame.picture for frame in source.frames()), source.fps, "face")
        return [picture for picture, _ in zip(cropped, range(count), strict=False)]


@pytest.mark.parametrize("model", sorted({"seed", default_model()}))
def test_stream_decodes_in_another_process_with_other_threads_to_the_mse_of_its_report(
    model: str, tmp_path: Path
) -> None:
    stream, report, video = tmp_path / "x.vdc", tmp_path / "r.json", tmp_path / "x.mkv"
    words = ["encode", "sample", str(stream), "--model", model, "--threads", "1", "--frames", str(FRAMES)]
    assert main([*words, "--report", str(report)]) == 0
    # The decoder checks every symbol against the checksum that the encoder put into the packet.
    command = [sys.executable, "-m", "vidcodec", "decode", str(stream), str(video), "--threads", "2"]
    subprocess.run(command, cwd=ROOT, check=True, timeout=120)
    with av.open(str(video)) as container:
        decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(decoded) == FRAMES
    measured = float(np.mean([mse(a, b) for a, b in zip(originals(FRAMES), decoded, strict=True)]))
    assert json.loads(report.read_text())["mse"] == pytest.approx(measured, rel=2e-3)


def test_info_counts_what_is_in_a_stream(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stream = tmp_path / "x.vdc"
    assert main(["encode", "sample", str(stream), "--model", "seed", "--quality", "1", "--frames", "5"]) == 0
    capsys.readouterr()
    assert main(["info", str(stream), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert (figures["model_id"], figures["frames"], figures["lost_frames"]) == ("seed", 5, 0)
    assert figures["mean_quality"] == 1
    parts = figures["header_bits_per_frame"] + figures["y_bits_per_frame"]
    assert figures["header_bits_per_frame"] == 40 and figures["bits_per_frame"] - 8 < parts <= figures["bits_per_frame"]
    assert figures["bytes"] < stream.stat().st_size < figures["bytes"] + 300


def test_info_splits_the_bits_of_the_learned_codec(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stream = tmp_path / "x.vdc"
    assert main(["encode", "sample", str(stream), "--model", "s", "--quality", "20", "--frames", "6"]) == 0
    capsys.readouterr()
    assert main(["info", str(stream), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    parts = [figures[f"{name}_bits_per_frame"] for name in ("header", "motion", "z", "y")]
    assert parts[0] == (40 + 5 * 32) / 6 and all(bits > 0 for bits in parts)
    assert abs(sum(parts) - figures["bits_per_frame"]) < 8


@pytest.mark.parametrize("name", ["talk.mp4", "talk"])
def test_only_a_vdc_is_written_so_that_a_video_named_twice_is_kept(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video = tmp_path / name
    video.write_bytes(SAMPLE.read_bytes())
    assert main(["encode", str(video), str(video), "--model", "seed", "--frames", "1"]) == 2
    assert video.read_bytes() == SAMPLE.read_bytes()
    assert "use .vdc" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["encode", "decode"])
def test_input_is_never_written_over(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kind = {"encode": ".vdc", "decode": ".mkv"}[command]
    video, link = tmp_path / f"a{kind}", tmp_path / f"b{kind}"
    video.write_bytes(SAMPLE.read_bytes())
    link.symlink_to(video)
    for other in (video, link, tmp_path / "." / video.name):
        assert main([command, str(video), str(other)]) == 2
        assert "is the same file as" in capsys.readouterr().err
    assert video.read_bytes() == SAMPLE.read_bytes()


def test_film_that_was_decoded_before_outlives_a_stream_without_a_picture(tmp_path: Path) -> None:
    stream, film = tmp_path / "x.vdc", tmp_path / "x.mkv"
    assert main(["encode", "sample", str(stream), "--model", "seed", "--frames", "1", "--crop", "center"]) == 0
    assert main(["decode", str(stream), str(film)]) == 0
    before = film.read_bytes()
    stream.write_bytes(stream.read_bytes()[:-1])
    assert main(["decode", str(stream), str(film)]) == 5
    assert film.read_bytes() == before


def test_report_does_not_replace_the_stream(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stream = str(tmp_path / "x.vdc")
    assert main(["encode", "sample", stream, "--model", "seed", "--report", stream]) == 2
    assert "is the same file as" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("which", ["stream", "report"])
def test_full_disk_is_one_line_and_status_3(which: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = {"stream": tmp_path / "x.vdc", "report": tmp_path / "r.json"}
    paths[which].symlink_to("/dev/full")
    words = ["encode", "sample", str(paths["stream"]), "--model", "seed", "--frames", "2", "--crop", "center"]
    assert main([*words, "--report", str(paths["report"])]) == 3
    assert capsys.readouterr().err == f"error: {paths[which]}: No space left on device\n"


def test_report_that_cannot_be_written_is_said_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stream = tmp_path / "x.vdc"
    assert main(["encode", "sample", str(stream), "--model", "seed", "--report", str(tmp_path)]) == 3
    assert not stream.exists() and "--report" in capsys.readouterr().err


def test_stream_of_other_weights_is_not_called_damaged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stream = tmp_path / "x.vdc"
    with stream.open("wb") as file:
        StreamWriter(file, StreamInfo("seed", "0" * 64, 30.0))
    for words in (["info", str(stream)], ["decode", str(stream), str(tmp_path / "x.mkv")]):
        assert main(words) == 3
        assert "made with other weights of model 'seed'; give --weights FILE" in capsys.readouterr().err


def test_stream_of_a_model_that_is_not_here_is_no_fault_of_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stream = tmp_path / "x.vdc"
    with stream.open("wb") as file:
        StreamWriter(file, StreamInfo("later-1", "0" * 64, 30.0))
    for words in (["info", str(stream)], ["decode", str(stream), str(tmp_path / "x.mkv")]):
        assert main(words) == 3
        assert f"{stream}: made with model 'later-1'" in capsys.readouterr().err


def test_more_threads_than_torch_survives_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "x.vdc", "--threads", "100000"]) == 2
    assert "--threads 100000" in capsys.readouterr().err


def test_stream_without_a_frame_is_said_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stream = tmp_path / "x.vdc"
    with stream.open("wb") as file:
        StreamWriter(file, StreamInfo("seed", load_codec("seed").info.weights_sha256, 30.0))
    assert main(["decode", str(stream), str(tmp_path / "x.mkv")]) == 5
    assert "no packet is in it" in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["x.vdc"]


def test_stream_cut_short_gives_the_frames_before_the_cut_and_status_5(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stream = tmp_path / "x.vdc"
    assert main(["encode", "sample", str(stream), "--model", "seed", "--quality", "0", "--frames", "4"]) == 0
    stream.write_bytes(stream.read_bytes()[:-100])
    assert main(["decode", str(stream), str(tmp_path / "x.png")]) == 5
    assert len(list(tmp_path.glob("x_*.png"))) == 3
    assert cv2.imread(str(tmp_path / "x_00002.png")).shape == (192, 192, 3)
    assert capsys.readouterr().err == f"error: {stream}: file ends inside record 3; 3 frames were written\n"
    capsys.readouterr()
    assert main(["info", str(stream), "--json"]) == 5
    told = capsys.readouterr()
    assert told.err == f"error: {stream}: file ends inside record 3; 3 frames are before it\n"
    assert json.loads(told.out)["frames"] == 3


def test_damaged_packet_is_said_with_its_place_in_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stream = tmp_path / "x.vdc"
    assert main(["encode", "sample", str(stream), "--model", "seed", "--quality", "0", "--frames", "2"]) == 0
    capsys.readouterr()
    data = bytearray(stream.read_bytes())
    with stream.open("rb") as file:
        read_info(file)
        first = file.tell()
    data[first + 3 + 3] ^= 1  # the last bits of a header whose distance follows are those of the checksum
    stream.write_bytes(data)
    said = f"error: {stream}: record 0: packet 0 is damaged: its checksum does not match"
    assert main(["info", str(stream)]) == 5
    assert capsys.readouterr() == ("", f"{said}; 0 frames are before it\n")
    assert main(["decode", str(stream), str(tmp_path / "x.png")]) == 5
    assert capsys.readouterr().err == f"{said}; 0 frames were written\n"


@pytest.mark.parametrize("how", [["--quality", "20"], ["--bitrate", "40"]])
def test_file_begins_anew_as_often_as_asked(how: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stream, film = tmp_path / "x.vdc", tmp_path / "x.mkv"
    assert main(["encode", "sample", str(stream), "--frames", "14", "--gop", "0.2", *how]) == 0
    with stream.open("rb") as file:
        read_info(file)
        distances = [packet.header.distance for packet in read_packets(file) if packet is not None]
    gop = round(0.2 * 30)  # frames of the sample
    assert [at for at, distance in enumerate(distances) if not distance] == list(range(0, 14, gop))
    assert main(["decode", str(stream), str(film)]) == 0


@pytest.mark.parametrize("gop", ["-1", "nan", "inf"])
def test_gop_that_is_no_time_is_refused(gop: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["encode", "sample", str(tmp_path / "x.vdc"), "--gop", gop]) == 2
    assert "--gop" in capsys.readouterr().err
