"""Video files of every awkward kind: upright, in their own time, or refused in one clear line."""

import itertools
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from videos import number_of, numbered, turn_mp4, write_sound, write_video

from sender.capture import SAMPLE, Frame, open_source
from sender.videofile import Thinner
from vidcodec.errors import InputError


def read(path: Path) -> list[Frame]:
    with open_source(str(path), paced=False) as source:
        frames = list(source.frames())
    height, width = frames[0].picture.shape[:2]
    assert source.size == (width, height)
    return frames


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [
        ("a.mkv", "ffv1", "bgr0"),
        ("a.mp4", "libx264", "yuv420p"),
        ("a.avi", "mjpeg", "yuvj420p"),
        ("a.webm", "libvpx-vp9", "yuv420p"),
    ],
)
def test_every_frame_of_a_file_comes_once_and_in_order(tmp_path: Path, name: str, codec: str, pix_fmt: str) -> None:
    frames = read(write_video(tmp_path / name, numbered(25), codec=codec, pix_fmt=pix_fmt))
    assert [number_of(frame.picture) for frame in frames] == list(range(25))
    assert [frame.media_s for frame in frames] == pytest.approx([n / 30 for n in range(25)], abs=0.002)
    assert np.abs(frames[9].picture[0, 0].astype(int) - (90, 100, 200)).max() < 12, "RGB, not BGR"


@pytest.mark.parametrize("size", [(1, 1), (1, 64), (37, 53), (101, 57)])
def test_odd_sizes_are_read(tmp_path: Path, size: tuple[int, int]) -> None:
    frames = read(write_video(tmp_path / "odd.mov", numbered(3, *size), codec="png", pix_fmt="rgb24"))
    assert frames[0].picture.shape == (size[1], size[0], 3)
    assert [number_of(frame.picture) for frame in frames] == [0, 1, 2]


def test_gray_video_becomes_rgb(tmp_path: Path) -> None:
    frames = read(write_video(tmp_path / "gray.mkv", numbered(3), pix_fmt="gray"))
    assert frames[0].picture.shape == (48, 64, 3)
    assert (frames[0].picture[..., 0] == frames[0].picture[..., 2]).all()


def test_ten_bit_video_becomes_eight_bit(tmp_path: Path) -> None:
    frames = read(write_video(tmp_path / "ten.mkv", numbered(3), pix_fmt="yuv444p10le"))
    assert frames[2].picture.dtype == np.uint8
    assert np.abs(frames[2].picture[0, 0].astype(int) - (20, 100, 200)).max() <= 3


def test_still_picture_is_a_video_of_one_frame_and_can_be_looped(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    assert cv2.imwrite(str(path), numbered(5)[4][:, :, ::-1])
    (frame,) = read(path)
    assert (frame.picture == (40, 100, 200)).all()
    with open_source(str(path), loop=True, paced=False) as source:
        media_s = [f.media_s for f in itertools.islice(source.frames(), 5)]
    assert np.diff(media_s) == pytest.approx(np.full(4, 1 / source.fps))


def test_variable_frame_rate_keeps_its_times(tmp_path: Path) -> None:
    at_ms = [0, 33, 67, 400, 433, 900, 1000]
    frames = read(write_video(tmp_path / "vfr.mkv", numbered(7), at_ms=at_ms))
    assert [frame.media_s * 1e3 for frame in frames] == pytest.approx(at_ms, abs=1.5)


def test_variable_frame_rate_is_paced_by_its_times(tmp_path: Path) -> None:
    path = write_video(tmp_path / "vfr.mkv", numbered(4), at_ms=[0, 30, 330, 360])
    with open_source(str(path)) as source:
        at_ms = np.array([frame.captured_ns / 1e6 for frame in source.frames()])
    late_ms = at_ms - at_ms[0] - (0, 30, 330, 360)
    assert late_ms.min() > -3, "never early"
    assert np.median(late_ms) < 60


def test_time_stamps_that_jump_do_not_stop_the_clock(tmp_path: Path) -> None:
    path = write_video(tmp_path / "jump.mkv", numbered(4), at_ms=[0, 33, 4_000_000, 4_000_033])
    gaps = np.diff([frame.media_s for frame in read(path)])
    assert gaps.min() > 0 and gaps.max() < 1.1


def test_stream_without_times_or_rate_plays_at_a_believable_rate(tmp_path: Path) -> None:
    path = write_video(tmp_path / "raw.h264", numbered(20), codec="libx264", pix_fmt="yuv420p")
    with open_source(str(path), paced=False) as source:
        assert 20 <= source.fps <= 60
        frames = list(source.frames())
    assert len(frames) == 20
    assert np.diff([frame.media_s for frame in frames]) == pytest.approx(np.full(19, 1 / source.fps), rel=0.5)


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_telephone_video_is_turned_upright_as_opencv_turns_it(tmp_path: Path, degrees: int) -> None:
    picture = np.zeros((48, 96, 3), np.uint8)
    picture[:24, :48] = 255  # top left
    path = write_video(tmp_path / "phone.mp4", [picture] * 3, codec="libx264", pix_fmt="yuv420p")
    frames = read(turn_mp4(path, degrees))
    expected = np.rot90(picture, -degrees // 90)
    assert frames[0].picture.shape == expected.shape
    assert np.abs(frames[0].picture.astype(int) - expected).mean() < 4
    ok, bgr = cv2.VideoCapture(str(path)).read()
    assert ok and np.abs(frames[0].picture.astype(int) - bgr[:, :, ::-1]).mean() < 4


def test_pixels_that_are_not_square_are_made_square(tmp_path: Path) -> None:
    x264 = {"codec": "libx264", "pix_fmt": "yuv420p"}
    wide = read(write_video(tmp_path / "wide.mkv", numbered(2, 60, 40), aspect=Fraction(4, 3), **x264))
    assert wide[0].picture.shape == (40, 80, 3)
    tall = read(write_video(tmp_path / "tall.mkv", numbered(2, 60, 40), aspect=Fraction(1, 2), **x264))
    assert tall[0].picture.shape == (80, 60, 3)


def test_loop_starts_again_and_goes_on_with_numbers_and_time(tmp_path: Path) -> None:
    path = write_video(tmp_path / "loop.mkv", numbered(5))
    with open_source(str(path), loop=True, paced=False) as source:
        frames = list(itertools.islice(source.frames(), 12))
    assert [number_of(frame.picture) for frame in frames] == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1]
    assert [frame.index for frame in frames] == list(range(12))
    assert np.diff([frame.media_s for frame in frames]) == pytest.approx(np.full(11, 1 / 30), abs=0.002)


def test_file_named_like_a_camera_is_reached_with_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_video(tmp_path / "0.mkv", numbered(2)).rename(tmp_path / "0")
    monkeypatch.chdir(tmp_path)
    with open_source("./0", paced=False) as source:
        assert sum(1 for _ in source.frames()) == 2


def bad_inputs(folder: Path) -> dict[str, Path]:
    """Everything that is no readable video, by what its error line must say."""
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "text.mp4").write_text("this is no video\n" * 100)
    (folder / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(50_000))
    (folder / "zeros.mkv").write_bytes(bytes(50_000))
    (folder / "cut.mp4").write_bytes(SAMPLE.read_bytes()[:20_000])
    write_sound(folder / "sound.wav")
    # A complete file with a video track in which there is no frame.
    header = write_video(folder / "none.mkv", numbered(1)).read_bytes()
    (folder / "none.mkv").write_bytes(header[: header.index(bytes.fromhex("1f43b675"))])  # up to the first cluster
    return {
        name: folder / name
        for name in (
            "missing.mp4",
            "empty.mp4",
            "text.mp4",
            "noise.mp4",
            "zeros.mkv",
            "cut.mp4",
            "sound.wav",
            "none.mkv",
        )
    } | {"folder": folder}


def test_what_cannot_be_read_is_refused_in_one_line_and_nothing_else_is_printed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for name, path in bad_inputs(tmp_path).items():
        with pytest.raises(InputError) as caught:
            open_source(str(path))
        message = str(caught.value)
        assert message.startswith(f"{path}: "), name
        assert "\n" not in message, name
        assert message.count(str(path)) == 1 and "Errno" not in message, name
        assert caught.value.exit_status == 3
    captured = capfd.readouterr()
    assert captured.err == "" and captured.out == ""


def test_damage_inside_a_file_costs_frames_but_neither_an_error_nor_a_line_of_ffmpeg(
    tmp_path: Path,
) -> None:
    data = bytearray(SAMPLE.read_bytes())
    start = data.index(b"mdat") + 60_000
    data[start : start + 20_000] = np.random.default_rng(1).bytes(20_000)
    path = tmp_path / "damaged.mp4"
    path.write_bytes(bytes(data))
    script = (
        "import sys; from sender.capture import open_source\n"
        "print(sum(1 for _ in open_source(sys.argv[1], paced=False).frames()))"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True)
    assert 20 <= int(done.stdout) <= 72
    assert "error" not in done.stderr.lower(), "one line of our own at most"
    assert len(done.stderr.splitlines()) <= 1


def test_file_cut_short_plays_up_to_the_cut(tmp_path: Path) -> None:
    path = write_video(
        tmp_path / "cut.mkv", [np.random.default_rng(n).integers(0, 256, (48, 64, 3), np.uint8) for n in range(30)]
    )
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert 5 <= len(read(path)) < 30


def test_closing_a_paced_file_ends_the_wait(tmp_path: Path) -> None:
    path = write_video(tmp_path / "slow.mkv", numbered(2), at_ms=[0, 8000])
    source = open_source(str(path))
    frames = source.frames()
    next(frames)
    start = time.monotonic()
    source.close()
    assert list(frames) == []
    assert time.monotonic() - start < 1


@pytest.mark.parametrize(
    ("own", "wanted", "kept"), [(60, 30, 60), (50, 25, 50), (30, 20, 40), (25, 10, 20), (60, 59, 118)]
)
def test_thinner_keeps_the_wanted_rate(own: int, wanted: int, kept: int) -> None:
    thinner = Thinner(wanted)
    stays = [thinner.keeps(round(n * 1000 / own) / 1000) for n in range(2 * own)]
    assert stays[0]
    assert abs(sum(stays) - kept) <= 1
