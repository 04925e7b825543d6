"""`bench speed` and `bench latency`: counts that can be checked by hand, stages that add up."""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from call_commands import ROOT, children, only_error_line
from test_baselines_video import moving_frames

from tests.tiny import RICH, moving_face, tiny_codec
from vidcodec.bench import main
from vidcodec.bench.backends import compare
from vidcodec.bench.backends import markdown as backends_page
from vidcodec.bench.coders import ModelSpec, find_spec
from vidcodec.bench.latency import markdown, plot
from vidcodec.bench.speed import FRAMES, WARM_UP, count_gmac, in_torch
from vidcodec.bench.stages import DECODE, ENCODE, break_down
from vidcodec.bench.stages import WARM_UP as STAGES_WARM_UP
from vidcodec.bench.stages import markdown as stages_page
from vidcodec.bench.streams import NO_CUDA, Step, steps_page, throughput, time_steps
from vidcodec.bench.streams import WARM_UP as STEPS_WARM_UP
from vidcodec.bench.streams import markdown as gpu_page
from vidcodec.bench.videotrack import mark, read_mark, run_track
from vidcodec.networks.model import VideoModel
from vidcodec.report import STAGES


def test_multiply_accumulates_are_those_of_the_layer() -> None:
    layer = torch.nn.Conv2d(8, 16, 3, padding=1)
    with torch.inference_mode():
        assert count_gmac(lambda: layer(torch.zeros(1, 8, 24, 24))) == pytest.approx(24 * 24 * 8 * 16 * 9 / 1e9)
        grouped = torch.nn.Conv2d(16, 16, 3, padding=1, groups=16)
        assert count_gmac(lambda: grouped(torch.zeros(1, 16, 24, 24))) == pytest.approx(24 * 24 * 16 * 9 / 1e9)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the worker through /proc")
def test_worker_ends_when_the_command_is_killed() -> None:
    work = "import time\nfrom vidcodec.bench.speed import _alone\n_alone(time.sleep, 120)"
    command = subprocess.Popen([sys.executable, "-c", work], cwd=ROOT)
    until_s = time.monotonic() + 60
    try:
        while not (workers := [pid for pid in children(command.pid) if b"spawn_main" in command_line(pid)]):
            assert time.monotonic() < until_s
            time.sleep(0.1)
        time.sleep(3)  # until it works
    finally:
        command.kill()
        command.wait()
    while any(b"spawn_main" in command_line(pid) for pid in workers):
        assert time.monotonic() < until_s, "the worker is still there"
        time.sleep(0.1)


def command_line(pid: int) -> bytes:
    """Of a process; empty where it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def test_share_of_torch_is_that_of_its_operators() -> None:
    x = torch.zeros(1, 64, 96, 96)
    layer = torch.nn.Conv2d(64, 64, 3, padding=1)

    def only_torch() -> None:
        with torch.inference_mode():
            for _ in range(10):
                layer(x)

    assert in_torch(only_torch) > 0.6
    assert in_torch(lambda: time.sleep(0.2)) < 0.2


def test_backends_agree_and_what_is_missing_is_named() -> None:
    def make() -> VideoModel:
        torch.manual_seed(3)
        return VideoModel(RICH).eval().requires_grad_(False)

    timings, notes = compare(make, 1, calls=3, only=("torch", "torch, packed", "OpenVINO"))
    measured = {(t.backend, t.network) for t in timings}
    for network in ("analysis", "synthesis"):
        assert ("torch", network) in measured
        assert ("OpenVINO", network) in measured or any(n.startswith(f"OpenVINO, {network}: not") for n in notes)
    assert all(t.cpu_ms > 0 and t.difference < 1e-3 for t in timings)
    page = backends_page(timings, notes)
    assert page.count("| torch |") == 2 and all(note in page and "\n" not in note for note in notes)


def test_stages_of_a_codec_add_up_to_its_frames() -> None:
    codec = tiny_codec(sizes=RICH)
    frames = moving_face(STAGES_WARM_UP + 6)
    found = break_down(codec, frames, 40)
    assert set(found.encode_ms) == set(ENCODE) and set(found.decode_ms) == set(DECODE)
    always = {"analysis", "choice of symbols", "entropy coding", "own reconstruction", "motion search"}
    assert all(found.encode_ms[name] > 0 for name in always) and all(ms > 0 for ms in found.around_ms.values())
    assert found.networks_ms < found.sum_ms < sum(found.encode_ms.values()) + sum(found.decode_ms.values())
    assert "write" not in vars(codec), "nothing is watched any longer"
    assert found.peak is not None
    packet, _ = codec.encode(frames[0], codec.blank_state(), 40)
    decoding = count_gmac(lambda: codec.decode(packet, codec.blank_state()))
    encoding = count_gmac(lambda: codec.encode(frames[0], codec.blank_state(), 40))
    assert decoding < found.peak.gmac <= encoding + decoding and found.peak.cpu_ms > 0
    page = stages_page(found)
    assert page.count(" - |") == len(ENCODE) + len(DECODE) and "in sum" in page and "of that peak" in page


def test_steps_of_a_batch_are_timed_and_several_streams_counted() -> None:
    codec = tiny_codec(sizes=RICH)
    frames = moving_face(STEPS_WARM_UP + 4)
    found = time_steps(codec, frames, 40)
    assert [step.name for step in found] == ["analyse", "again", "synthesise"]
    assert all(step.median_ms > 0 for step in found)
    assert all((step.launches is None) == (not torch.cuda.is_available()) for step in found)
    page = gpu_page(codec, [Step("analyse", 0.51, 97)], 0.012)
    assert "| analyse | 0.510 | 97 |" in page and "operator by operator" in page and "one tiny kernel: 0.012 ms" in page
    several = throughput(codec, 3, frames, 40)
    assert several.streams == 3 and several.encode_fps > 0 and several.decode_fps > 0 and several.bytes_per_frame > 5


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_gpu_its_page_is_one_line_that_says_so() -> None:
    spec = find_spec("s", "cpu", "auto")
    assert isinstance(spec, ModelSpec) and steps_page(spec, moving_face(1)) == f"* {NO_CUDA}\n"


def test_number_of_streams_is_checked(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["speed", "--streams", "0"]) == 2
    assert "--streams 0: choose 1 to 256" in capsys.readouterr().err


def test_speed_command_times_peers_over_enough_frames(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert FRAMES >= 200
    assert main(["speed", "--codecs", "x264-veryfast", "--frames", "40", "--out", str(tmp_path)]) == 0
    assert "| x264-veryfast | encode |" in capsys.readouterr().out
    result = json.loads((tmp_path / "speed.json").read_text())
    encode, decode = result["stages"]
    assert (encode["stage"], decode["stage"]) == ("encode", "decode")
    for stage in (encode, decode):
        assert stage["frames"] == 40 and stage["threads"] == 1
        assert 0 < stage["median_ms"] <= stage["p95_ms"]
        assert stage["peak_mb"] > 20
    assert result["machine"]["peak_1x1_gmac_per_s"] > 0
    assert WARM_UP > 0


def test_frame_number_survives_coding_in_the_picture() -> None:
    frame = moving_frames(1)[0]
    for number in (0, 1, 1365, 4095):
        marked = mark(frame, number)
        noisy = np.clip(marked + np.random.default_rng(number).normal(0, 25, marked.shape), 0, 255).astype(np.uint8)
        assert read_mark(noisy) == number
    assert not np.array_equal(mark(frame, 5), frame)


def test_video_track_delivers_frames_with_plausible_delays() -> None:
    delays = run_track(np.stack(moving_frames(20)), 20.0)
    numbers = [number for number, _ in delays]
    assert len(delays) >= 10
    assert numbers == sorted(set(numbers))
    assert all(0 < delay_ms < 5000 for _, delay_ms in delays)


def _row(name: str, known: bool) -> dict[str, object]:
    stages = {
        stage: {"p50": 2.0, "p95": 3.0, "p99": 4.0} if known else dict.fromkeys(("p50", "p95", "p99"))
        for stage in STAGES
    }
    stages["total"] = {"p50": 12.0, "p95": 20.0, "p99": 25.0}
    return {"name": name, "frames_shown": 9, "frames_captured": 10, "latency_ms": stages}


def test_latency_page_and_plot_show_every_call(tmp_path: Path) -> None:
    rows = [_row("seed", True), _row("track", False)]
    text = markdown({"input": "sample", "cores": 2, "load": 0.1, "rows": rows, "notes": ["s: not measured"]})
    assert "| seed | 9 of 10 | 2.0 / 3.0 / 4.0 |" in text
    assert text.count("12.0 / 20.0 / 25.0") == 2
    assert "* s: not measured" in text
    plot(rows, tmp_path / "latency.png")
    assert (tmp_path / "latency.png").read_bytes().startswith(b"\x89PNG")


def test_latency_command_refuses_bad_input_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for source, status in ((str(tmp_path / "nothing.mp4"), 3), (str(tmp_path / "nothing.vdc"), 2), ("0", 2)):
        # Before any call: nothing but the error is said.
        assert main(["latency", "--input", source, "--out", str(tmp_path)]) == status
        assert source in only_error_line(capsys.readouterr().err.splitlines())
    assert main(["latency", "--models", "foo", "--no-track", "--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.count("error: ") == 1 and "foo" in error
