"""The picture of a call for people: panels side by side, scaled up, with figures around them.

Figures stand beside the pictures and never on them, and the pixels that are compared are the unscaled ones. Text is
drawn again only when it changes; between two changes a canvas costs one resize for each panel.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
Colour = tuple[int, int, int]

PANEL = 384
MARGIN = 16
TITLE_HEIGHT = 38
FIGURES_HEIGHT = 54
FOOTER_HEIGHT = 40

BACKGROUND: Colour = (22, 24, 29)
EMPTY: Colour = (38, 41, 48)
BRIGHT: Colour = (238, 240, 244)
DIM: Colour = (154, 161, 173)
ACCENT: Colour = (96, 200, 160)


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture with its text.

    Attributes:
        title: above the picture, on the left.
        note: above the picture, on the right.
        figures: up to two lines below it; each a figure and its unit, or empty.
        accent: whether this is the picture that the program is about.
    """

    title: str
    note: str = ""
    figures: tuple[str, ...] = ()
    accent: bool = False


class Canvas:
    """Draws panels. Not for use by two threads at once."""

    def __init__(self) -> None:
        self._key: tuple[object, ...] | None = None
        self._base: Picture = np.zeros((2, 2, 3), np.uint8)

    def draw(
        self, panels: Sequence[Panel], pictures: Sequence[Picture | None], footer: Sequence[tuple[str, str]]
    ) -> Picture:
        """One canvas `[H, W, 3]` uint8 RGB, both sides even.

        Args:
            panels: texts, left to right.
            pictures: uint8 RGB pictures of any size, one for each panel; None leaves it empty.
            footer: name and value of each figure of the whole call.
        """
        key = (tuple(panels), tuple(footer))
        if key != self._key:
            self._base = _texts(panels, footer)
            self._key = key
        canvas = self._base.copy()
        for index, picture in enumerate(pictures):
            if picture is not None:
                left, top = _corner(index)
                size = (PANEL, PANEL)
                enlarged = cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC)
                canvas[top : top + PANEL, left : left + PANEL] = enlarged
        return canvas


def _corner(index: int) -> tuple[int, int]:
    """Left and top of a panel's picture."""
    return MARGIN + index * (PANEL + MARGIN), MARGIN // 2 + TITLE_HEIGHT


def _texts(panels: Sequence[Panel], footer: Sequence[tuple[str, str]]) -> Picture:
    width = MARGIN + len(panels) * (PANEL + MARGIN)
    height = MARGIN // 2 + TITLE_HEIGHT + PANEL + FIGURES_HEIGHT + FOOTER_HEIGHT
    base = np.full((height + height % 2, width + width % 2, 3), BACKGROUND, np.uint8)
    for index, panel in enumerate(panels):
        left, top = _corner(index)
        base[top : top + PANEL, left : left + PANEL] = EMPTY
        _write(base, panel.title, (left, top - 13), 0.62, ACCENT if panel.accent else BRIGHT, bold=True)
        note_left = left + PANEL - _width(panel.note, 0.5)
        _write(base, panel.note, (note_left, top - 13), 0.5, DIM)
        for line, text in enumerate(panel.figures[:2]):
            _write(base, text, (left, top + PANEL + 22 + 23 * line), 0.55, BRIGHT if line == 0 else DIM)
    y = height - FOOTER_HEIGHT
    base[y : y + 1, MARGIN:-MARGIN] = EMPTY
    _footer(base, footer, y + 26)
    return base


def _footer(base: Picture, footer: Sequence[tuple[str, str]], baseline: int) -> None:
    """Names dim, values bright, entries spread evenly as long as they fit."""
    room = base.shape[1] - 2 * MARGIN
    widths = [_width(name + "  ", 0.48) + _width(value, 0.52) for name, value in footer]
    while footer and sum(widths) + 12 * (len(footer) - 1) > room:
        footer, widths = footer[:-1], widths[:-1]
    gap = (room - sum(widths)) / (len(footer) - 1) if len(footer) > 1 else 0
    left = float(MARGIN)
    for (name, value), width in zip(footer, widths, strict=True):
        _write(base, name, (round(left), baseline), 0.48, DIM)
        _write(base, value, (round(left) + _width(name + "  ", 0.48), baseline), 0.52, BRIGHT)
        left += width + gap


def _width(text: str, size: float) -> int:
    return int(cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, 1)[0][0])


def _write(base: Picture, text: str, at: tuple[int, int], size: float, colour: Colour, *, bold: bool = False) -> None:
    """Write `text` with its baseline starting at `at`."""
    font = cv2.FONT_HERSHEY_DUPLEX if bold else cv2.FONT_HERSHEY_SIMPLEX
    cv2.putText(base, text, at, font, size, colour, 1, cv2.LINE_AA)
