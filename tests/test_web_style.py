"""Colours of the page: readable in both schemes (WCAG 2.2: 4.5 for text, 3 for lines and the edges of controls)."""

import re

import pytest

from vidcodec.web.server import STATIC

TEXT = ("text", "dim", "c-ours", "c-baseline", "bad")
SHAPES = (
    "accent",
    "edge",
    "c-ours-2",
    "c-capture",
    "c-crop",
    "c-encode",
    "c-network",
    "c-decode",
    "c-display",
    "c-total",
)


def schemes() -> list[dict[str, str]]:
    """Colour names and values of the light and of the dark scheme."""
    css = (STATIC / "style.css").read_text("utf-8")
    return [
        dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block)) for block in re.findall(r":root \{(.*?)\}", css, re.S)
    ][:2]


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: str, b: str) -> float:
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_colours_stand_out_from_their_ground(scheme: int) -> None:
    colours = schemes()[scheme]
    for ground in ("ground", "card"):
        for name in TEXT:
            assert contrast(colours[name], colours[ground]) >= 4.5, (name, ground)
        for name in SHAPES:
            assert contrast(colours[name], colours[ground]) >= 3, (name, ground)
    assert contrast(colours["accent-text"], colours["accent"]) >= 4.5


def test_both_schemes_name_the_same_colours() -> None:
    light, dark = schemes()
    assert light.keys() == dark.keys()


def test_placeholders_are_text() -> None:
    assert "::placeholder { color: var(--dim); opacity: 1; }" in (STATIC / "style.css").read_text("utf-8")
