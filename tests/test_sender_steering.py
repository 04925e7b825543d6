"""What a viewer may change in a running call, and that nothing else gets through."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from sender.crop import LiveCropper
from sender.frames import Coded, Orders
from sender.measuring import Measurer, RateMeter
from sender.path import FramePath
from sender.steering import WAITING, Settings, Steering, make_offer
from vidcodec.baselines.live import Baseline
from vidcodec.codec import Codec, load_codec
from vidcodec.link.impair import Impairment
from vidcodec.rate import RateControl
from vidcodec.records import SentFrame
from vidcodec.web.controls import Change, offered_controls

START = Settings(
    quality=None,
    bitrate_kbps=40.0,
    crop="center",
    baseline="vp8",
    baseline_scale=None,
    impair=Impairment(delay_ms=20.0, trace=((0.0, Impairment()),)),
)


@pytest.fixture(scope="module")
def codec() -> Codec:
    return load_codec("seed", threads=1)


@pytest.fixture
def path(codec: Codec, steering: tuple[Steering, "Told", LiveCropper]) -> FramePath:
    """The frame path of a call that has not begun: it needs its link with the first frame only."""
    return FramePath(
        None,  # type: ignore[arg-type]
        codec,
        steering[2],
        control=RateControl.start(40.0, 30.0, 64),
        quality=0,
        offset_ns=lambda: 0,
        wire_bytes=lambda size: size,
        on_coded=lambda coded: None,
    )


class Told:
    """What the receiver was told."""

    def __init__(self) -> None:
        self.messages: list[Mapping[str, Any]] = []
        self.impairments: list[Impairment] = []

    def __call__(self, message: Mapping[str, Any]) -> None:
        self.messages.append(json.loads(json.dumps(message)))


@pytest.fixture
def measurer() -> Iterator[Measurer]:
    made = Measurer(Baseline("vp8", None, 30.0), RateMeter(30.0, 40.0), lambda size: size, None, lambda record: None)
    yield made
    made.finish(2.0)


@pytest.fixture
def steering() -> Iterator[tuple[Steering, Told, LiveCropper]]:
    told = Told()
    with LiveCropper("center") as cropper:
        made = Steering(START, 64, 30.0, cropper, told, impair=told.impairments.append)
        yield made, told, cropper
        made.close()


def test_every_wish_changes_what_it_names() -> None:
    changes = [("quality", 7), ("crop", "none"), ("baseline_codec", "av1"), ("baseline_scale", "4"), ("pause", True)]
    settings = START
    for name, value in changes:
        settings = settings.after(Change(name, value))
    assert settings == Settings(7, None, "none", "av1", 4, True, START.impair)
    assert settings.after(Change("baseline_scale", "auto")).baseline_scale is None


def test_quality_and_bitrate_exclude_each_other() -> None:
    fixed = START.after(Change("quality", 3))
    assert (fixed.quality, fixed.bitrate_kbps) == (3, None)
    held = fixed.after(Change("bitrate", 25))
    assert (held.quality, held.bitrate_kbps) == (None, 25.0)


def test_offer_is_one_that_a_receiver_takes_and_settings_have_the_names_of_its_controls() -> None:
    controls = offered_controls(json.loads(json.dumps(make_offer(64, START))))
    assert {control.name for control in controls} == set(START.to_json())
    without = offered_controls(make_offer(64, replace(START, baseline="none")))
    assert not any(control.name.startswith("baseline") for control in without)
    plain = replace(START, impair=None)
    assert {control.name for control in offered_controls(make_offer(64, plain))} == set(plain.to_json())


def test_wish_is_met_and_told(
    steering: tuple[Steering, Told, LiveCropper], path: FramePath, measurer: Measurer
) -> None:
    made, told, cropper = steering
    made.wish({"name": "bitrate", "value": 25})
    made.act(path, measurer)
    path._follow_orders()
    assert path._control is not None and path._control.frame_bytes == pytest.approx(25_000 / 8 / 30)
    made.wish({"name": "quality", "value": 5})
    made.wish({"name": "pause", "value": True})
    made.act(path, measurer)
    assert path._orders == Orders(cropper, 5, None, paused=True)
    path._follow_orders()
    assert (path._control, path._quality, path._paused) == (None, 5, True)
    assert told.messages[0]["steering"]["settings"]["bitrate"] == 25.0
    assert told.messages[-1]["steering"]["settings"] == {
        **START.to_json(),
        "bitrate": None,
        "quality": 5,
        "pause": True,
    }


@pytest.mark.parametrize(
    "wish",
    [
        None,
        3,
        "x",
        {},
        {"name": "bitrate"},
        {"name": "bitrate", "value": 1e9},
        {"name": "exit", "value": None},
        {"name": "baseline_codec", "value": "none"},
        {"name": "crop", "value": "/etc"},
        {"name": 3, "value": 3},
    ],
)
def test_unsound_wish_changes_nothing(
    steering: tuple[Steering, Told, LiveCropper], path: FramePath, measurer: Measurer, wish: object
) -> None:
    made, _, _ = steering
    made.wish(wish)
    made.act(path, measurer)
    assert path._orders is None and made.settings == START


def test_flood_of_wishes_is_bounded_and_told_once(
    steering: tuple[Steering, Told, LiveCropper],
    path: FramePath,
    measurer: Measurer,
    caplog: pytest.LogCaptureFixture,
) -> None:
    made, told, _ = steering
    for kbps in range(1000):
        made.wish({"name": "bitrate", "value": 5 + kbps % 100})
    made.act(path, measurer)
    assert made.settings.bitrate_kbps == 5 + (WAITING - 1) and len(told.messages) == 1
    for _ in range(WAITING):
        made.wish({"name": "exit"})
    made.act(path, measurer)
    assert [record.args[0].partition(":")[0] for record in caplog.records] == [  # type: ignore[index, union-attr]
        "the receiver wishes too much at once",
        "a wish of the receiver is not met",
    ]


def test_network_changes_by_hand_and_leaves_its_trace(
    steering: tuple[Steering, Told, LiveCropper], path: FramePath, measurer: Measurer
) -> None:
    made, told, _ = steering
    for name, value in (("impair_loss", 5), ("impair_rate", 60)):
        made.wish({"name": name, "value": value})
    made.act(path, measurer)
    assert told.impairments[-1] == Impairment(delay_ms=20.0, loss_percent=5.0, rate_kbps=60.0)
    assert told.messages[-1]["steering"]["settings"]["impair_rate"] == 60.0


def test_crop_is_made_once_for_each_mode(
    steering: tuple[Steering, Told, LiveCropper], path: FramePath, measurer: Measurer
) -> None:
    made, _, cropper = steering
    used = []
    for mode in ("none", "center", "none"):
        made.wish({"name": "crop", "value": mode})
        made.act(path, measurer)
        path._follow_orders()
        used.append(path._cropper)
    assert used[1] is cropper and used[0] is used[2]
    wide = np.full((90, 160, 3), 200, np.uint8)
    assert used[0].crop(wide, 0)[0, 0, 0] == 0 and cropper.crop(wide, 0)[0, 0, 0] == 200


def test_baseline_is_exchanged_with_the_next_frame(
    steering: tuple[Steering, Told, LiveCropper], path: FramePath, measurer: Measurer
) -> None:
    made, _, _ = steering
    made.wish({"name": "baseline_codec", "value": "bicubic4x"})
    made.act(path, measurer)
    frame = np.random.default_rng(1).integers(0, 256, (192, 192, 3), np.uint8)
    measurer.put(Coded(SentFrame(0, 0, 1, 2, 3, 100, 5, 0), frame, frame))
    measurer.finish(2.0)
    assert measurer.baseline.codec == "bicubic4x" and measurer.error is None
