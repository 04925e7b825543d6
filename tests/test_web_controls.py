"""What a page may ask for: offered controls with values in range, and nothing else."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidcodec.errors import UsageError
from vidcodec.web.controls import (
    Change,
    call_controls,
    describe,
    offered_controls,
    parse_change,
    parse_message,
)

ALL = call_controls(
    qualities=64,
    bitrate_kbps=(5, 200),
    baselines=("vp8", "none"),
    crop=True,
    pause=True,
    refresh=True,
    record=True,
    impair=True,
)


def wish(name: str, value: object = None) -> dict[str, object]:
    return {"type": "control", "name": name, "value": value}


SOUND: dict[str, tuple[object, ...]] = {
    "bitrate": (5, 42, 200),
    "quality": (0, 63),
    "baseline_codec": ("vp8", "none"),
    "baseline_scale": ("auto", "4"),
    "crop": ("none",),
    "pause": (True, False),
    "record": (True,),
    "refresh": (None,),
    "impair_loss": (2.5,),
}
UNSOUND: dict[str, tuple[object, ...]] = {
    "bitrate": (4, 201, "42", True, None, float("nan"), float("inf")),
    "quality": (64, -1, [1]),
    "baseline_codec": ("av1",),
    "crop": (1,),
    "pause": (1, None),
    "refresh": (True,),
    "shutdown": (None,),
}


def pairs(values: dict[str, tuple[object, ...]]) -> list[tuple[str, object]]:
    return [(name, value) for name, several in values.items() for value in several]


@pytest.mark.parametrize(("name", "value"), pairs(SOUND))
def test_sound_change_passes(name: str, value: object) -> None:
    assert parse_change(wish(name, value), ALL) == Change(name, value)  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "value"), pairs(UNSOUND))
def test_unsound_change_is_refused_in_one_line(name: str, value: object) -> None:
    with pytest.raises(UsageError) as caught:
        parse_change(wish(name, value), ALL)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 200


def test_control_that_is_not_offered_is_refused() -> None:
    with pytest.raises(UsageError, match="cannot be changed"):
        parse_change(wish("bitrate", 42), call_controls(pause=True))


def test_whole_steps_give_whole_numbers() -> None:
    value = parse_change(wish("quality", 7.0), ALL).value
    assert value == 7 and isinstance(value, int)


def test_description_names_kind_and_range() -> None:
    first = describe(call_controls(bitrate_kbps=(5, 200)))[0]
    assert first["kind"] == "number" and (first["low"], first["high"], first["unit"]) == (5, 200, "kbit/s")
    assert json.loads(json.dumps(describe(ALL))) is not None


@given(st.text() | st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists).map(json.dumps))
def test_any_text_is_a_message_or_a_usage_error(text: str) -> None:
    try:
        message = parse_message(text)
    except UsageError:
        return
    assert isinstance(message["type"], str)


def test_deep_or_long_message_is_refused() -> None:
    for text in ("[" * 4000, '{"type": "' + "x" * 5000 + '"}'):
        with pytest.raises(UsageError):
            parse_message(text)


OFFER = {"qualities": 64, "bitrate_kbps": [5, 200], "baselines": ["vp8", "none"], "crop": True, "pause": True}


def test_offer_of_a_peer_gives_its_controls() -> None:
    expected = call_controls(qualities=64, bitrate_kbps=(5, 200), baselines=("vp8", "none"), crop=True, pause=True)
    assert offered_controls(json.loads(json.dumps(OFFER))) == expected
    assert offered_controls({}) == ()


@pytest.mark.parametrize(
    "change",
    [
        {"qualities": 0},
        {"qualities": True},
        {"qualities": 10**9},
        {"bitrate_kbps": [5]},
        {"bitrate_kbps": [200, 5]},
        {"bitrate_kbps": [5, float("inf")]},
        {"bitrate_kbps": "5"},
        {"baselines": "vp8"},
        {"baselines": ["x" * 99]},
        {"baselines": ["a\nb"]},
        {"baselines": ["a"] * 99},
        {"crop": 1},
        {"shutdown": True},
    ],
)
def test_unsound_offer_of_a_peer_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        offered_controls({**OFFER, **change})
