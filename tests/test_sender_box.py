"""The crop box: still while the head is, smooth while it moves, faithful to one face, centred without one."""

import itertools
import math

import numpy as np
import pytest

from sender.box import Box, CropController, CropOptions, FaceChoice, Follower, centre_box, overlap
from sender.detect import Face

WIDTH, HEIGHT = 640, 360
FPS, DETECT_EVERY = 30, 4


def face(x: float, y: float, height: float = 80.0) -> Face:
    """A face centred at (x, y), with the usual shape of a detected one."""
    return Face(x - height * 0.38, y - height / 2, height * 0.76, height, 0.93)


def follow(where, seconds: float, controller: CropController | None = None, start_s: float = 0.0) -> list[Box]:
    """Boxes at 30 fps while `where(time_s)` gives the faces, looked for every fourth frame."""
    controller = controller or CropController(WIDTH, HEIGHT)
    boxes = []
    for number in range(round(seconds * FPS)):
        time_s = start_s + number / FPS
        if number % DETECT_EVERY == 0:
            controller.observe(where(time_s), time_s)
        boxes.append(controller.box(time_s))
    return boxes


def centre(box: Box) -> np.ndarray:
    return np.array((box.x + box.size / 2, box.y + box.size / 2))


def test_first_face_is_framed_at_once_in_a_square_of_twice_its_height() -> None:
    box = follow(lambda _: [face(200, 150)], 0.1)[0]
    assert box.size == 160
    assert np.abs(centre(box) - (200, 150)).max() <= 1


def test_box_does_not_move_at_all_under_detector_noise() -> None:
    rng = np.random.default_rng(1)

    def noisy(_: float) -> list[Face]:
        return [face(*(np.array((300, 180)) + rng.normal(0, 2.5, 2)), height=80 * math.exp(rng.normal(0, 0.03)))]

    assert len(set(follow(noisy, 20))) == 1


def test_box_follows_a_walking_person_without_stepping() -> None:
    boxes = follow(lambda t: [face(100 + 80 * max(0.0, t - 1), 180)], 6)
    xs = np.array([box.x for box in boxes])
    steps = np.diff(xs)
    assert steps.min() >= 0, "never backwards"
    assert np.abs(np.diff(steps)).max() <= 2, "speed changes by at most 2 px a frame: no visible jerk"
    assert abs(centre(boxes[-1])[0] - 500) < 0.3 * boxes[-1].size, "the face is still well inside"


def test_box_comes_to_rest_exactly_after_a_move() -> None:
    boxes = follow(lambda t: [face(200 if t < 1 else 330, 180)], 8)
    assert len({box for box in boxes[-5 * FPS :]}) == 1
    assert np.abs(centre(boxes[-1]) - (330, 180)).max() <= 3


def test_small_move_inside_the_dead_zone_leaves_the_box_alone() -> None:
    boxes = follow(lambda t: [face(300 + 15 * math.sin(2 * t), 180)], 10)
    assert len(set(boxes)) == 1


def test_box_grows_smoothly_when_the_person_leans_in() -> None:
    boxes = follow(lambda t: [face(320, 180, 70 if t < 1 else 120)], 5)
    sizes = np.array([box.size for box in boxes])
    assert sizes[0] == 140
    assert abs(sizes[-1] - 240) <= 6
    assert np.diff(sizes).min() >= 0
    assert np.diff(sizes).max() <= 12


def test_box_stays_inside_the_picture_wherever_the_face_goes() -> None:
    rng = np.random.default_rng(3)
    places = [face(*rng.uniform((-50, -50), (WIDTH + 50, HEIGHT + 50)), height=rng.uniform(5, 500)) for _ in range(200)]
    for box in follow(lambda t: [places[int(t * 4)]], 45):
        assert box.x >= 0 and box.y >= 0 and box.size >= 1
        assert box.x + box.size <= WIDTH and box.y + box.size <= HEIGHT


def test_face_larger_than_the_picture_gets_the_largest_square() -> None:
    assert follow(lambda _: [face(320, 180, 300)], 0.1)[0].size == HEIGHT


def test_largest_face_is_chosen() -> None:
    box = follow(lambda _: sorted([face(150, 180, 60), face(450, 180, 90)], key=lambda f: -f.height), 0.1)[0]
    assert np.abs(centre(box) - (450, 180)).max() <= 1


def test_chosen_face_is_kept_while_it_stays_even_if_another_becomes_larger() -> None:
    def faces(t: float) -> list[Face]:
        both = [face(150, 180, 80), face(450, 180, 60 if t < 1 else 120)]
        return sorted(both, key=lambda f: -f.height)

    assert len(set(follow(faces, 6))) == 1


def test_mirrored_faces_are_framed_by_mirrored_boxes() -> None:
    def path(t: float) -> tuple[float, float]:
        return 150 + 60 * t, 180

    left = follow(lambda t: [face(*path(t))], 4)
    right = follow(lambda t: [face(WIDTH - path(t)[0], 180)], 4)
    for a, b in zip(left, right, strict=True):
        assert abs(a.x - (WIDTH - b.x - b.size)) <= 1
        assert (a.y, a.size) == (b.y, b.size)


def test_other_face_takes_over_once_the_chosen_one_has_gone() -> None:
    boxes = follow(lambda t: [face(150, 180, 80)] * (t < 1) + [face(450, 180, 80)], 5)
    assert len(set(boxes[: round(1.5 * FPS)])) == 1, "a moment of absence does not move the box"
    assert np.abs(centre(boxes[-1]) - (450, 180)).max() <= 3


def test_missed_detections_for_less_than_two_seconds_do_not_move_the_box() -> None:
    assert len(set(follow(lambda t: [] if 1 < t < 2.8 else [face(200, 150)], 6))) == 1


def test_no_face_for_two_seconds_eases_to_the_centre_without_a_jump() -> None:
    boxes = follow(lambda t: [face(150, 120)] if t < 1 else [], 8)
    assert len(set(boxes[: round(2.8 * FPS)])) == 1
    assert max(abs(a.x - b.x) for a, b in itertools.pairwise(boxes)) < 20
    end, middle = boxes[-1], centre_box(WIDTH, HEIGHT)
    assert abs(end.size - middle.size) <= 4
    assert np.abs(centre(end) - centre(middle)).max() <= 4


def test_without_any_face_the_box_is_the_centre_square_and_never_moves() -> None:
    controller = CropController(WIDTH, HEIGHT)
    assert set(follow(lambda _: [], 6, controller)) == {centre_box(WIDTH, HEIGHT)}
    assert controller.lost


def test_face_counts_as_lost_after_two_seconds_and_as_found_when_it_is_back() -> None:
    controller = CropController(WIDTH, HEIGHT)
    follow(lambda _: [face(200, 150)], 1, controller)
    follow(lambda _: [], 1.5, controller, start_s=1)
    assert not controller.lost
    follow(lambda _: [], 1, controller, start_s=2.5)
    assert controller.lost
    follow(lambda _: [face(200, 150)], 0.5, controller, start_s=3.5)
    assert not controller.lost


def test_same_input_gives_the_same_boxes() -> None:
    def where(t: float) -> list[Face]:
        return [face(200 + 90 * math.sin(t), 180 + 40 * math.cos(2 * t))]

    assert follow(where, 5) == follow(where, 5)


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (3, 2), (640, 360), (360, 640)])
def test_centre_box_is_the_largest_square_in_the_middle(size: tuple[int, int]) -> None:
    box = centre_box(*size)
    assert box.size == min(size)
    assert abs(2 * box.x + box.size - size[0]) <= 1
    assert abs(2 * box.y + box.size - size[1]) <= 1


def test_overlap_is_one_for_the_same_face_and_zero_for_strangers() -> None:
    assert overlap(face(100, 100), face(100, 100)) == pytest.approx(1.0)
    assert overlap(face(100, 100), face(300, 100)) == 0.0
    half = overlap(Face(0, 0, 10, 10, 1), Face(5, 0, 10, 10, 1))
    assert half == pytest.approx(1 / 3)


def test_choice_forgets_a_face_after_a_while() -> None:
    choice = FaceChoice(CropOptions(forget_s=0.5))
    here, there = face(100, 100), face(400, 100)
    assert choice.choose([here], 0.0) is here
    assert choice.choose([there], 0.4) is None
    assert choice.choose([there], 0.6) is there


def test_follower_does_not_depend_on_the_frame_rate() -> None:
    ends = []
    for steps in (10, 100):
        follower = Follower(np.zeros(2), settle=0.001, response_s=0.3)
        for _ in range(steps):
            follower.step(np.array((100.0, 50.0)), rest=0.1, unit=100.0, elapsed_s=0.5 / steps)
        ends.append(follower.value)
    assert np.abs(ends[0] - ends[1]).max() < 1e-6
    assert 60 < ends[0][0] < 100, "on its way, not overshooting"


def test_times_that_run_backwards_do_not_move_the_box_wildly() -> None:
    controller = CropController(WIDTH, HEIGHT)
    follow(lambda _: [face(200, 150)], 1, controller)
    before = controller.box(1.0)
    controller.observe([face(400, 150)], 1.0)
    assert controller.box(0.2) == before
