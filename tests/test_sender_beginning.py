"""A call's first frames: one by one, coded again where too large, and then a little more than others may have."""

import pytest

from sender.beginning import ANSWER_S, AT_ONCE_S, INVESTED_S, TRIES, FirstFrames
from vidcodec.wire import wire_bytes

RATE_KBPS, LONGEST_S = 40.0, 0.055


def budget(messages_per_s: float) -> float:
    return max(0.0, RATE_KBPS * 125.0 / messages_per_s - wire_bytes(1))


def test_each_waits_for_the_answer_to_the_one_before_until_two_are_answered() -> None:
    first = FirstFrames()
    assert not first.waits(0.0)
    first.left(0, 0.0)
    assert first.waits(0.3)
    first.answered(0)
    assert not first.waits(0.3) and not first.known
    first.left(1, 0.3)
    assert first.waits(0.4)
    first.answered(0)  # its verdict, after its arrival
    assert first.waits(0.4) and not first.known
    first.answered(1)
    first.left(2, 0.5)
    assert first.known and not first.waits(0.5)


def test_next_one_leaves_though_no_answer_comes() -> None:
    first = FirstFrames()
    first.left(0, 10.0)
    assert first.waits(10.0 + 0.9 * ANSWER_S) and not first.waits(10.0 + ANSWER_S)


def test_nothing_was_heard_of_any_frame_for_too_long() -> None:
    first = FirstFrames()
    assert not first.unanswered(10.0), "nothing was sent"
    first.left(0, 10.0)
    assert not first.unanswered(10.0 + 0.9 * ANSWER_S) and first.unanswered(10.0 + ANSWER_S)
    first.left(1, 11.0)
    assert not first.unanswered(11.1), "the next one has its own time"
    first.answered(0)
    assert not first.unanswered(20.0), "late, but the path carries"


def test_frames_before_the_first_answer_are_coded_again_more_often() -> None:
    first = FirstFrames()
    assert first.tries == TRIES > 1
    first.answered(0)
    assert first.tries == 1


def test_frames_may_be_larger_for_a_while_once_the_path_is_known() -> None:
    first, own = FirstFrames(), budget(1.0 / LONGEST_S)
    assert first.most_bytes(LONGEST_S, budget) == own
    first.answered(0)
    first.answered(1)
    larger = 0
    while (most := first.most_bytes(LONGEST_S, budget)) > own + 1.0:
        assert most <= budget(1.0 / (LONGEST_S + AT_ONCE_S)) + 1e-6
        first.took(int(most), LONGEST_S, budget)
        larger += 1
    assert larger == pytest.approx(INVESTED_S / AT_ONCE_S, abs=1.5)


def test_small_frames_use_nothing_up() -> None:
    first = FirstFrames()
    first.answered(0)
    first.answered(1)
    most = first.most_bytes(LONGEST_S, budget)
    for _ in range(100):
        first.took(20, LONGEST_S, budget)
    assert first.most_bytes(LONGEST_S, budget) == most
