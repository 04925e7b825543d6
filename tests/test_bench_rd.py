"""`bench rd`: true rates, true pictures, every codec held to zero delay."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from call_commands import ROOT
from numpy.typing import NDArray
from test_baselines_video import moving_frames

from vidcodec.baselines.settings import STRONGER
from vidcodec.baselines.video import NotZeroDelay
from vidcodec.bench import main
from vidcodec.bench.atrate import at_rate, at_rate_table
from vidcodec.bench.cache import Cache
from vidcodec.bench.clips import Clip, find_clips, read_clip, to_square
from vidcodec.bench.coders import Decoder, Encoder, Spec, all_names, find_spec
from vidcodec.bench.lookstable import looks_json, looks_rows, looks_table
from vidcodec.bench.measure import Point, measure
from vidcodec.bench.plots import plot_clip, plot_means
from vidcodec.bench.rd import _at_qualities, run
from vidcodec.bench.remote import RemoteDecoder
from vidcodec.bench.summary import clip_deltas, summarise
from vidcodec.errors import InputError, UsageError, VidcodecError
from vidcodec.metrics import PSNR_CEILING_DB, mse


def _clip(count: int = 6, fps: float = 30.0) -> Clip:
    return Clip("moving", fps, np.stack(moving_frames(count)), "0" * 64)


class _Store(Encoder):
    """A codec that stores frames without loss, and may leave one out."""

    def __init__(self, skip: int) -> None:
        self._skip, self._at = skip, 0

    def encode(self, frame: NDArray[np.uint8]) -> bytes:
        self._at += 1
        if self._at - 1 == self._skip:
            raise NotZeroDelay(f"store is not zero delay: frame {self._skip} gave 0 packets instead of 1")
        return frame.tobytes()


class _Fetch(Decoder):
    def decode(self, packet: bytes) -> NDArray[np.uint8]:
        return np.frombuffer(packet, np.uint8).reshape(192, 192, 3)


class _Where(Decoder):
    """Paints the number of the process it runs in."""

    def decode(self, packet: bytes) -> NDArray[np.uint8]:
        picture = np.zeros((192, 192, 3), np.uint8)
        picture[0, :8, 0] = np.frombuffer(os.getpid().to_bytes(8, "little"), np.uint8)
        return picture


@dataclass(frozen=True)
class StoreSpec(Spec):
    """Lossless storage, for testing the ruler itself."""

    skip: int = -1
    where: bool = False

    def open_encoder(self, level: int, fps: float) -> Encoder:
        return _Store(self.skip)

    def open_decoder(self) -> Decoder:
        return _Where() if self.where else _Fetch()

    def describe(self) -> str:
        return "frames as they are"


@pytest.fixture(scope="module")
def remote() -> Iterator[RemoteDecoder]:
    with RemoteDecoder() as decoder:
        yield decoder


def test_lossless_codec_has_no_error_and_its_true_rate(remote: RemoteDecoder) -> None:
    point = measure(_clip(), StoreSpec("store", (0,), "none"), 0, remote)
    assert point.mse == 0.0
    assert point.psnr_db == point.luma_psnr_db == PSNR_CEILING_DB
    assert point.ms_ssim == pytest.approx(1.0, abs=1e-6)
    assert point.bytes == 6 * 192 * 192 * 3
    assert point.kbps == pytest.approx(192 * 192 * 3 * 8 * 30 / 1000)
    assert point.wire_kbps == pytest.approx(point.kbps)


def test_codec_that_drops_a_frame_is_caught(remote: RemoteDecoder) -> None:
    with pytest.raises(NotZeroDelay, match="not zero delay"):
        measure(_clip(), StoreSpec("store", (0,), "none", skip=3), 0, remote)


def test_codec_that_drops_a_frame_is_refused_by_name_and_the_rest_goes_on(tmp_path: Path) -> None:
    path = _write_video(tmp_path / "a.mkv")
    clip = read_clip(path)
    specs: list[Spec] = [StoreSpec("broken", (0,), "none", skip=1), find_spec("bicubic4x")]
    points, refused = run([(path, clip)], specs, Cache(None), jobs=1)
    assert [point.codec for point in points] == ["bicubic4x"]
    assert len(refused) == 1 and "broken" not in {point.codec for point in points}


def test_pictures_come_from_another_process(remote: RemoteDecoder) -> None:
    decoded = remote.decode(StoreSpec("where", (0,), "none", where=True), [b""])
    pid = int.from_bytes(decoded.pictures[0][0, :8, 0].tobytes(), "little")
    assert pid == remote.pid
    assert pid != os.getpid()


def test_error_in_the_decoder_process_reaches_the_parent_and_the_next_stream_works(remote: RemoteDecoder) -> None:
    spec = StoreSpec("store", (0,), "none")
    with pytest.raises(VidcodecError, match="decoder process says"):
        remote.decode(spec, [b"too short"])
    frame = moving_frames(1)[0]
    assert mse(remote.decode(spec, [frame.tobytes()]).pictures[0], frame) == 0


def test_decoder_process_that_was_killed_spoils_one_stream_and_not_the_next_ones() -> None:
    spec, frame = StoreSpec("store", (0,), "none"), moving_frames(1)[0]
    with RemoteDecoder() as decoder:
        assert decoder.pid is not None
        os.kill(decoder.pid, signal.SIGKILL)
        with pytest.raises(VidcodecError, match="the decoder process died"):
            decoder.decode(spec, [frame.tobytes()])
        assert mse(decoder.decode(spec, [frame.tobytes()]).pictures[0], frame) == 0


@dataclass(frozen=True)
class DeadlySpec(StoreSpec):
    """Ends its process, as the system does where memory runs out."""

    def open_encoder(self, level: int, fps: float) -> Encoder:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


def test_worker_that_was_killed_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = _write_video(tmp_path / "a.mkv")
    monkeypatch.setattr("vidcodec.bench.rd._specs", lambda options: ([DeadlySpec("deadly", (0,), "none")], []))
    words = ["rd", "--clips", str(path), "--anchor", "deadly", "--no-cache", "--jobs", "1", "--out", str(tmp_path)]
    assert main(words) == 1
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last == "error: bench rd: a process that measured was killed, perhaps for want of memory; run it again"


@pytest.mark.parametrize("name", ["x264-veryfast", "vp8@2", "svtav1@4", "bicubic2x", "avif"])
def test_measured_bytes_and_pictures_are_those_of_the_codec(remote: RemoteDecoder, name: str) -> None:
    spec, clip = find_spec(name), _clip(4)
    point = measure(clip, spec, spec.levels[-1], remote)
    frames = clip.frames[:: spec.stride]
    encoder, decoder = spec.open_encoder(spec.levels[-1], clip.fps), spec.open_decoder()
    packets = [encoder.encode(frame) for frame in frames]
    encoder.close()
    assert point.bytes == sum(map(len, packets))
    assert point.mse == pytest.approx(
        np.mean([mse(frame, decoder.decode(packet)) for frame, packet in zip(frames, packets, strict=True)])
    )
    assert point.drift is None


def _write_video(path: Path, frames: int = 6) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"FFV1"), 25.0, (256, 192))
    assert writer.isOpened()
    for frame in moving_frames(frames, 256):
        writer.write(cv2.cvtColor(np.ascontiguousarray(frame[:192]), cv2.COLOR_RGB2BGR))
    writer.release()
    return path


def test_command_writes_json_table_and_plots_and_the_second_run_measures_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _write_video(tmp_path / "a.mkv", 8)
    command = ["rd", "--clips", str(tmp_path), "--codecs", "vp8", "bicubic2x", "--frames", "6", "--jobs", "2"]
    command += ["--out", str(tmp_path / "out"), "--cache", str(tmp_path / "cache")]
    assert main(command) == 0
    assert "| vp8 |" in capsys.readouterr().out
    result = json.loads((tmp_path / "out" / "rd.json").read_text())
    assert {row["codec"] for row in result["summary"]} == {"vp8", "bicubic2x", "x264-veryfast"}
    assert result["clips"][0]["frames"] == 6 and result["clips"][0]["fps"] == 25
    assert len(result["points"]) == 8 + 8 + 1
    page = (tmp_path / "out" / "rd.md").read_text()
    assert "libvpx deadline=realtime cpu-used=-4 lag-in-frames=0" in page
    for name in ("rd_a.png", "rd_mean.png"):
        assert (tmp_path / "out" / name).read_bytes().startswith(b"\x89PNG")

    def no_work(*_: object) -> list[object]:
        raise AssertionError("the second run measured something")

    monkeypatch.setattr("vidcodec.bench.rd._measure_job", no_work)
    monkeypatch.setattr("vidcodec.bench.rd.ProcessPoolExecutor", no_work)
    assert main([*command, "--no-plots"]) == 0
    again = json.loads((tmp_path / "out" / "rd.json").read_text())
    assert again["points"] == result["points"]


def test_cache_key_depends_on_clip_level_and_settings(tmp_path: Path) -> None:
    store, clip, spec = Cache(tmp_path), _clip(), find_spec("vp8")
    other = Clip("moving", 30.0, clip.frames, "1" * 64)
    keys = {
        store.key(clip, spec, 30, False),
        store.key(other, spec, 30, False),
        store.key(clip, spec, 31, False),
        store.key(clip, spec, 30, True),
        store.key(clip, find_spec("vp8@2"), 30, False),
        store.key(clip, find_spec("vp9"), 30, False),
    }
    assert len(keys) == 6
    assert store.key(clip, find_spec("vp8"), 30, False) in keys


def test_damaged_cache_file_counts_as_none(tmp_path: Path) -> None:
    store, clip, spec = Cache(tmp_path), _clip(), find_spec("vp8")
    (tmp_path / "abc.json").write_text("{")
    assert store.get("abc", clip, spec) is None


def _points(codec: str, factor: float, clips: tuple[str, ...] = ("a", "b")) -> list[Point]:
    return [
        Point(
            clip,
            codec,
            i,
            10,
            1000,
            factor * 10 * 2**i,
            0.0,
            10 ** -(2.7 + 0.3 * i),
            27 + 3 * i,
            28 + 3 * i,
            1 - 10 ** -(0.8 + 0.25 * i),
            None,
            1.0,
            1.0,
            0,
        )
        for clip in clips
        for i in range(6)
    ]


def test_summary_averages_deltas_over_clips_and_never_curves() -> None:
    points = _points("x264-veryfast", 1.0) + _points("ours", 0.5, ("a",)) + _points("ours", 0.8, ("b",))
    rows = {row.codec: row for row in summarise(points, clip_deltas(points, "x264-veryfast"))}
    ours = rows["ours"]
    assert ours.bd_rate_percent == pytest.approx((-50 - 20) / 2)
    assert (ours.bd_rate_least, ours.bd_rate_most) == (pytest.approx(-50), pytest.approx(-20))
    assert ours.bd_rate_ms_ssim_percent == pytest.approx((-50 - 20) / 2), "the same curve on another scale"
    assert ours.bd_rate_luma_percent == pytest.approx((-50 - 20) / 2), "and one dB higher"
    flat = [replace(point, ms_ssim=0.9, luma_psnr_db=30.0) for point in points]
    last = clip_deltas(flat, "x264-veryfast")[-1]
    assert (last.bd_rate_ms_ssim_percent, last.bd_rate_luma_percent) == (None, None)
    copies = [replace(p, ms_ssim=1.0, luma_psnr_db=100.0) if p.level == 5 else p for p in points]
    assert clip_deltas(copies, "x264-veryfast")[-1].bd_rate_luma_percent == pytest.approx(-20)
    assert ours.clips == 2 and ours.overlap_share == pytest.approx(1.0)
    assert rows["x264-veryfast"].bd_rate_percent == pytest.approx(0.0)


def test_points_below_quality_0_say_what_a_rate_gives_and_nothing_of_bits() -> None:
    points = _points("x264-veryfast", 1.0) + _points("ours", 0.5)
    below = [replace(p, level=-16, kbps=0.9 * p.kbps, psnr_db=p.psnr_db - 2) for p in points if p.codec == "ours"][::6]
    plain, more = (summarise(some, clip_deltas(some, "x264-veryfast")) for some in (points, points + below))
    assert more[1].bd_rate_percent == plain[1].bd_rate_percent == pytest.approx(-50)
    assert more[1].bd_rate_ms_ssim_percent == plain[1].bd_rate_ms_ssim_percent
    assert more[1].kbps_at_mse == plain[1].kbps_at_mse
    assert _at_qualities(find_spec("s"), None).levels == (-16, 0, 13, 25, 38, 50, 63)
    assert _at_qualities(find_spec("seed"), None).levels == find_spec("seed").levels


def test_at_a_low_rate_the_opponent_has_its_best_scale_on_each_clip() -> None:
    ours = _points("s", 1.0, ("a", "b", "c"))
    far = [replace(p, kbps=10 * p.kbps) for p in _points("s", 1.0, ("d",))]
    full = [replace(p, psnr_db=p.psnr_db - 1) for p in _points("svtav1", 1.0, ("a", "b", "d"))]
    half = [replace(p, psnr_db=p.psnr_db + 1) for p in _points("svtav1@2", 1.0, ("b",))]
    rows = {row.clip: row for row in at_rate([*ours, *far, *full, *half, *_points("vp8", 0.1)])}
    assert [rows[clip].opponent for clip in "abcd"] == ["svtav1", "svtav1@2", None, "svtav1"]
    assert [rows[clip].better for clip in "abcd"] == [True, False, True, False]
    assert rows["a"].psnr_db == pytest.approx(30) and rows["b"].opponent_psnr_db == pytest.approx(31)
    assert rows["d"].psnr_db is None, "too dear at any quality"
    assert "`s` is better on 2 of 4 clips" in at_rate_table(list(rows.values()))
    assert at_rate(ours) == [], "nobody to compare with"


def test_rate_at_an_error_counts_clips_that_never_get_there() -> None:
    good, poor = _points("x264-veryfast", 1.0, ("a", "b", "c")), _points("x264-veryfast", 1.0, ("d", "e"))
    poor = [replace(point, psnr_db=point.psnr_db - 20) for point in poor]
    marks = [summarise(points, [])[0].kbps_at_mse[0] for points in (good, good + poor[:6], good + poor, poor)]
    assert marks[0] is not None and marks[2] is not None
    assert marks[1] == pytest.approx(marks[0]) and marks[2] >= marks[0]
    assert marks[3] is None


def test_anchor_that_was_not_measured_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="not measured"):
        clip_deltas(_points("vp8", 1.0), "x264-veryfast")


def test_clips_are_squares_of_192_at_their_own_rate(tmp_path: Path) -> None:
    clip = read_clip(_write_video(tmp_path / "a.mkv"))
    assert clip.frames.shape == (6, 192, 192, 3) and clip.fps == 25
    source = moving_frames(1, 256)[0][:192]
    assert mse(clip.frames[0], np.ascontiguousarray(source[:, 32:224])) < 1e-5
    assert to_square(np.zeros((50, 80, 3), np.uint8)).shape == (192, 192, 3)


def test_noise_is_the_same_each_time_as_strong_as_asked_and_in_the_name(tmp_path: Path) -> None:
    path = _write_video(tmp_path / "a.mkv")
    clean, noisy, again = read_clip(path), read_clip(path, noise=3), read_clip(path, noise=3)
    assert noisy.name == "a+noise3" and noisy.sha256 == again.sha256 != clean.sha256
    inside = (clean.frames > 20) & (clean.frames < 235)
    off = noisy.frames[inside].astype(float) - clean.frames[inside]
    assert 2.8 < off.std() < 3.2 and abs(off.mean()) < 0.1
    assert not np.array_equal(noisy.frames[0] - clean.frames[0], noisy.frames[1] - clean.frames[1])


def test_missing_empty_and_unreadable_clips_are_input_errors(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such"):
        find_clips([tmp_path / "nothing"])
    with pytest.raises(InputError, match="no video"):
        find_clips([tmp_path])
    (tmp_path / "text.mp4").write_text("not a video")
    with pytest.raises(InputError, match="no frame"):
        read_clip(tmp_path / "text.mp4")


def test_two_clips_of_one_name_are_refused_and_not_mixed_up(tmp_path: Path) -> None:
    for folder in ("one", "other"):
        (tmp_path / folder).mkdir()
        _write_video(tmp_path / folder / "a.mkv")
    with pytest.raises(UsageError, match="rename one"):
        find_clips([tmp_path / "one", tmp_path / "other"])
    with pytest.raises(UsageError, match="rename one"):
        find_clips([tmp_path / "one/a.mkv", tmp_path / "one"])


def test_bad_commands_end_with_their_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rd", "--clips", str(tmp_path / "nothing")]) == 3
    path = _write_video(tmp_path / "a.mkv")
    assert main(["rd", "--clips", str(path), "--codecs", "h266"]) == 2
    assert main(["nonsense"]) == 2
    assert main([]) == 2
    assert main(["--help"]) == 0
    errors = capsys.readouterr().err
    assert errors.count("error:") == 3 and "Traceback" not in errors


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_clip_that_is_no_video_is_one_line(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("no video")
    command = [sys.executable, "-m", "vidcodec", "bench", "rd", "--clips", str(tmp_path / name)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == f"error: clip {tmp_path / name}: no frame can be read from it; give a video file\n"


@pytest.mark.filterwarnings("error")
def test_plots_of_codecs_without_a_curve_are_no_warning(tmp_path: Path) -> None:
    points = _points("bicubic2x", 1.0)[:1]
    plot_clip(points, "one", tmp_path / "one.png")
    plot_means(points, "all", tmp_path / "all.png")
    assert (tmp_path / "one.png").exists() and (tmp_path / "all.png").exists()


def test_every_peer_is_there_at_full_half_and_quarter_size() -> None:
    names = all_names()
    for peer in ("x264-veryfast", "x264-medium", "x265-medium", "vp8", "vp9", "svtav1"):
        assert {peer, f"{peer}@2", f"{peer}@4"} <= set(names)
        assert len(find_spec(peer).levels) >= 6
    assert set(STRONGER) <= set(names), "in time that ours takes, too"
    assert all("rtc=0" in find_spec(name).describe() for name in ("svtav1-4", "svtav1-4@2"))
    assert {"bicubic2x", "bicubic4x", "bicubic8x", "jpeg", "jpeg2000", "webp", "avif"} <= set(names)


def test_lpips_of_codecs_is_compared_where_all_of_them_go() -> None:
    plain = [replace(p, lpips=0.1 * 20 / p.kbps) for p in _points("s", 1.0)]
    cheap = [replace(p, codec="s-p", kbps=p.kbps / 2, psnr_db=p.psnr_db - 1) for p in plain]
    rows = {row["codec"]: row for row in looks_json(looks_rows([*plain, *cheap], "s"))}
    assert rows["s"]["bd_rate_percent"] == pytest.approx(0, abs=1e-6)
    assert rows["s-p"]["bd_rate_percent"] == pytest.approx(-50, abs=1e-6) and rows["s-p"]["clips"] == 2
    at = next(i for i, count in enumerate(rows["s"]["clips_at_kbps"]) if count)
    assert rows["s"]["lpips_at_kbps"][at] == pytest.approx(2 * rows["s-p"]["lpips_at_kbps"][at], rel=1e-5)
    text = looks_table(list(rows.values()), "s")
    assert text.splitlines()[2].startswith("| s-p | -50 %")


def test_lpips_is_over_the_usual_points() -> None:
    plain = [replace(p, lpips=0.1 * 20 / p.kbps) for p in [*_points("s", 1.0), *_points("s-p", 0.5)]]
    below = [replace(p, level=-16, kbps=0.9 * p.kbps, lpips=2 * (p.lpips or 0)) for p in plain if p.level == 0]
    assert looks_rows([*plain, *below], "s") == looks_rows(plain, "s")


def test_lpips_of_a_rate_that_one_codec_misses_is_not_compared() -> None:
    plain = [replace(p, lpips=0.1 * 20 / p.kbps) for p in _points("s", 1.0)]
    far = [replace(p, codec="s-p", kbps=p.kbps * 1e4) for p in plain]
    rows = looks_rows([*plain, *far], "s")
    assert not any(rows[0].clips_at_kbps) and all(value is None for value in rows[1].lpips_at_kbps)


def test_qualities_are_those_asked_for_and_only_of_ours(capsys: pytest.CaptureFixture[str]) -> None:
    assert _at_qualities(find_spec("s"), [24, -8, 24]).levels == (-8, 24)
    assert _at_qualities(find_spec("svtav1"), [24, 0]).levels == find_spec("svtav1").levels
    assert main(["rd", "--clips", ".", "--codecs", "s", "--qualities", "64"]) == 2
    assert "--qualities 64: each is -32 to 63" in capsys.readouterr().err
    assert main(["rd", "--clips", ".", "--codecs", "s", "--qualities", "-16", "-8"]) == 2
    assert "give one of 0 or more" in capsys.readouterr().err
