"""Sources of frames: pace, ends, loops, drops, and one clear line for everything that cannot be opened."""

import itertools
import statistics
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from sender import camera
from sender.capture import SAMPLE, Capture, Frame, Source, camera_index, open_source, open_source_or_sample
from vidcodec.errors import InputError
from vidcodec.mailbox import MailboxClosed


@pytest.fixture(scope="module")
def sample() -> list[Frame]:
    with open_source("sample", paced=False) as source:
        return list(source.frames())


class Endless(Source):
    """A source that gives `rate` frames a second until it is closed, or breaks after `breaks_after` frames."""

    def __init__(self, rate: float, breaks_after: int | None = None) -> None:
        self.name, self.fps, self.size, self.live = "endless", rate, (4, 4), True
        self._stop = threading.Event()
        self._breaks_after = breaks_after

    def frames(self) -> Iterator[Frame]:
        for index in itertools.count():
            if self._stop.wait(1 / self.fps):
                return
            if index == self._breaks_after:
                raise InputError("endless: gives no more pictures")
            yield Frame(index, time.monotonic_ns(), index / self.fps, np.zeros((4, 4, 3), np.uint8))

    def close(self) -> None:
        self._stop.set()


def taken(capture: Capture, pause_s: float = 0.0) -> list[Frame]:
    """Every frame a reader gets that needs `pause_s` for each."""
    frames = []
    while True:
        try:
            frames.append(capture.get(timeout_s=5))
        except MailboxClosed:
            return frames
        time.sleep(pause_s)


def test_sample_is_there_and_plays_at_its_own_rate(sample: list[Frame]) -> None:
    with open_source("sample") as source:
        assert (source.name, source.fps, source.size, source.live) == ("sample", 30.0, (640, 360), True)
    assert len(sample) == 72
    assert [frame.index for frame in sample] == list(range(72))
    assert [frame.media_s for frame in sample] == pytest.approx([n / 30 for n in range(72)], abs=1e-6)


def test_pictures_are_rgb_and_the_same_as_opencv_reads(sample: list[Frame]) -> None:
    ok, bgr = cv2.VideoCapture(str(SAMPLE)).read()
    assert ok
    assert sample[0].picture.dtype == np.uint8
    assert np.abs(sample[0].picture.astype(int) - bgr[:, :, ::-1]).mean() < 1


def test_unpaced_file_does_not_wait() -> None:
    start = time.monotonic()
    with open_source("sample", paced=False) as source:
        assert not source.live
        assert sum(1 for _ in source.frames()) == 72
    assert time.monotonic() - start < 2.0


def test_paced_file_gives_each_frame_at_its_time() -> None:
    with open_source("sample") as source:
        frames = list(itertools.islice(source.frames(), 31))
    late_ms = [(f.captured_ns - frames[0].captured_ns) / 1e6 - f.media_s * 1e3 for f in frames]
    assert min(late_ms) > -3, "never early"
    assert statistics.median(late_ms) < 60


def test_capture_thread_delivers_every_frame_to_a_quick_reader_and_ends() -> None:
    with Capture(open_source("sample")) as capture:
        frames = taken(capture)
        assert capture.ended
        assert capture.captured_count == 72
        assert len(frames) + capture.dropped_count == 72
    assert len(frames) >= 50


def test_slow_reader_gets_new_frames_and_the_others_are_counted() -> None:
    with Capture(open_source("sample")) as capture:
        frames = []
        ages_ms = []
        while len(frames) < 8:
            frame = capture.get(timeout_s=5)
            ages_ms.append((time.monotonic_ns() - frame.captured_ns) / 1e6)
            frames.append(frame.index)
            time.sleep(0.15)
        assert capture.dropped_count >= 8
    assert frames == sorted(set(frames))
    assert statistics.median(ages_ms) < 60, "about one frame old at most"


def test_close_ends_the_thread_quickly_and_readers_too() -> None:
    capture = Capture(Endless(rate=20))
    capture.get(timeout_s=2)
    start = time.monotonic()
    capture.close()
    capture.close()
    taken(capture)
    assert capture.ended
    assert time.monotonic() - start < 1


def test_source_that_breaks_raises_in_the_reader_after_its_last_frame() -> None:
    with Capture(Endless(rate=100, breaks_after=3)) as capture, pytest.raises(InputError, match="no more pictures"):
        for _ in range(5):
            capture.get(timeout_s=2)


def test_reader_of_a_silent_source_gets_a_timeout() -> None:
    with Capture(Endless(rate=1)) as capture, pytest.raises(TimeoutError):
        capture.get(timeout_s=0.05)


def test_looped_sample_goes_to_and_fro_without_a_cut(sample: list[Frame]) -> None:
    with open_source("sample", loop=True, paced=False) as source:
        frames = list(itertools.islice(source.frames(), 180))
    assert [frame.index for frame in frames] == list(range(180))
    assert np.diff([frame.media_s for frame in frames]) == pytest.approx(np.full(179, 1 / 30), abs=1e-6)
    there_and_back = [*range(72), *range(70, -1, -1), *range(1, 72)]
    for frame, original in zip(frames, there_and_back, strict=False):
        assert np.array_equal(frame.picture, sample[original].picture)


def test_lower_rate_leaves_frames_out_evenly() -> None:
    with open_source("sample", fps=15, paced=False) as source:
        assert source.fps == 15
        frames = list(source.frames())
    assert [round(frame.media_s * 30) for frame in frames] == list(range(0, 72, 2))
    assert [frame.index for frame in frames] == list(range(36))
    with open_source("sample", fps=20, paced=False) as source:
        steps = np.diff([round(frame.media_s * 30) for frame in source.frames()])
    assert set(steps) == {1, 2} and abs(steps.mean() - 1.5) < 0.05


def test_higher_rate_than_the_file_has_changes_nothing() -> None:
    with open_source("sample", fps=60, paced=False) as source:
        assert source.fps == 30
        assert sum(1 for _ in source.frames()) == 72


def test_no_camera_and_nothing_named_means_the_sample_in_a_loop_and_one_line() -> None:
    if camera.list_cameras():
        pytest.skip("this machine has a camera")
    source, notice = open_source_or_sample(None, paced=False)
    with source:
        assert source.name == "sample"
        assert sum(1 for _ in itertools.islice(source.frames(), 100)) == 100
    assert notice is not None and "no camera" in notice and "--input" in notice
    assert "\n" not in notice


def test_named_source_never_falls_back() -> None:
    source, notice = open_source_or_sample("sample", paced=False)
    with source:
        assert notice is None
        assert sum(1 for _ in source.frames()) == 72, "and is not looped unasked"
    with pytest.raises(InputError):
        open_source_or_sample("/nowhere/clip.mp4")


def test_source_that_fails_in_a_way_nobody_foresaw_has_not_ended_in_order() -> None:
    class Failing(Endless):
        def frames(self) -> Iterator[Frame]:
            yield from itertools.islice(super().frames(), 1)
            raise ValueError("no picture at all")

    with Capture(Failing(100)) as capture:
        capture.get(timeout_s=5)
        with pytest.raises(ValueError, match="no picture at all"):
            capture.get(timeout_s=5)


def test_missing_camera_is_one_line_with_status_three(capfd: pytest.CaptureFixture[str]) -> None:
    for name in ("63", 63):
        with pytest.raises(InputError) as caught:
            open_source(name)
        assert caught.value.exit_status == 3
        assert "camera 63" in str(caught.value) and "--list-devices" in str(caught.value)
        assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


def test_cameras_are_listed_quickly_and_quietly(capfd: pytest.CaptureFixture[str]) -> None:
    start = time.monotonic()
    cameras = camera.list_cameras()
    assert time.monotonic() - start < 2
    assert all(found.index >= 0 and found.name for found in cameras)
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""


def test_linux_video_node_is_a_camera_only_if_it_captures_video() -> None:
    capability = bytearray(104)
    capability[16:27] = b"HD Webcam\0x"
    capability[84:88] = (0x84A00001).to_bytes(4, "little")  # the whole device captures video ...
    capability[88:92] = (0x04A00000).to_bytes(4, "little")  # ... but this node is for metadata
    assert camera.camera_of(1, bytes(capability)) is None
    capability[88:92] = (0x04200001).to_bytes(4, "little")
    assert camera.camera_of(0, bytes(capability)) == camera.Camera(0, "HD Webcam")


def test_file_that_is_no_video_node_is_no_camera(tmp_path: Path) -> None:
    node = tmp_path / "video0"
    node.write_bytes(b"")
    assert camera._query(node) is None


@pytest.mark.parametrize(
    ("text", "index"),
    [("0", 0), ("12", 12), ("", None), ("-1", None), ("0.mp4", None), ("./0", None), ("²", None), ("sample", None)],
)
def test_only_plain_numbers_name_cameras(text: str, index: int | None) -> None:
    assert camera_index(text) == index


class TestCameraOnAFile:
    """The camera's own code on OpenCV's reader, with a file in the place of the device."""

    @pytest.fixture(autouse=True)
    def device(self, monkeypatch: pytest.MonkeyPatch) -> None:
        reader = cv2.VideoCapture
        monkeypatch.setattr(camera.cv2, "VideoCapture", lambda *_: reader(str(SAMPLE)))
        monkeypatch.setattr(camera, "camera_may_exist", lambda _: True)

    def test_frames_are_rgb_with_growing_times(self, sample: list[Frame]) -> None:
        with open_source("0", width=640, height=360, fps=30) as source:
            assert (source.name, source.size, source.fps, source.live) == ("camera 0", (640, 360), 30.0, True)
            frames = list(itertools.islice(source.frames(), 10))
        assert [frame.index for frame in frames] == list(range(10))
        assert all(a.captured_ns < b.captured_ns for a, b in itertools.pairwise(frames))
        # The first picture was taken to see whether there is one.
        assert np.abs(frames[0].picture.astype(int) - sample[1].picture).mean() < 1

    def test_camera_is_what_is_opened_when_nothing_is_named(self) -> None:
        source, notice = open_source_or_sample(None)
        with source:
            assert (source.name, notice) == ("camera 0", None)

    def test_camera_that_stops_giving_pictures_is_reported(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(camera, "SILENCE_S", 0.2)
        with open_source(0) as source, pytest.raises(InputError, match="unplugged"):
            list(source.frames())

    def test_closed_camera_ends_cleanly(self) -> None:
        with Capture(open_source(0)) as capture:
            capture.get(timeout_s=2)
        assert capture.ended


def test_camera_that_cannot_be_opened_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(camera, "camera_may_exist", lambda _: True)
    if camera.list_cameras():
        pytest.skip("this machine has a camera")
    with pytest.raises(InputError, match="camera 9: cannot be opened"):
        open_source(9)
    assert capfd.readouterr().err == ""
