"""The canvas: pictures unchanged but for their size, text beside them and never on them."""

import cv2
import numpy as np
import pytest

from receiver.overlay import MARGIN, PANEL, Canvas, Panel
from receiver.showing import CallView, Figures, baseline_name
from vidcodec.calllog import Live
from vidcodec.sidechannel import SidePictures

RNG = np.random.default_rng(0)
PICTURES = [RNG.integers(0, 256, (192, 192, 3), np.uint8) for _ in range(3)]
LIVE = Live(30.0, 200.0, 223.1, 31.4, 220.0, 30.2, 23.4, 4.0, 301, 300, 299, 1, 10.0)


def panel_of(canvas: np.ndarray, index: int, top: int = 46) -> np.ndarray:
    left = MARGIN + index * (PANEL + MARGIN)
    return canvas[top : top + PANEL, left : left + PANEL]


def test_pictures_are_scaled_up_and_nothing_is_drawn_on_them() -> None:
    canvas = CallView(loopback=True).draw(
        PICTURES[1], SidePictures(PICTURES[0], PICTURES[2], 100, "vp8 1/2", True), Figures(LIVE, "seed", "vp8")
    )
    for index, picture in enumerate(PICTURES):
        expected = cv2.resize(picture, (PANEL, PANEL), interpolation=cv2.INTER_CUBIC)
        assert np.array_equal(panel_of(canvas, index), expected)
    assert canvas.shape[0] % 2 == canvas.shape[1] % 2 == 0


@pytest.mark.parametrize(("loopback", "baseline", "panels"), [(True, "vp8", 3), (True, "none", 2), (False, "vp8", 1)])
def test_size_depends_on_the_kind_of_call_alone(loopback: bool, baseline: str, panels: int) -> None:
    view = CallView(loopback)
    sizes = {
        view.draw(PICTURES[0], side, Figures(live, "seed", baseline)).shape
        for side in (SidePictures(), SidePictures(*PICTURES[:2], 5, "vp8", True))
        for live in (Live(), LIVE)
    }
    assert len(sizes) == 1
    assert sizes.pop()[1] == MARGIN + panels * (PANEL + MARGIN)


def test_figures_are_readable_as_pixels_beside_the_pictures() -> None:
    view = CallView(loopback=True)
    blank = view.draw(PICTURES[0], SidePictures(), Figures(Live(), "seed", "vp8"))
    full = view.draw(PICTURES[0], SidePictures(), Figures(LIVE, "seed", "vp8"))
    below = slice(46 + PANEL, None)
    assert (blank[below] != full[below]).any(axis=2).sum() > 500
    assert full[below].max() > 200


def test_missing_picture_is_replaced_by_the_newest_of_its_kind() -> None:
    view, figures = CallView(loopback=True), Figures(LIVE, "seed", "vp8")
    first = view.draw(PICTURES[1], SidePictures(PICTURES[0], PICTURES[2], 1, "vp8", True), figures)
    second = view.draw(PICTURES[2], SidePictures(), figures)
    assert np.array_equal(panel_of(first, 0), panel_of(second, 0))
    assert not np.array_equal(panel_of(first, 1), panel_of(second, 1))


def test_text_that_does_not_fit_is_left_out_and_not_drawn_over() -> None:
    footer = [("a long name of a figure", "1234567 units")] * 12
    canvas = Canvas().draw([Panel("Ours")], [PICTURES[0]], footer)
    assert canvas.shape[1] == 2 * MARGIN + PANEL
    assert (canvas[-30:, -MARGIN:] == canvas[-1, -1]).all()


def test_names_of_baselines_are_for_people() -> None:
    assert baseline_name("vp8 1/2") == "VP8 at 1/2 size"
    assert baseline_name("h264") == "H.264"
    assert baseline_name("bicubic4x") == "bicubic, 1/4 size, not coded"
