"""The face detector on real faces, and its thread."""

import hashlib
import os
import re
import statistics
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from sender.capture import SAMPLE, open_source
from sender.detect import MODEL, Detection, DetectorThread, FaceDetector
from vidcodec.errors import InputError

ASSETS = SAMPLE.parent
DATA = Path(os.environ.get("VIDCODEC_DATA") or Path(__file__).parents[1].parent / "shared" / "data")


@pytest.fixture(scope="module")
def sample() -> list[np.ndarray]:
    with open_source("sample", paced=False) as source:
        return [frame.picture for frame in source.frames()]


@pytest.fixture(scope="module")
def detector() -> FaceDetector:
    return FaceDetector()


def test_assets_are_the_files_their_readme_names() -> None:
    readme = (ASSETS / "README.md").read_text()
    named = dict(re.findall(r"^\| `([^`]+)` .*`([0-9a-f]{64})` \|$", readme, re.MULTILINE))
    assert set(named) == {SAMPLE.name, MODEL.name}
    for name, sha256 in named.items():
        assert hashlib.sha256((ASSETS / name).read_bytes()).hexdigest() == sha256
    for licence in re.findall(r"`(LICENSE-[^`]+)`", readme):
        assert (ASSETS / licence).stat().st_size > 500


def test_every_frame_of_the_sample_has_one_face(sample: list[np.ndarray], detector: FaceDetector) -> None:
    for picture in sample[::8]:
        (face,) = detector.detect(picture)
        assert face.score > 0.9
        assert 180 < face.height < 280, "of 360 rows"
        assert abs(face.x + face.width / 2 - 300) < 40


def test_face_is_found_in_the_pixels_of_the_picture_given(sample: list[np.ndarray], detector: FaceDetector) -> None:
    (face,) = detector.detect(sample[0])
    large = cv2.resize(sample[0], (1920, 1080), interpolation=cv2.INTER_LINEAR)
    (same,) = detector.detect(large)
    assert abs(same.x / 3 - face.x) < 5 and abs(same.height / 3 - face.height) < 10


def test_mirrored_picture_gives_the_mirrored_face(sample: list[np.ndarray], detector: FaceDetector) -> None:
    (face,) = detector.detect(sample[0])
    (mirrored,) = detector.detect(np.ascontiguousarray(sample[0][:, ::-1]))
    assert abs((640 - mirrored.x - mirrored.width) - face.x) < 8


def test_two_faces_are_found_largest_first(sample: list[np.ndarray], detector: FaceDetector) -> None:
    small = cv2.resize(sample[0], (320, 180), interpolation=cv2.INTER_AREA)
    picture = np.zeros((360, 960, 3), np.uint8)
    picture[:, :640] = sample[0][:, ::-1]
    picture[90:270, 640:] = small
    first, second = detector.detect(picture)
    assert first.height > 1.5 * second.height
    assert first.x < 640 < second.x


def test_room_without_a_person_has_no_face(sample: list[np.ndarray], detector: FaceDetector) -> None:
    for picture in sample[::12]:
        assert detector.detect(np.ascontiguousarray(picture[:, 420:])) == ()


@pytest.mark.parametrize("shape", [(1, 1), (1, 640), (15, 15), (17, 17), (33, 1000), (480, 640), (1081, 1923)])
def test_picture_of_any_size_is_taken(shape: tuple[int, int], detector: FaceDetector) -> None:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
    assert detector.detect(picture) == ()


def test_people_in_the_development_clips_are_found(detector: FaceDetector) -> None:
    clips = sorted((DATA / "dev").glob("*.mp4"))
    if not clips:
        pytest.skip(f"no clips in {DATA / 'dev'} (set VIDCODEC_DATA)")
    for clip in clips:
        with open_source(str(clip), paced=False) as source:
            pictures = [frame.picture for frame in source.frames()][::10]
        found = [len(detector.detect(picture)) for picture in pictures]
        assert found == [1] * len(pictures), clip.name


def test_missing_model_is_an_input_error(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no network")
    for path in (tmp_path / "missing.onnx", broken):
        with pytest.raises(InputError, match=path.name):
            FaceDetector(model=path)
    assert capfd.readouterr().err == ""


def test_detector_prints_nothing(sample: list[np.ndarray], capfd: pytest.CaptureFixture[str]) -> None:
    FaceDetector().detect(sample[0])
    captured = capfd.readouterr()
    assert captured.err == "" and captured.out == ""


def test_detection_takes_a_fraction_of_a_frame_time(sample: list[np.ndarray], detector: FaceDetector) -> None:
    times_ms = []
    for picture in sample:
        start = time.perf_counter()
        detector.detect(picture)
        times_ms.append((time.perf_counter() - start) * 1e3)
    assert statistics.median(times_ms) < 25, "some 2.5 ms on an idle core"


def test_thread_answers_with_the_time_of_the_frame_it_saw(sample: list[np.ndarray]) -> None:
    with DetectorThread(FaceDetector(), rate_hz=50) as thread:
        thread.offer(sample[0], 12345)
        found = wait_for(thread)
        assert found.captured_ns == 12345
        assert len(found.faces) == 1
        assert thread.poll() is None, "a result is given once"


def test_thread_looks_no_more_often_than_asked_and_at_the_newest_frame(sample: list[np.ndarray]) -> None:
    seen = []
    with DetectorThread(FaceDetector(), rate_hz=10) as thread:
        start = time.monotonic()
        while time.monotonic() - start < 1.0:
            now_ns = time.monotonic_ns()
            thread.offer(sample[0], now_ns)
            found = thread.poll()
            if found is not None:
                seen.append((now_ns - found.captured_ns) / 1e6)
            time.sleep(0.005)
    assert 5 <= len(seen) <= 11
    assert statistics.median(seen) < 60, "milliseconds from frame to result"


def test_frame_that_opencv_refuses_counts_as_one_without_faces(caplog: pytest.LogCaptureFixture) -> None:
    with DetectorThread(FaceDetector(), rate_hz=50) as thread:
        thread.offer(np.zeros((100, 100, 2), np.uint8), 1)
        assert wait_for(thread) == Detection((), 1)
        thread.offer(np.zeros((100, 100, 3), np.uint8), 2)
        assert wait_for(thread) == Detection((), 2)
    assert "face detection failed" in caplog.text


def test_thread_ends_when_closed_though_nothing_was_offered() -> None:
    start = time.monotonic()
    thread = DetectorThread(FaceDetector())
    thread.close()
    thread.close()
    assert time.monotonic() - start < 2


def wait_for(thread: DetectorThread) -> Detection:
    for _ in range(400):
        found = thread.poll()
        if found is not None:
            return found
        time.sleep(0.005)
    raise AssertionError("no result within 2 s")
