"""From frames to 192x192: scaling, the modes, real faces that move, and time."""

import itertools
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from sender.box import Box, CropController, centre_box
from sender.capture import open_source
from sender.crop import MODES, SIDE, Cropper, LiveCropper, crop_frames, crop_to, fit_whole
from sender.detect import Detection, FaceDetector

DATA = Path(os.environ.get("VIDCODEC_DATA") or Path(__file__).parents[1].parent / "shared" / "data")
PICTURE = (SIDE, SIDE, 3)


@pytest.fixture(scope="module")
def sample() -> list[np.ndarray]:
    with open_source("sample", paced=False) as source:
        return [frame.picture for frame in source.frames()]


def placed(frames: list[np.ndarray], where: Callable[[float], tuple[float, float]], seconds: float) -> list[np.ndarray]:
    """The person of the sample at a third of the size, at `where(time_s)` in a 640x360 room with sensor noise."""
    rng = np.random.default_rng(5)
    out = []
    for number in range(round(seconds * 30)):
        person = cv2.resize(frames[number % len(frames)][:, 180:420], (96, 144), interpolation=cv2.INTER_AREA)
        x, y = (round(v) for v in where(number / 30))
        room = np.full((360, 640, 3), 120.0)
        room[y - 72 : y + 72, x - 48 : x + 48] = person
        room += rng.normal(0, 2, room.shape)
        out.append(np.clip(room, 0, 255).astype(np.uint8))
    return out


def boxes_of(frames: list[np.ndarray], fps: float = 30.0) -> list[Box]:
    """Where `crop_frames` would cut, found by the same steps."""
    detector = FaceDetector()
    controller = CropController(frames[0].shape[1], frames[0].shape[0])
    every = max(1, round(fps / 8))
    boxes = []
    for number, frame in enumerate(frames):
        if number % every == 0:
            controller.observe(detector.detect(frame), number / fps)
        boxes.append(controller.box(number / fps))
    return boxes


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 640), (640, 1), (192, 192), (191, 193), (360, 640), (37, 53), (1080, 1920)]
)
def test_any_frame_becomes_one_picture(mode: str, shape: tuple[int, int]) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    (picture,) = crop_frames([frame], 30, mode)
    assert picture.shape == PICTURE
    assert picture.dtype == np.uint8
    assert picture.flags.c_contiguous


def test_frame_that_is_already_192_is_passed_through_untouched(sample: list[np.ndarray]) -> None:
    frame = crop_to(sample[0], centre_box(640, 360))
    for mode in ("center", "none"):
        (picture,) = crop_frames([frame], 30, mode)
        assert np.array_equal(picture, frame)


def test_center_takes_the_middle_square() -> None:
    frame = np.zeros((200, 400, 3), np.uint8)
    frame[:, 100:300] = 200
    (picture,) = crop_frames([frame], 30, "center")
    assert (picture == 200).all()


def test_none_keeps_the_whole_picture_and_its_shape() -> None:
    picture = fit_whole(np.full((90, 160, 3), 200, np.uint8))
    assert (picture[42:150] == 200).all()
    assert (picture[:42] == 0).all() and (picture[150:] == 0).all()


def test_still_person_gets_a_crop_that_does_not_move(sample: list[np.ndarray]) -> None:
    assert len(set(boxes_of(sample))) == 1


def test_still_person_with_sensor_noise_gets_a_crop_that_does_not_move(sample: list[np.ndarray]) -> None:
    assert len(set(boxes_of(placed(sample, lambda _: (300, 180), 6)))) == 1


def test_moving_person_stays_in_the_crop(sample: list[np.ndarray]) -> None:
    def where(t: float) -> tuple[float, float]:
        return (120 + 90 * max(0.0, t - 0.5), 150 + 10 * t)

    detector = FaceDetector()
    crops = list(crop_frames(placed(sample, where, 5), 30))
    for crop in crops[::10]:
        (face,) = detector.detect(crop)
        assert 70 < face.height < 125, "about half of the picture"
        assert face.x > 0 and face.x + face.width < SIDE
        assert face.y > 0 and face.y + face.height < SIDE


def test_moving_person_does_not_make_the_crop_step(sample: list[np.ndarray]) -> None:
    xs = np.array([box.x for box in boxes_of(placed(sample, lambda t: (120 + 90 * max(0.0, t - 0.5), 180), 5))])
    assert np.diff(xs).max() <= 8
    assert np.abs(np.diff(xs, 2)).max() <= 3


def test_mirrored_pair_keeps_to_one_of_the_two(sample: list[np.ndarray]) -> None:
    """Two faces of the same size: whichever was first chosen stays, though the detector's order may change."""
    frames = [np.concatenate((f[:, 120:480], f[:, 120:480][:, ::-1]), axis=1) for f in placed_small(sample)]
    assert len(set(boxes_of(frames))) == 1


def placed_small(sample: list[np.ndarray]) -> list[np.ndarray]:
    return placed(sample, lambda _: (300, 180), 3)


def test_clip_without_a_face_is_cropped_in_the_centre_and_that_is_said_once(
    sample: list[np.ndarray], caplog: pytest.LogCaptureFixture
) -> None:
    room = [np.ascontiguousarray(frame[:, 420:]) for frame in sample]
    middle = list(crop_frames(room, 30, "center"))
    assert all(np.array_equal(a, b) for a, b in zip(crop_frames(room * 2, 30, "face"), middle * 2, strict=True))
    assert [record.message[:22] for record in caplog.records] == ["no face in the picture"]


def test_clip_with_a_face_says_nothing(sample: list[np.ndarray], caplog: pytest.LogCaptureFixture) -> None:
    assert len(list(crop_frames(sample, 30))) == len(sample)
    assert len(list(crop_frames([sample[0][:, 420:]], 30, "none"))) == 1
    assert caplog.records == []


def test_offline_crop_is_the_same_every_time(sample: list[np.ndarray]) -> None:
    first = list(crop_frames(sample, 30))
    assert len(first) == len(sample)
    assert all(np.array_equal(a, b) for a, b in zip(first, crop_frames(sample, 30), strict=True))


def test_frames_that_change_size_are_taken() -> None:
    frames = [np.full((100, 200, 3), 9, np.uint8), np.full((300, 40, 3), 9, np.uint8)]
    assert [p.shape for p in crop_frames(frames, 30)] == [PICTURE] * 2


def test_detector_is_asked_eight_times_a_second(sample: list[np.ndarray]) -> None:
    asked = []

    def detect(_: np.ndarray, captured_ns: int) -> Detection | None:
        asked.append(captured_ns)
        return None

    cropper = Cropper("face", detect)
    for number, frame in enumerate(sample[:10]):
        cropper.crop(frame, number)
    assert asked == list(range(10))
    assert cropper.box == centre_box(640, 360)


def test_live_crop_frames_the_face_from_the_first_frame_on(sample: list[np.ndarray]) -> None:
    frame = placed(sample, lambda _: (150, 150), 0.1)[0]
    with LiveCropper() as cropper:
        crop = cropper.crop(frame, time.monotonic_ns())
    (face,) = FaceDetector().detect(crop)
    assert abs(face.x + face.width / 2 - SIDE / 2) < 12
    assert abs(face.y + face.height / 2 - SIDE / 2) < 12


def test_live_crop_follows_and_never_waits_for_the_detector(sample: list[np.ndarray]) -> None:
    frames = placed(sample, lambda t: (200 if t < 0.3 else 420, 180), 1.8)
    times_ms = []
    with LiveCropper() as cropper:
        for frame in frames:
            start = time.perf_counter()
            cropper.crop(frame, time.monotonic_ns())
            times_ms.append((time.perf_counter() - start) * 1e3)
            time.sleep(max(0.0, 1 / 30 - times_ms[-1] / 1e3))
        box = cropper.box
    assert box is not None and abs(box.x + box.size / 2 - 420) < 30
    assert statistics.median(times_ms[1:]) < 8, "some 0.5 ms on an idle core"


def test_live_crop_of_other_modes_starts_no_detector(sample: list[np.ndarray]) -> None:
    with LiveCropper("center") as cropper:
        picture = cropper.crop(sample[0], 0)
    assert np.array_equal(picture, crop_to(sample[0], centre_box(640, 360)))


def test_heads_of_the_development_clips_get_a_calm_crop() -> None:
    clips = sorted((DATA / "dev").glob("*.mp4"))
    if not clips:
        pytest.skip(f"no clips in {DATA / 'dev'} (set VIDCODEC_DATA)")
    moved = []
    for clip in clips[:6]:
        with open_source(str(clip), paced=False) as source:
            frames = [cv2.copyMakeBorder(f.picture, 60, 60, 120, 120, cv2.BORDER_REPLICATE) for f in source.frames()]
            boxes = boxes_of(frames, source.fps)
        moved.append(sum(a != b for a, b in itertools.pairwise(boxes)) / len(boxes))
    assert statistics.median(moved) == 0.0, "people who talk to a camera mostly need no move at all"
    assert max(moved) < 0.6
