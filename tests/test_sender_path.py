"""Which state a frame is predicted from, told by what the receiver said."""

import pytest
from delta_codec import DeltaCodec, pictures

from sender.references import STATES, References
from vidcodec.codec import State
from vidcodec.link.framing import FrameStatus

CODEC = DeltaCodec()
BLANK = CODEC.blank_state()


def after(count: int, decoded: int | None = None) -> References:
    """References after `count` frames, of which the receiver said that it decoded those up to `decoded`."""
    references = References(BLANK)
    for number in range(count):
        references.sent(number, State(number % 1024, BLANK.picture))
        if decoded is not None and number <= decoded:
            references.acknowledged(number, FrameStatus.OK)
    return references


def test_first_frame_has_no_reference_and_the_others_the_newest() -> None:
    assert References(BLANK).next() is BLANK
    references = after(5)
    assert references.next().number == 4
    assert references.next().number == 4


@pytest.mark.parametrize("status", [FrameStatus.DAMAGED, FrameStatus.MISSING_REFERENCE])
def test_after_a_loss_the_newest_decoded_frame_is_the_reference(status: FrameStatus) -> None:
    references = after(10, decoded=5)
    references.acknowledged(7, status)
    assert references.next().number == 5
    references.sent(10, State(10, BLANK.picture))
    assert references.next().number == 10, "one frame mends it; the frames before it are not asked about again"
    references.acknowledged(9, FrameStatus.MISSING_REFERENCE)
    assert references.next().number == 10
    references.acknowledged(10, FrameStatus.MISSING_REFERENCE)
    assert references.next().number == 5


def test_report_that_comes_while_a_frame_is_coded_is_not_lost() -> None:
    references = after(10, decoded=5)
    assert references.next().number == 9
    references.acknowledged(7, FrameStatus.MISSING_REFERENCE)
    references.sent(10, State(10, BLANK.picture))
    assert references.next().number == 5, "frame 10 was predicted from the broken chain"


def test_while_something_is_missing_the_newest_frame_that_surely_arrived_is_the_reference() -> None:
    references = References(BLANK)
    for number in range(10):
        references.next()
        references.sent(number, State(number, BLANK.picture), min(number, 1))
        if number != 6:  # 7 to 9 arrive and wait for it
            references.acknowledged(number, FrameStatus.RECEIVED)
    assert references.next().number == 9
    assert references.next(doubtful=True).number == 5
    references.sent(10, State(10, BLANK.picture), 5)
    assert references.next().number == 10
    references.acknowledged(7, FrameStatus.MISSING_REFERENCE)
    assert references.next().number == 10, "the chain goes on from 5: what 7 lacked is no news"
    assert references.next(doubtful=True).number == 5
    references.sent(11, State(11, BLANK.picture), 6)
    references.acknowledged(10, FrameStatus.RECEIVED)
    references.acknowledged(11, FrameStatus.RECEIVED)
    assert references.next(doubtful=True).number == 11, "both came from 5"


def test_frame_that_comes_after_all_makes_those_behind_it_sure() -> None:
    references = References(BLANK)
    for number in range(4):
        references.next()
        references.sent(number, State(number, BLANK.picture), min(number, 1))
    for number in (0, 3, 2):
        references.acknowledged(number, FrameStatus.RECEIVED)
    assert references.next(doubtful=True).number == 0
    references.acknowledged(1, FrameStatus.RECEIVED)
    assert references.next(doubtful=True).number == 3


def test_doubt_before_anything_arrived_has_the_next_frame_stand_alone() -> None:
    references = after(3)
    assert references.next(doubtful=True) is BLANK
    references.sent(3, State(3, BLANK.picture), 0)
    assert references.next().number == 3


def test_frame_that_the_link_refused_has_mended_nothing() -> None:
    references = after(10, decoded=5)
    references.acknowledged(7, FrameStatus.MISSING_REFERENCE)
    assert [references.next().number for _ in range(3)] == [5, 5, 5]


def test_without_any_decoded_frame_the_next_one_stands_alone() -> None:
    references = after(10)
    references.acknowledged(3, FrameStatus.DAMAGED)
    assert references.next() is BLANK


def test_receiver_that_holds_nothing_gets_a_frame_that_stands_alone() -> None:
    references = after(10, decoded=9)
    references.asked_for_refresh(None)
    assert references.next() is BLANK


def test_receiver_that_names_what_it_holds_gets_a_frame_from_there() -> None:
    references = after(10)
    references.asked_for_refresh(6)
    assert references.next().number == 6


def test_reference_out_of_reach_is_no_reference() -> None:
    references = after(STATES + 10, decoded=5)
    references.acknowledged(20, FrameStatus.DAMAGED)
    assert references.next() is BLANK
    assert len(references._states) == STATES


def test_hostile_answers_change_nothing() -> None:
    references = after(5, decoded=4)
    references.acknowledged(10**9, FrameStatus.OK)
    references.asked_for_refresh(10**9)
    assert references.next() is BLANK
    references.sent(5, State(5, BLANK.picture))
    assert references.next().number == 5


def test_delta_codec_of_these_tests_is_lossless_and_predictive() -> None:
    state = theirs = BLANK
    for picture in pictures(5):
        packet, state = CODEC.encode(picture, state, 0)
        shown, theirs = CODEC.decode(packet, theirs)
        assert (shown == picture).all()
    assert packet.header.distance == 1
